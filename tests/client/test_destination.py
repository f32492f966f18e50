"""A queue is for one server: who is set to another is refused, and moving is possible when nothing is left."""

from __future__ import annotations

import errno
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lotus_durable import claim
from lotus_durable.client import Client
from lotus_durable.config import DEFAULT_HOST
from lotus_durable.errors import QueueDirectoryError
from lotus_durable.queue.destination import claim_destination, normalised, read_destination, replace_destination
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.testing import FakeLotus
from tests.queue.faults import refusing
from tests.rig import Rig, track, wait_until

OTHER = "https://lotus.example.com"


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for an uploader to end that will not."""
    monkeypatch.setattr(claim, "_PATIENCE", 0.0)


def drained(rig: Rig) -> Client:
    """Return a client that has delivered something and let go of the queue."""
    client = rig.client()
    track(client, 3)
    assert client.drain(20).complete
    client.release(20)
    return client


@pytest.mark.usefixtures("at_once")
def test_a_program_with_another_server_is_refused_and_told_both(rig: Rig) -> None:
    client = rig.client()
    ids = track(client, 1)
    with pytest.raises(QueueDirectoryError) as caught:
        rig.client(host=OTHER)
    for each in (rig.server.host, OTHER, str(rig.queue_dir), "queue directory of its own"):
        assert each in str(caught.value)
    assert client.drain(20).complete
    assert rig.check(ids).delivered == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://api.uselotus.io", "https://API.UseLotus.io/"),
        ("https://api.uselotus.io", "https://api.uselotus.io:443"),
        ("https://api.uselotus.io", "HTTPS://api.uselotus.io."),
        ("http://lotus.example.com:80/billing/", "http://lotus.example.com/billing"),
        ("http://[::1]:8000", "http://[::1]:8000/"),
    ],
)
def test_another_spelling_is_the_same_server(one: str, other: str) -> None:
    assert normalised(one) == normalised(other)


@pytest.mark.parametrize(
    "other",
    ["http://a.example", "https://a.example:8443", "https://b.example", "https://a.example/billing"],
)
def test_another_scheme_port_name_or_path_is_another_server(other: str) -> None:
    assert normalised("https://a.example") != normalised(other)


def test_of_many_that_come_first_at_once_one_wins_and_all_agree(tmp_path: Path) -> None:
    hosts = [f"https://h{number}.example" for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        for round_ in range(30):
            directory = QueueDirectory(tmp_path / str(round_))
            directory.prepare()
            together = threading.Barrier(8)

            def first(host: str, directory: QueueDirectory = directory, together: threading.Barrier = together) -> str:
                together.wait()
                return claim_destination(directory, host)

            [winner] = set(pool.map(first, hosts))
            assert winner in hosts
            assert read_destination(directory) == winner
            assert sorted(path.name for path in directory.root.iterdir() if path.is_file()) == ["destination.json"]


def test_a_settled_queue_is_taken_over_and_that_is_logged(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    drained(rig)
    with FakeLotus("L24") as new:
        client = rig.client(host=new.host)
        assert f"for {new.host}, no longer for {rig.server.host}" in caplog.text
        ids = track(client, 4)
        assert client.drain(20).complete
        client.release(20)
        assert list(new.times_received) == ids
    assert rig.server.event_count == 3


def test_a_setting_changed_in_a_program_that_runs_takes_over_what_it_has_drained(rig: Rig) -> None:
    client = rig.client()
    track(client, 3)
    assert client.drain(20).complete
    client.retire()
    with FakeLotus("L24") as new:
        other = rig.client(host=new.host)
        track(other, 1)
        new.wait_for(1)
        other.release(20)


@pytest.mark.parametrize("what", ["pending", "parked"])
def test_a_queue_with_events_for_the_old_server_is_not_taken_over(
    rigs: Callable[..., Rig], what: str, caplog: pytest.LogCaptureFixture
) -> None:
    rig = rigs("L22", customers=["known"])
    client = rig.client(flusher="external") if what == "pending" else rig.client()
    ids = track(client, 2, customer_id="unknown")
    if what == "parked":
        assert client.drain(20).parked == 2
    client.release(20)
    with pytest.raises(QueueDirectoryError, match=f"2 {what}" if what == "pending" else "and 2 parked"):
        rig.client(host=OTHER)
    assert read_destination(rig.directory) == rig.server.host
    assert "no longer" not in caplog.text
    rig.check(ids)


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("flusher", ["thread", "external"])
def test_a_queue_that_is_in_use_is_not_taken_over(rig: Rig, flusher: str) -> None:
    client = drained(rig)
    user = rig.client(flusher=flusher)
    ids = [*rig.server.times_received, *track(user, 1)]
    assert user.drain(20).complete
    if flusher == "thread":
        wait_until(lambda: (candidate := user._here().candidate) and candidate.leads, "it to lead")
    reason = "somebody uploads from it" if flusher == "thread" else "another process writes to it"
    with pytest.raises(QueueDirectoryError, match=reason):
        rig.client(host=OTHER)
    user.release(20)
    assert client.drain(20).complete
    assert rig.check(ids).delivered == 4


def test_who_still_has_the_old_setting_is_refused_at_the_next_event_and_does_not_upload(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    old = drained(rig)
    running = rig.client()
    with FakeLotus("L24") as new:
        client = rig.client(host=new.host, flusher="external")
        with pytest.raises(QueueDirectoryError, match="its events are for"):
            track(old, 1)
        with pytest.raises(QueueDirectoryError, match="its events are for"):
            track(running, 1)
        assert running.stats().accepted == 3, "it was refused, and yet it is there"
        [one] = track(client, 1)
        report = running.drain(20)
        assert "its events are for" in (report.reason or "")
        assert "this process does not upload: queue_dir" in caplog.text
        assert client.drain(20).complete
        client.release(20)
        assert list(new.times_received) == [one]
    assert rig.server.event_count == 3


def test_a_segment_opened_while_the_queue_changes_hands_keeps_it_where_it_is(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = drained(rig)
    old.config = rig.client(flusher="external").config
    replace = replace_destination
    ids = list(rig.server.times_received)

    def late(directory: QueueDirectory, host: str) -> None:
        if host == OTHER:
            ids.extend(track(old, 1))
        replace(directory, host)

    monkeypatch.setattr(claim, "replace_destination", late)
    with pytest.raises(QueueDirectoryError, match="1 pending"):
        rig.client(host=OTHER)
    assert read_destination(rig.directory) == rig.server.host
    assert old.drain(20).complete
    assert rig.check(ids).delivered == 4


def test_a_client_that_cannot_upload_and_was_told_no_server_looks_at_any_queue(rig: Rig) -> None:
    drained(rig)
    assert Client(queue_dir=rig.queue_dir).stats().delivered == 3
    with pytest.raises(QueueDirectoryError):
        Client(queue_dir=rig.queue_dir, host=OTHER)
    assert DEFAULT_HOST not in rig.directory.destination.read_text()


@pytest.mark.parametrize("damage", [b"", b"{", b"[1]", b'{"host": 7}'])
def test_a_marker_that_cannot_be_read_binds_nobody_and_is_replaced(rig: Rig, damage: bytes) -> None:
    drained(rig)
    rig.directory.destination.write_bytes(damage)
    client = rig.client()
    ids = [*rig.server.times_received, *track(client, 1)]
    assert client.drain(20).complete
    assert json.loads(rig.directory.destination.read_bytes()) == {"host": normalised(rig.server.host)}
    assert rig.check(ids).delivered == 4


def test_a_marker_that_cannot_be_written_keeps_nothing_from_being_delivered(rig: Rig) -> None:
    with refusing("open", errno.ENOSPC, where="destination"):
        client = rig.client()
        ids = track(client, 2)
        assert client.drain(20).complete
    rig.client()
    assert read_destination(rig.directory) == normalised(rig.server.host)
    assert rig.check(ids).delivered == 2
