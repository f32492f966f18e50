"""What must survive a power cut: shared syncs, and what becomes of events whose sync fails."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from lotus_durable.queue.appender import Appender
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.writer import SegmentWriter

from .faults import refusing, replaced
from .segments import (
    KEY,
    Reports,
    append,
    carried_in,
    expire_trust,
    numbers_of,
    open_appender,
    read_journal,
    read_segment,
    record,
    writer_of,
)
from .waiting import wait_until

SEGMENT_BYTES = 4096


@pytest.fixture
def appender(directory: QueueDirectory, reports: Reports) -> Iterator[Appender]:
    appender = open_appender(directory, reports, power=True, segment_bytes=SEGMENT_BYTES)
    yield appender
    appender.close()


@pytest.fixture
def writer(directory: QueueDirectory) -> Iterator[SegmentWriter]:
    writer = SegmentWriter(directory, KEY, sync=True)
    yield writer
    writer.seal()


def appended(writer: SegmentWriter, number: int) -> int:
    writer.append(record(number))
    return writer.end


def test_a_sync_serves_all_that_was_appended_before_it(writer: SegmentWriter) -> None:
    ends = [appended(writer, number) for number in range(5)]
    with replaced("fdatasync", os.fdatasync) as syncs:
        for end in reversed(ends):
            writer.sync_through(end)
    assert syncs.count == 1


def test_threads_that_wait_for_a_sync_share_the_next_one(appender: Appender, directory: QueueDirectory) -> None:
    """While one sync runs, seven events are appended; one more sync serves them all."""
    append(appender, 0)
    real = os.fdatasync
    started, go_on = threading.Event(), threading.Event()

    def slow(descriptor: int) -> None:
        started.set()
        assert go_on.wait(10)
        real(descriptor)

    def track(number: int) -> None:
        mark = appender.append(record(number), time.monotonic())
        assert mark is not None
        tracked.add(number)
        appender.sync(mark)

    tracked: set[int] = set()
    with replaced("fdatasync", slow) as syncs:
        threads = [threading.Thread(target=track, args=(number,)) for number in range(1, 9)]
        threads[0].start()
        assert started.wait(10)
        for number, thread in enumerate(threads[1:], 2):
            thread.start()
            wait_until(partial(tracked.__contains__, number))  # so that one thread at a time appends
        go_on.set()
        for thread in threads:
            thread.join(10)
    assert syncs.count == 2
    assert read_journal(directory) == list(range(9))


def test_a_thread_that_a_sync_was_enough_for_does_not_wait_for_the_next_one(writer: SegmentWriter) -> None:
    real = os.fdatasync
    turns = [threading.Event(), threading.Event()]
    begun: list[threading.Event] = [threading.Event(), threading.Event()]
    left = iter(range(2))

    def slow(descriptor: int) -> None:
        number = next(left)
        begun[number].set()
        assert turns[number].wait(30)
        real(descriptor)

    writer._sync_seconds = 1.0  # as if the disk were slow: that is how long they go on looking
    ends = [appended(writer, number) for number in range(2)]
    with replaced("fdatasync", slow):
        syncing, covered = (threading.Thread(target=writer.sync_through, args=(end,)) for end in reversed(ends))
        syncing.start()
        assert begun[0].wait(30)
        covered.start()
        behind = threading.Thread(target=writer.sync_through, args=(appended(writer, 2),))
        behind.start()
        turns[0].set()
        assert begun[1].wait(30)
        covered.join(30)
        assert not covered.is_alive(), "while the next sync goes on"
        turns[1].set()
        for thread in (syncing, behind):
            thread.join(30)


def test_threads_that_shared_a_sync_are_waited_for_and_share_the_next_one(
    writer: SegmentWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, sleep = os.fdatasync, time.sleep
    begun, go_on = threading.Event(), threading.Event()

    def slow(descriptor: int) -> None:
        begun.set()
        assert go_on.wait(30)
        real(descriptor)

    ends = [appended(writer, number) for number in range(2)]
    with replaced("fdatasync", slow) as syncs:
        first = threading.Thread(target=writer.sync_through, args=(ends[1],))
        first.start()
        assert begun.wait(10)
        second = threading.Thread(target=writer.sync_through, args=(ends[0],))
        second.start()
        wait_until(lambda: writer._is_waited_for)
        go_on.set()
        for thread in (first, second):
            thread.join(10)

        # The first to come back meets the others' next events, if it gives them the moment that they need.
        monkeypatch.setattr(time, "sleep", lambda seconds: (appended(writer, 3), sleep(seconds)))
        writer.sync_through(appended(writer, 2))
        monkeypatch.undo()
        writer.sync_through(writer.end)
        assert syncs.count == 2


def test_a_thread_by_itself_waits_for_nobody(writer: SegmentWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("it waits"))
    for number in range(3):
        writer.sync_through(appended(writer, number))


def test_a_sync_of_one_thread_is_not_disturbed_by_an_append_of_another(writer: SegmentWriter) -> None:
    end = appended(writer, 0)
    real = os.pwrite
    inside, go_on = threading.Event(), threading.Event()

    def slow(descriptor: int, data: bytes, offset: int) -> int:
        inside.set()
        assert go_on.wait(10)
        return real(descriptor, data, offset)

    with replaced("pwrite", slow, where=".seg"):
        thread = threading.Thread(target=writer.append, args=(record(1),))
        thread.start()
        assert inside.wait(10)
        writer.sync_through(end)
        go_on.set()
        thread.join(10)
    assert numbers_of(read_segment(writer.path)[0]) == [0, 1]


def test_a_sync_that_failed_is_never_tried_again_and_what_it_was_for_is_cut_off(writer: SegmentWriter) -> None:
    first = appended(writer, 0)
    writer.sync_through(first)
    second, third = appended(writer, 1), appended(writer, 2)
    with refusing("fdatasync", errno.EIO, times=1), pytest.raises(OSError, match="Input/output"):
        writer.sync_through(second)
    assert writer.is_broken
    assert Path(writer.path).stat().st_size == writer.last_end == first
    with replaced("fdatasync", os.fdatasync) as syncs, pytest.raises(OSError, match="earlier sync"):
        writer.sync_through(third)
    assert syncs.count == 0
    writer.sync_through(first)
    assert numbers_of(read_segment(writer.path)[0]) == [0]


def test_a_frame_that_was_being_written_when_a_sync_failed_is_cut_off_too(writer: SegmentWriter) -> None:
    first = appended(writer, 0)
    writer.sync_through(first)
    second = appended(writer, 1)
    real = os.pwrite

    def fail_meanwhile(descriptor: int, data: bytes, offset: int) -> int:
        with refusing("fdatasync", errno.EIO), pytest.raises(OSError, match="Input/output"):
            writer.sync_through(second)
        return real(descriptor, data, offset)

    with replaced("pwrite", fail_meanwhile, where=".seg"):
        third = appended(writer, 2)
    assert Path(writer.path).stat().st_size == third
    with pytest.raises(OSError, match="earlier sync"):
        writer.sync_through(third)
    assert Path(writer.path).stat().st_size == first
    assert numbers_of(read_segment(writer.path)[0]) == [0]


def test_an_event_whose_sync_fails_is_written_once_and_somewhere_else(
    directory: QueueDirectory, appender: Appender, reports: Reports
) -> None:
    append(appender, 0)
    first = writer_of(appender)
    with refusing("fdatasync", errno.EIO, where=first.name) as syncs:
        append(appender, 1)
        append(appender, 2)
    assert syncs.count == 1
    assert numbers_of(read_segment(first.path)[0]) == [0]
    assert read_journal(directory) == [0, 1, 2]
    # Somebody may have read it before it was cut off: it says where that was.
    assert carried_in(directory) == {1: (first.header.id, first.last_end)}
    assert reports == []


def test_events_of_several_threads_whose_shared_sync_fails_are_written_once_each(
    directory: QueueDirectory, appender: Appender
) -> None:
    append(appender, 0)
    first = writer_of(appender)
    marks = {number: appender.append(record(number), time.monotonic()) for number in range(1, 5)}
    with refusing("fdatasync", errno.EIO, where=first.name):
        for number, mark in marks.items():
            assert mark is not None
            with pytest.raises(OSError, match=r"Input/output|earlier sync"):
                appender.sync(mark)
            appender.append_again(record(number), time.monotonic(), mark)
    assert numbers_of(read_segment(first.path)[0]) == [0]
    assert read_journal(directory) == [0, 1, 2, 3, 4]
    assert {number: origin[1] for number, origin in carried_in(directory).items()} == {
        number: mark[1] for number, mark in marks.items() if mark is not None
    }


def test_what_could_not_be_synced_anywhere_is_nowhere(directory: QueueDirectory, appender: Appender) -> None:
    append(appender, 0)
    with refusing("fdatasync", errno.EIO), pytest.raises(OSError, match="Input/output"):
        append(appender, 1)
    assert read_journal(directory) == [0]
    append(appender, 2)
    assert read_journal(directory) == [0, 2]


def test_a_sync_of_a_descriptor_that_is_somebody_elses_says_nothing_of_our_events(
    directory: QueueDirectory, appender: Appender
) -> None:
    append(appender, 0)
    first = writer_of(appender)
    mark = appender.append(record(1), time.monotonic())
    assert mark is not None
    theirs = os.open(Path(directory.root) / "theirs", os.O_RDWR | os.O_CREAT)
    os.dup2(theirs, first.descriptor)
    with pytest.raises(OSError, match="closed the descriptor"):
        appender.sync(mark)
    appender.append_again(record(1), time.monotonic(), mark)
    assert read_journal(directory) == [0, 1]
    assert os.fstat(theirs).st_size == 0


@pytest.mark.parametrize("end", ["rotation", "closing", "carrying over"])
def test_the_end_of_a_segment_serves_the_threads_that_wait_for_its_sync(
    directory: QueueDirectory, appender: Appender, end: str
) -> None:
    append(appender, 0)
    mark = appender.append(record(1), time.monotonic())  # of a thread that comes to wait for the sync a moment later
    assert mark is not None
    if end == "closing":
        appender.close()
    elif end == "rotation":
        append(appender, 2, padding=SEGMENT_BYTES)
    else:
        Path(mark[0].path).unlink()
        expire_trust(appender)
        append(appender, 2)
    assert writer_of(appender) is not mark[0] if end != "closing" else appender.writer is None
    appender.sync(mark)
    assert read_journal(directory) == [0, 1, *([] if end == "closing" else [2])]


def test_a_segment_that_is_sealed_by_a_failing_sync_tells_the_threads_that_wait(
    directory: QueueDirectory, appender: Appender
) -> None:
    append(appender, 0)
    mark = appender.append(record(1), time.monotonic())
    assert mark is not None
    with refusing("fdatasync", errno.EIO, where=mark[0].name):
        append(appender, 2, padding=SEGMENT_BYTES)
    with pytest.raises(OSError, match="earlier sync"):
        appender.sync(mark)
    appender.append_again(record(1), time.monotonic(), mark)
    assert sorted(read_journal(directory)) == [0, 1, 2]


def test_what_is_carried_over_is_durable_when_the_next_event_is(directory: QueueDirectory, appender: Appender) -> None:
    append(appender, 0)
    Path(writer_of(appender).path).unlink()
    expire_trust(appender)
    synced: list[str] = []
    real = os.fdatasync

    def note(descriptor: int) -> None:
        synced.append(os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))
        real(descriptor)

    with replaced("fdatasync", note):
        append(appender, 1)
    carried, _own = directory.segments()
    assert synced[0] == carried.replace(".seg", ".new")
