"""The file ``starting``: who may start a flusher, how long a failed start is put off, and what is left of the notes."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from zlib import crc32

import msgpack
import pytest

from lotus_durable.clock import boot_id, since_boot
from lotus_durable.flusher import locks, starting
from lotus_durable.flusher.starting import (
    Notes,
    Seen,
    Start,
    Starting,
    last_words,
)
from lotus_durable.queue.directory import QueueDirectory


def notes_of_a_start(began_at: float = 50.0) -> Notes:
    notes = Notes()
    notes.start = Start(began_at, 0)
    return notes


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [since_boot()]
    monkeypatch.setattr(starting, "since_boot", lambda: now[0])
    return now


@pytest.fixture
def file(directory: QueueDirectory) -> Iterator[int]:
    """A descriptor of the file, as another process has one."""
    descriptor = os.open(directory.starting, os.O_RDWR | os.O_CREAT, 0o600)
    yield descriptor
    os.close(descriptor)


# What becomes of a start


def pauses(clock: list[float], *failures: tuple[str, bool]) -> list[float]:
    notes, found = notes_of_a_start(), []
    for words, has_flushed in failures:
        notes.failed(words, has_flushed=has_flushed)
        found.append(round(notes.next_start - clock[0], 6))
    assert notes.failures == len(failures)
    return found


def test_the_next_start_comes_later_and_later_and_after_a_minute_at_the_latest(clock: list[float]) -> None:
    assert pauses(clock, *[("no module named x", False)] * 8) == [1, 2, 4, 8, 16, 32, 60, 60]


@pytest.mark.parametrize(("words", "has_flushed"), [("", False), ("Killed", True), ("", True)])
def test_who_may_have_been_killed_from_outside_is_replaced_at_once_and_only_once(
    clock: list[float], words: str, has_flushed: bool
) -> None:
    assert pauses(clock, (words, has_flushed), (words, has_flushed), (words, has_flushed)) == [0, 2, 4]
    assert pauses(clock, ("no module named x", False), (words, has_flushed)) == [1, 2]


def test_what_is_told_of_a_failure_is_the_end_of_its_words() -> None:
    notes = notes_of_a_start()
    assert notes.failure() == "a flusher cannot be started: it said nothing"
    notes.failed("x" * 5_000 + "the end")
    assert notes.words == "x" * 4_089 + "the end"
    assert notes.failure() == f"a flusher cannot be started: {notes.words}"
    assert notes.last_known == 50.0
    notes.failed("Killed", has_flushed=True)
    assert notes.failure() == "flushers end in the middle of their work (killed for want of memory?): Killed"


def test_a_success_forgets_the_failures_and_an_end_in_order_does_not() -> None:
    notes = notes_of_a_start()
    notes.failed("words")
    assert notes.start_to_note() is None
    notes.start = Start(60.0, 0)
    assert notes.start_to_note() == notes.start
    notes.ended()
    assert (notes.failures, notes.words, notes.last_known) == (1, "words", 60.0)
    notes.start = Start(70.0, 0)
    notes.succeeded()
    assert (notes.failures, notes.next_start, notes.words, notes.last_known) == (0, 0.0, "", 70.0)
    notes.start = None
    notes.ended()
    assert notes.last_known == 70.0


# The notes


def test_what_one_notes_another_reads(directory: QueueDirectory) -> None:
    notes = Starting(directory).read()
    assert notes.as_plain() == {**Notes().as_plain(), "boot": boot_id()}
    with Starting(directory).changing() as changed:
        assert changed is not None
        changed.failures = 3
        changed.seen = Seen(1, 2, 3, 4.0)
        changed.tried = {b"key": 5.0}
        changed.in_memory = {7: 8}
    assert Starting(directory).read().as_plain() == changed.as_plain()
    assert Starting(directory).read().seen == Seen(1, 2, 3, 4.0)


def test_what_did_not_change_is_not_written(directory: QueueDirectory) -> None:
    with Starting(directory).changing() as notes:
        assert notes is not None
    assert os.path.getsize(directory.starting) == 0


def test_who_finds_another_at_the_notes_leaves_them_or_insists(directory: QueueDirectory) -> None:
    with Starting(directory).changing() as first:
        assert first is not None
        with Starting(directory).changing() as second:
            assert second is None
        with Starting(directory).changing() as second:
            assert second is None, "the first has not lost its lock by that"
        with Starting(directory).changing(insist=True) as third:
            assert third is not None
            third.failures = 2
    assert Starting(directory).read().failures == 2, "what did not change is not written over it"
    with Starting(directory).changing() as again:
        assert again is not None, "it was let go of"


def test_the_lock_of_the_notes_is_let_go_of_whatever_happens(directory: QueueDirectory) -> None:
    def fail() -> None:
        with Starting(directory).changing() as notes:
            assert notes is not None
            notes.failures = 2
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert Starting(directory).read().failures == 0
    with Starting(directory).changing() as notes:
        assert notes is not None


def test_a_flusher_makes_no_file_and_who_tracks_does(directory: QueueDirectory) -> None:
    with Starting(directory, makes=False).changing(insist=True) as notes:
        assert notes is not None
        notes.failures = 1
    assert not os.path.exists(directory.starting)
    with Starting(directory).changing() as notes:
        assert notes is not None
    assert os.path.exists(directory.starting)


def test_a_disk_that_takes_no_note_stops_nobody(directory: QueueDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", refuse)
    with Starting(directory).changing() as notes:
        assert notes is not None
        notes.failures = 1
    Starting(directory).note(-1, 0)
    assert Starting(directory).read().failures == 0


@pytest.mark.parametrize("place", [32, 44, -1])
def test_damaged_notes_are_none(directory: QueueDirectory, place: int) -> None:
    with Starting(directory).changing() as notes:
        assert notes is not None
        notes.failures = 1
    data = bytearray(Path(directory.starting).read_bytes())
    data[place] ^= 1
    Path(directory.starting).write_bytes(data)
    assert Starting(directory).read().as_plain() == {**Notes().as_plain(), "boot": boot_id()}


@pytest.mark.parametrize(
    "content",
    [b"", b"\xc1", msgpack.packb([1]), msgpack.packb({"boot": boot_id(), "failures": 1, "seen": {"another": 1}})],
)
def test_what_is_whole_and_no_notes_is_none(directory: QueueDirectory, content: bytes) -> None:
    Path(directory.starting).write_bytes(bytes(32) + starting._HEAD.pack(crc32(content), len(content)) + content)
    assert Starting(directory).read().as_plain() == {**Notes().as_plain(), "boot": boot_id()}


def test_notes_of_another_boot_are_none(directory: QueueDirectory, monkeypatch: pytest.MonkeyPatch, file: int) -> None:
    with Starting(directory).changing() as notes:
        assert notes is not None
        notes.failures = 1
    Starting(directory).note(file, 7)
    assert Starting(directory).read().start is not None
    monkeypatch.setattr(starting, "boot_id", lambda: "another")
    assert Starting(directory).read().failures == 0
    assert Starting(directory).read().boot == "another"
    assert Starting(directory).read().start is None


def test_names_that_are_not_known_are_passed_over_and_those_that_are_missing_have_their_defaults(
    directory: QueueDirectory,
) -> None:
    known = {"boot": boot_id(), "failures": 4, "of a later version": 1}
    content = msgpack.packb(known)
    Path(directory.starting).write_bytes(
        bytes(32) + starting._HEAD.pack(crc32(content), len(content)) + content + b"older and longer ones"
    )
    notes = Starting(directory).read()
    assert (notes.failures, notes.seen, notes.words) == (4, None, "")


# The lock of a start


def test_a_start_is_on_its_way_while_its_lock_is_held_and_for_ten_seconds(
    directory: QueueDirectory, clock: list[float]
) -> None:
    mine, others = Starting(directory), Starting(directory)
    assert not others.is_starting()
    lock = mine.begin()
    assert lock is not None
    assert others.is_starting(), "it is about to note when it began"
    assert others.begin() is None
    mine.note(lock, 123)
    assert others.read().start == Start(clock[0], 123)
    clock[0] += 9.9
    assert others.is_starting()
    assert others.begin() is None
    clock[0] += 0.1
    assert not others.is_starting(), "it is given up"
    again = others.begin()
    assert again is not None, "though the lock is held still"
    others.note(again, 456)
    assert mine.is_starting()
    clock[0] -= 1.0
    assert not mine.is_starting(), "one that begins later is none"
    os.close(again)
    clock[0] += 2.0
    assert mine.is_starting()
    locks.let_go(lock)
    os.close(lock)
    assert not mine.is_starting()


def test_who_begins_no_start_leaves_no_descriptor_open(
    directory: QueueDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object) -> bool:
        raise OSError(errno.ENOLCK, "no locks")

    lock = Starting(directory).begin()
    assert lock is not None
    before = len(os.listdir("/proc/self/fd"))
    assert Starting(directory).begin() is None
    monkeypatch.setattr(locks, "try_hold", refuse)
    with pytest.raises(OSError, match="no locks"):
        Starting(directory).begin()
    assert len(os.listdir("/proc/self/fd")) == before
    os.close(lock)


def test_what_stands_in_for_the_file_is_no_file_and_no_start(directory: QueueDirectory) -> None:
    os.symlink("elsewhere", directory.starting)
    assert Starting(directory).read().start is None
    assert Starting(directory).read().failures == 0
    with Starting(directory).changing() as notes:
        assert notes is not None, "whoever cannot note what it has told tells it by itself"
        notes.failures = 1
    assert Starting(directory).read().failures == 0
    with pytest.raises(OSError, match="symbolic links"):
        Starting(directory).begin()


# Last words


def test_last_words_are_what_the_log_got_since_and_no_more_than_four_kilobytes(directory: QueueDirectory) -> None:
    log = Path(directory.log)
    assert last_words(directory, 0) == ""
    log.write_bytes(b"before\n" + b"since \xff then\n")
    assert last_words(directory, 7) == "since � then"
    assert last_words(directory, 1_000) == "before\nsince � then", "it was begun anew since"
    log.write_bytes(b"x" * 5_000 + b"the end")
    assert last_words(directory, 10) == "x" * 4_089 + "the end"
    assert last_words(directory, 5_007) == ""
