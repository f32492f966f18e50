"""Draining from any process: the flusher is asked, and the answer comes, or the reason why not."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lotus_durable.errors import DeliveryBlocked, LotusError, QueueDirectoryError
from lotus_durable.flusher.drain import NO_KEY
from lotus_durable.queue.carry_over import write_carried
from lotus_durable.queue.format import FRAME_HEADER_SIZE, HEADER_SIZE
from lotus_durable.queue.heartbeat import read_beat
from lotus_durable.queue.reader import header_of
from lotus_durable.queue.requests import ask
from lotus_durable.testing import Delay, Status
from tests.queue.faults import refusing
from tests.rig import Rig, faults, record, track, wait_until

FLUSHERS = pytest.mark.parametrize("flusher", ["auto", "external"])


@FLUSHERS
def test_there_is_nothing_to_drain_in_a_new_queue(rig: Rig, flusher: str) -> None:
    report = rig.client(flusher=flusher).drain(20)
    assert (report.complete, report.delivered, report.remaining, report.reason) == (True, 0, 0, None)
    assert report.elapsed >= 0
    assert rig.posts == []


def test_a_flusher_that_runs_is_asked_and_delivers_at_once(rig: Rig) -> None:
    first = rig.client(flusher="auto", flush_interval=3600.0)
    ids = track(first, 1)
    rig.server.wait_for(1)
    ids += track(other := rig.client(flusher="external", flush_interval=3600.0), 5)
    assert other.drain(20).complete
    flusher = other.stats().flusher
    assert flusher is not None
    assert flusher.kind == "auto", "it is still the one that was there before"
    assert rig.check(ids).delivered == 6


@FLUSHERS
def test_what_had_to_wait_for_events_it_has_copies_of_is_drained_with_them(rig: Rig, flusher: str) -> None:
    ids = rig.put(record("first"), record("second"))
    [name] = rig.directory.segments()
    source = header_of(f"{rig.directory.journal}/{name}")
    assert source is not None
    behind = HEADER_SIZE + 2 * (FRAME_HEADER_SIZE + len(record("second")) + 1)
    write_carried(rig.directory, source, [(HEADER_SIZE, record("first")), (behind, record("third"))], sync=False)
    report = rig.client(flusher=flusher).drain(20)
    assert (report.complete, report.delivered, report.remaining) == (True, 3, 0)
    assert rig.check([*ids, "third"]).delivered == 3


def test_a_process_without_a_key_has_the_flusher_do_it(rig: Rig) -> None:
    ids = track(rig.client(flusher="auto"), 1)
    rig.server.wait_for(1)
    ids += track(keyless := rig.client(api_key=None), 5)
    assert keyless.drain(20).complete
    assert rig.check(ids).delivered == 6


def test_where_a_flusher_is_about_to_come_a_process_without_a_key_waits_for_it(rig: Rig) -> None:
    keyless = rig.client(api_key=None)
    ids = track(keyless, 3) + track(rig.client(flusher="auto"), 1)
    assert keyless.drain(20).complete
    assert rig.check(ids).delivered == 4


@FLUSHERS
def test_where_nobody_can_flush_a_drain_says_so(rig: Rig, flusher: str) -> None:
    client = rig.client(api_key=None, flusher=flusher)
    ids = track(client, 3)
    report = client.drain()
    assert (report.complete, report.remaining, report.reason) == (False, 3, NO_KEY)
    assert rig.check(ids).pending == 3


def test_a_process_that_starts_no_flusher_for_want_of_a_key_tells_so_once(rig: Rig) -> None:
    client = rig.client(api_key=None, flusher="auto")
    track(client, 3)
    client.drain()
    [(error, _)] = rig.errors
    assert isinstance(error, DeliveryBlocked)
    assert "no API key is set" in str(error)


def test_a_drain_returns_in_time_while_a_request_hangs(rig: Rig) -> None:
    rig.server.fail_next(Delay(60.0))
    client = rig.client(flusher="auto", timeout=(5.0, 60.0))
    ids = track(client, 2)
    rig.wait_for_posts(1)
    report = client.drain(0.2)
    assert (report.complete, report.remaining) == (False, 2)
    assert report.reason == "not done within 0.2 seconds"
    rig.server.stop()
    assert rig.check(ids).pending == 2


def test_a_process_whose_flusher_is_external_flushes_by_itself_if_nobody_else_does(rig: Rig) -> None:
    client = rig.client(flusher="external")
    ids = track(client, 5)
    assert rig.server.request_count == 0
    assert client.drain(20).complete
    assert not rig.is_flushed(), "it lets go of the lock when it is done"
    assert rig.check(ids).delivered == 5


@FLUSHERS
def test_several_threads_drain_at_once(rig: Rig, flusher: str) -> None:
    client = rig.client(flusher=flusher)
    ids = track(client, 50)
    with ThreadPoolExecutor(8) as pool:
        reports = list(pool.map(lambda _: client.drain(20), range(8)))
    assert all(report.complete for report in reports), reports
    assert rig.check(ids).delivered == 50
    assert rig.server.duplicates == 0


@FLUSHERS
def test_a_drain_settles_what_was_pending_when_it_began_however_much_is_tracked_meanwhile(
    rig: Rig, flusher: str
) -> None:
    client = rig.client(flusher=flusher)
    before = track(client, 20)
    meanwhile: list[str] = []
    ended = threading.Event()

    def go_on() -> None:
        while not ended.wait(0.001):
            meanwhile.extend(track(client, 1))

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        assert client.drain(60).complete
    finally:
        ended.set()
        thread.join()
    assert set(before) <= set(rig.server.times_received)
    rig.check(before + meanwhile)


def test_a_drain_from_on_error_is_refused_instead_of_waiting_for_itself(rig: Rig) -> None:
    reports = []

    def on_error(_: LotusError, __: object) -> None:
        reports.append(client.drain())
        client.flush()

    client = rig.client(on_error=on_error)
    ids = track(client, 1, time_created="2020-01-01T00:00:00Z")
    assert client.drain(20).complete
    [report] = reports
    assert not report.complete
    assert "on_error" in (report.reason or "")
    assert rig.check(ids).dead_lettered == 1


def test_a_drain_tells_what_became_of_the_events(rig: Rig) -> None:
    rig.server.faults = faults(poison={"bad": Status(500)})
    client = rig.client()
    ids = track(client, 5) + track(client, 1, time_created="2020-01-01T00:00:00Z")
    ids += track(client, 1, idempotency_id="bad")
    report = client.drain(20)
    assert (report.delivered, report.dead_lettered, report.parked, report.remaining) == (5, 1, 1, 0)
    assert report.complete
    rig.check(ids)


@FLUSHERS
def test_progress_can_be_watched(rig: Rig, flusher: str) -> None:
    rig.server.fail_next(*[None, Status(503)] * 3)
    client = rig.client(flusher=flusher, max_batch_events=1)
    track(client, 3)
    looks: list[int] = []
    assert client.watched_drain(20, lambda: looks.append(client.stats().pending)).complete
    assert looks[0] == 3
    assert sorted(looks, reverse=True) == looks


def test_requests_whose_asker_died_are_answered_and_do_no_harm(rig: Rig) -> None:
    rig.directory.prepare()
    forgotten = ask(rig.directory, "drain")
    client = rig.client(flusher="auto")
    ids = track(client, 1)
    wait_until(lambda: (beat := read_beat(rig.directory)) and beat.asked >= forgotten, "its answer")
    assert client.drain(20).complete
    assert rig.check(ids).delivered == 1


def test_what_keeps_a_drain_from_looking_at_the_queue_is_an_error_of_ours(rig: Rig) -> None:
    client = rig.client()
    client.drain(20)
    shutil.rmtree(rig.queue_dir)
    rig.queue_dir.write_text("")
    with pytest.raises(LotusError, match=str(rig.queue_dir)):
        client.drain(20)
    rig.queue_dir.unlink()
    rig.queue_dir.mkdir(mode=0o777)
    rig.queue_dir.chmod(0o777)
    with pytest.raises(QueueDirectoryError, match="can be written by others"):
        client.drain(20)
    rig.queue_dir.chmod(0o700)
    assert client.drain(20).complete


@FLUSHERS
def test_a_drain_is_carried_out_also_when_somebody_removed_what_was_asked_for_before(rig: Rig, flusher: str) -> None:
    client = rig.client(flusher=flusher, flush_interval=3600.0)
    ids: list[str] = []
    for _ in range(3):
        assert client.drain(20).complete
        assert client.drain(20).complete
        Path(rig.directory.requests).unlink()
        ids += track(client, 3)
        assert client.drain(20).complete
        assert set(ids) <= set(rig.server.times_received)
    assert rig.check(ids).delivered == 9


@pytest.mark.parametrize("removed", [["requests"], ["requests", "heartbeat"]], ids="+".join)
def test_a_drain_whose_request_somebody_removes_before_it_is_heard_is_carried_out(rig: Rig, removed: list[str]) -> None:
    client = rig.client(flusher="auto", flush_interval=3600.0)
    ids = track(client, 3)
    assert client.drain(20).complete
    rig.server.faults = faults(rates={Delay(1.0): 1.0})
    ids += track(client, 3)
    ask(rig.directory, "drain")
    rig.wait_for_posts(2)  # and nothing is heard before it has its answer
    ids += track(client, 3)
    with ThreadPoolExecutor() as pool:
        before = os.stat(rig.directory.requests).st_size
        report = pool.submit(client.drain, 20)
        wait_until(lambda: os.stat(rig.directory.requests).st_size > before, "the request")
        for name in removed:
            os.unlink(f"{rig.directory.root}/{name}")
        assert report.result().complete
    assert set(ids) <= set(rig.server.times_received)
    assert rig.check(ids).delivered == 9


def test_a_drain_is_carried_out_also_when_the_file_of_requests_became_long_and_was_begun_anew(rig: Rig) -> None:
    client = rig.client()
    client.drain(20)
    with Path(rig.directory.requests).open("ab") as file:
        file.write(b"d".ljust(16, b"\0") * 70_000)
    client.drain(20)
    ids: list[str] = []
    for _ in range(3):
        ids += track(client, 3)
        assert client.drain(20).complete
        assert set(ids) <= set(rig.server.times_received)
    assert Path(rig.directory.requests).stat().st_blocks < 1000
    assert rig.check(ids).delivered == 9


@FLUSHERS
def test_where_nothing_can_be_asked_a_drain_waits_for_the_next_pass(rig: Rig, flusher: str) -> None:
    client = rig.client(flusher=flusher)
    ids = track(client, 3)
    with refusing("open", errno.ENOSPC, where="requests"):
        assert client.drain(20).complete
        assert rig.server.event_count == 3
    assert rig.check(ids).delivered == 3
