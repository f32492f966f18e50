"""The SQLite backend as its users meet it: client, server, forks, kills, and a directory of the other backend."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from lotus_durable.client import Client
from lotus_durable.errors import QueueDirectoryError
from lotus_durable.testing import FakeLotusProcess
from tests import scripts
from tests.delivery.test_takeover import fight
from tests.rig import Rig, conserved, track, wait_until

from .test_fork import FORKS, accepted

lines = partial(scripts.lines, LOTUS_BACKEND="sqlite")


@pytest.fixture(autouse=True)
def _sqlite(_no_settings_of_this_machine: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOTUS_BACKEND", "sqlite")


@pytest.fixture
def l22(rigs: Callable[..., Rig]) -> Rig:
    return rigs("L22", customers=["known"])


def test_events_are_delivered_parked_retried_and_buried_as_with_the_journal(l22: Rig) -> None:
    client = l22.client(parked_max_age=0.0)
    ids = track(client, 5, customer_id="new") + track(client, 200, customer_id="known")
    assert client.drain(20).complete
    stats = client.stats()
    assert conserved(stats)
    assert (stats.accepted, stats.delivered, stats.pending) == (205, 200, 0)
    assert stats.parked + stats.dead_lettered == 5
    assert l22.check(ids).delivered == 200
    assert not l22.directory.segments()


def test_a_parked_event_is_delivered_once_the_customer_exists(l22: Rig) -> None:
    client = l22.client()
    ids = track(client, 5, customer_id="new")
    assert client.drain(20).parked == 5
    client.shutdown()
    client = l22.client()
    l22.server.add_customer("new")
    assert client.drain(20).delivered == 5
    assert l22.check(ids).delivered == 5


def test_an_outage_and_a_restart_lose_nothing_and_the_order_is_kept(rig: Rig) -> None:
    rig.server.pause()
    client = rig.client()
    ids = track(client, 700)
    client.shutdown(0.1)
    assert rig.stats().pending == 700
    rig.server.resume()
    assert rig.client().drain(20).complete
    assert list(rig.server.times_received) == ids
    assert rig.check(ids).delivered == 700


@FORKS
def test_parent_and_forked_workers_track(rig: Rig, fork: str, no_hooks: bool) -> None:
    said = lines(
        f"""
        client = be_quiet()
        say("ids", *track(client, 10))
        assert client.drain(20).complete
        pids = []
        for _ in range(3):
            pid = {fork}()
            if pid == 0:
                say("ids", *track(client, 50))
                os._exit(0)
            pids.append(pid)
        say("ids", *track(client, 50))
        assert [ended(pid) for pid in pids] == [0, 0, 0]
        assert client.drain(20).complete
        """,
        rig.queue_dir,
        rig.server.host,
        no_hooks=no_hooks,
    )
    ids = accepted(said)
    assert len(ids) == len(set(ids)) == 210
    assert rig.check(ids).delivered == 210
    assert rig.server.duplicates == 0


@pytest.mark.parametrize("no_hooks", [False, True], ids=["with hooks", "without our hooks"])
def test_forks_in_the_middle_of_use_by_other_threads_lose_nothing(rig: Rig, no_hooks: bool) -> None:
    said = lines(
        """
        client = make()
        track(client)
        assert client.drain(20).complete  # and all is imported
        ended_tracking = threading.Event()
        kept = []

        def go_on():
            while not ended_tracking.is_set():
                kept.extend(track(client))

        threads = [threading.Thread(target=go_on) for _ in range(2)]
        for thread in threads:
            thread.start()
        pids = []
        for _ in range(5):
            pid = os.fork()
            if pid == 0:
                say("ids", *track(client, 50))
                os._exit(0)
            pids.append(pid)
        assert [ended(pid) for pid in pids] == [0] * 5
        ended_tracking.set()
        for thread in threads:
            thread.join()
        for start in range(0, len(kept), 50):
            say("ids", *kept[start:start + 50])
        assert client.drain(30).complete
        """,
        rig.queue_dir,
        rig.server.host,
        no_hooks=no_hooks,
    )
    ids = accepted(said)
    assert len(ids) == len(set(ids)) > 250
    stats = rig.stats()
    assert set(ids) <= set(rig.server.times_received)
    assert stats.accepted == stats.delivered == len(ids) + 1


def test_a_worker_forked_past_all_hooks_keeps_its_events_and_leaves_the_upload_to_others(rig: Rig) -> None:
    said = lines(
        """
        from lotus_durable import DiskRefused
        client = be_quiet()
        say("ids", *track(client, 5))
        assert client.drain(20).complete
        pid = fork_in_c()
        if pid == 0:
            say("ids", *track(client, 5))
            try:
                client.stats()
            except DiskRefused as error:
                say(str(error))
            assert "database open" in client._here().reason_not_to_lead()
            os._exit(0)
        assert ended(pid) == 0
        assert client.stats().pending == 5
        assert client.drain(20).complete
        """,
        rig.queue_dir,
        rig.server.host,
    )
    assert any("forked while its parent had" in line for line in said)
    assert rig.check(accepted(said)).delivered == 10


def test_leaders_are_killed_and_nothing_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = scripts.environment
    monkeypatch.setattr("tests.delivery.test_takeover.environment", lambda: environment(LOTUS_BACKEND="sqlite"))
    with FakeLotusProcess("L24") as server:
        fight(tmp_path, server, workers=4, kills=8)


def test_power_durability_is_synchronous_full_and_process_durability_normal(rig: Rig) -> None:
    for durability, level in (("power", 2), ("process", 1)):
        client = rig.client(durability=durability, flusher="external")
        ids = track(client, 1)
        with client._here().queue._database.use() as queue:  # type: ignore[attr-defined]
            assert queue.writer.execute("PRAGMA synchronous").fetchone() == (level,)
        client.drain(20)
        assert ids[0] in rig.server.times_received
        client.release(20)


def test_a_pending_event_can_be_looked_at_with_sqlite(rig: Rig) -> None:
    client = rig.client(flusher="external")
    [event_id] = track(client, 1)
    connection = sqlite3.connect(rig.directory.store / "events.db")
    [(data,)] = connection.execute("SELECT data FROM queue_pending").fetchall()
    connection.close()
    assert event_id.encode() in data


@pytest.mark.parametrize(("first", "second"), [("journal", "sqlite"), ("sqlite", "journal")])
def test_a_client_on_a_directory_of_the_other_backend_is_refused_when_it_is_made(
    rig: Rig, first: str, second: str
) -> None:
    track(rig.client(backend=first, flusher="external"), 1)
    with pytest.raises(QueueDirectoryError, match=f"backend '{first}'.*backend '{second}'.*lotus-durable migrate"):
        Client(queue_dir=rig.queue_dir, backend=second)  # type: ignore[arg-type]


def test_the_thread_of_a_worker_stops_with_the_client(rig: Rig) -> None:
    client = rig.client()
    ids = track(client, 1)
    wait_until(lambda: client.stats().delivered == 1, "the delivery")
    client.release(20)
    assert rig.check(ids).delivered == 1
    # The last to let go of the database leaves no log behind.
    assert {path.name for path in rig.directory.store.iterdir()} == {"events.db", "reserve"}
