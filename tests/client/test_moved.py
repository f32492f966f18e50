"""Somebody moves, exchanges, unmounts or empties what is in use: the next event goes where the path leads."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lotus_durable.queue.directory import QueueDirectory
from tests.pages import read_page
from tests.queue.faults import replaced
from tests.queue.segments import let_only_told_time_pass
from tests.rig import Rig, conserved, track

Hand = Callable[[Path], Path | None]
"""Does something to a queue directory; returns where what was there lies now, if anywhere."""

_EXCHANGE = 2


def exchange(one: Path, other: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(-100, os.fsencode(one), -100, os.fsencode(other), _EXCHANGE):
        pytest.skip("the file system cannot exchange two names")


def renames_it(queue: Path) -> Path:
    return queue.rename(queue.with_name("moved"))


def renames_its_parent(queue: Path) -> Path:
    return queue.parent.rename(queue.parent.with_name("moved")) / queue.name


def renames_the_journal(queue: Path) -> Path:
    (queue / "journal").rename(queue / "moved")
    return queue


def exchanges_the_journal(queue: Path) -> Path:
    (queue / "moved").mkdir(mode=0o700)
    exchange(queue / "journal", queue / "moved")
    return queue


def exchanges_it(queue: Path) -> Path:
    other = queue.with_name("moved")
    other.mkdir(mode=0o700)
    exchange(queue, other)
    return other


def cuts_segments_off(queue: Path) -> None:
    for path in (queue / "journal").glob("*.seg"):
        os.truncate(path, path.stat().st_size // 2)


def empties_segments(queue: Path) -> None:
    """As ``copytruncate`` of logrotate does."""
    for path in (queue / "journal").glob("*.seg"):
        os.truncate(path, 0)


def deletes_what_is_pending(queue: Path) -> None:
    for path in [*(queue / "journal").glob("*.seg"), *queue.glob("queue.db*")]:
        path.unlink()


def deletes_all(queue: Path) -> None:
    shutil.rmtree(queue)


HANDS: list[Hand] = [
    renames_it, renames_its_parent, renames_the_journal, exchanges_the_journal, exchanges_it, cuts_segments_off,
    empties_segments, deletes_what_is_pending, deletes_all,
]  # fmt: skip


@pytest.fixture(autouse=True)
def _only_told_time_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a check has found well before, and a hand then destroys, nobody can carry over."""
    let_only_told_time_pass(monkeypatch)


@pytest.fixture
def moving(rig: Rig) -> Rig:
    rig.queue_dir = rig.queue_dir.with_name("parent") / "queue"
    rig.queue_dir.parent.mkdir()
    rig.directory = QueueDirectory(rig.queue_dir)
    return rig


def frames_in(place: Path) -> bytes:
    """Return what lies in segments and in databases there."""
    found = b""
    for path in place.rglob("*"):
        if path.suffix == ".seg" or path.name.startswith("queue.db"):
            found += path.read_bytes()
    return found


def check(rig: Rig, ids: list[str], elsewhere: Path | None, destroyed: int) -> None:
    """Every event was delivered, or lies where somebody has moved it to, or was said to be destroyed."""
    left = set(ids) - set(rig.server.times_received)
    there = b"" if elsewhere is None else frames_in(elsewhere)
    lost = {each for each in left if each.encode() not in there}
    assert len(lost) <= destroyed
    assert max(rig.server.times_received.values()) == 1
    assert len(rig.messages()) <= 1, "it is told once"
    assert conserved(rig.stats())


@pytest.mark.parametrize("backend", ["journal", "sqlite"])
@pytest.mark.parametrize("hand", HANDS)
def test_the_next_event_goes_where_the_path_leads_and_what_can_be_reached_is_carried_over(
    moving: Rig, hand: Hand, backend: str
) -> None:
    client = moving.client(backend=backend, trusted_look=3600.0)
    ids = track(client, 20)
    elsewhere = hand(moving.queue_dir)
    client._tracker._all_pairs[0].appender.check()
    ids += track(client, 20)
    assert moving.queue_dir.exists()
    assert client.drain(20).complete
    moving.stop()
    # With SQLite, too: what the database cannot take at once lies in a segment.
    destroyed = 1 if hand is empties_segments else 0
    check(moving, ids, elsewhere, destroyed)


@pytest.mark.parametrize("backend", ["journal", "sqlite"])
def test_a_link_that_is_flipped_leads_the_next_event_to_the_other_directory(rig: Rig, backend: str) -> None:
    one, two = rig.queue_dir.with_name("one"), rig.queue_dir.with_name("two")
    for each in (one, two):
        each.mkdir(mode=0o700)
    rig.queue_dir.symlink_to(one)
    client = rig.client(backend=backend, trusted_look=3600.0)
    ids = track(client, 20)
    flipped = rig.queue_dir.with_name("flipped")
    flipped.symlink_to(two)
    flipped.replace(rig.queue_dir)
    client._tracker._all_pairs[0].appender.check()
    ids += track(client, 20)
    assert client.drain(20).complete
    rig.stop()
    check(rig, ids, one, 0)
    assert len(rig.messages()) == 1


@pytest.mark.parametrize(
    ("backend", "call", "where"), [("journal", "open", ".new"), ("sqlite", "listdir", "/proc/self/fd")]
)
def test_an_event_that_is_written_while_two_queues_are_exchanged_is_nobody_elses_where_it_comes_to_lie(
    rig: Rig, backend: str, call: str, where: str
) -> None:
    """At the last moment before its file is made, or opened."""
    one = rig.queue_dir
    other = one.with_name("other")
    for each in (other, one):
        rig.client(queue_dir=each).track_event(customer_id="c", event_name="makes the queue")
        assert rig.client(queue_dir=each).drain(20).complete
    is_exchanged = False

    def exchanged_first(*arguments: object) -> object:
        nonlocal is_exchanged
        if not is_exchanged:
            is_exchanged = True
            exchange(one, other)
        return real(*arguments)

    real = getattr(os, call)
    client = rig.client(backend=backend, trusted_look=3600.0)
    with replaced(call, exchanged_first, where=where):
        ids = track(client, 5)
    assert is_exchanged
    assert client.drain(20).complete, "with the key that it was tracked with"
    assert set(ids) <= set(rig.server.times_received)


@pytest.fixture
def mounted() -> Iterator[Callable[[Path], None]]:
    with contextlib.ExitStack() as stack:

        def mount(path: Path) -> None:
            if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", path], capture_output=True, check=False).returncode:
                pytest.skip("mounting needs root and the right to mount")
            stack.callback(lambda: subprocess.run(["umount", "-l", path], check=True))
            path.chmod(0o700)

        yield mount


@pytest.mark.parametrize("backend", ["journal", "sqlite"])
def test_a_volume_that_is_mounted_over_it_gets_the_next_event(
    rig: Rig, mounted: Callable[[Path], None], backend: str
) -> None:
    client = rig.client(backend=backend, trusted_look=3600.0)
    ids = track(client, 20)
    mounted(rig.queue_dir)
    client._tracker._all_pairs[0].appender.check()
    ids += track(client, 20)
    assert client.drain(20).complete
    rig.stop()
    assert set(ids[20:]) <= set(rig.server.times_received)
    assert len(rig.messages()) == 1
    assert read_page(rig.directory.books, "parked", 0, 10) == []
