"""One segment: creating it, appending to it, cutting back, syncing, sealing."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytest

from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.format import HEADER_SIZE, decode_header
from lotus_durable.queue.writer import SegmentWriter, is_abandoned

from .events import numbers_of, read_segment, record
from .faults import refusing, replaced, writing_short

LIMIT = 1 << 20


@pytest.fixture
def writer(directory: QueueDirectory) -> Iterator[SegmentWriter]:
    writer = SegmentWriter(directory, limit=LIMIT, sync=False)
    yield writer
    writer.seal()


def read_numbers(writer: SegmentWriter) -> list[int]:
    records, damages = read_segment(writer.path)
    assert damages == []
    return numbers_of(records)


def test_an_append_is_one_write_of_one_frame(writer: SegmentWriter) -> None:
    real = os.write
    with replaced("write", real, where=".seg") as writes:
        end = writer.append(record(0))
    assert writes.count == 1
    assert writer.path.stat().st_size == end == writer.size
    assert read_numbers(writer) == [0]


def test_a_segment_has_its_name_only_once_its_header_is_written_and_its_lock_held(directory: QueueDirectory) -> None:
    real = os.rename

    def look(source: Any, target: Any) -> None:
        assert directory.segments() == []
        assert directory.unfinished() == [os.path.basename(source)]
        with open(source, "rb") as file:
            assert decode_header(file.read()) is not None
            assert not is_abandoned(file.fileno())
        real(source, target)

    with replaced("rename", look) as renames:
        writer = SegmentWriter(directory, limit=LIMIT, sync=False)
    assert renames.count == 1
    assert directory.segments() == [writer.path.name]
    assert directory.unfinished() == []
    writer.seal()


def test_segments_sort_by_their_creation(directory: QueueDirectory) -> None:
    writers = [SegmentWriter(directory, limit=LIMIT, sync=False) for _ in range(20)]
    assert directory.segments() == [writer.path.name for writer in writers]
    for writer in writers:
        writer.seal()


@pytest.mark.parametrize("call", ["write", "rename", "open"])
def test_a_segment_that_cannot_be_created_leaves_nothing_behind(directory: QueueDirectory, call: str) -> None:
    before = os.listdir("/proc/self/fd")
    with refusing(call, errno.ENOSPC, where=".new"), pytest.raises(OSError, match="No space"):
        SegmentWriter(directory, limit=LIMIT, sync=False)
    assert os.listdir(directory.journal) == []
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_a_header_written_short_leaves_nothing_behind(directory: QueueDirectory) -> None:
    with writing_short(10, where=".new"), pytest.raises(OSError, match="short write"):
        SegmentWriter(directory, limit=LIMIT, sync=False)
    assert os.listdir(directory.journal) == []


@pytest.mark.parametrize("call", ["fdatasync", "fsync"])
def test_a_new_segment_that_cannot_be_synced_does_not_look_alive(directory: QueueDirectory, call: str) -> None:
    with refusing(call, errno.EIO), pytest.raises(OSError, match="Input/output"):
        SegmentWriter(directory, limit=LIMIT, sync=True)
    [name] = directory.segments()
    with open(directory.journal / name, "rb") as file:
        assert is_abandoned(file.fileno())


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 60])
def test_a_short_write_is_undone_and_the_segment_goes_on(writer: SegmentWriter, size: int) -> None:
    writer.append(record(0))
    end = writer.size
    with writing_short(size), pytest.raises(OSError, match="short write") as raised:
        writer.append(record(1))
    assert raised.value.errno == errno.ENOSPC
    assert writer.path.stat().st_size == end
    writer.append(record(2))
    assert read_numbers(writer) == [0, 2]


def test_a_short_write_that_cannot_be_undone_ends_the_segment_with_a_torn_tail(writer: SegmentWriter) -> None:
    writer.append(record(0))
    with writing_short(20), refusing("ftruncate", errno.EIO), pytest.raises(OSError, match="short write"):
        writer.append(record(1))
    assert writer.limit == 0
    writer.seal()
    records, [damage] = read_segment(writer.path)
    assert numbers_of(records) == [0]
    assert (damage.torn, len(damage.data)) == (True, 20)


def test_a_refused_write_leaves_the_segment_usable(writer: SegmentWriter) -> None:
    with refusing("write", errno.ENOSPC, where=".seg"), pytest.raises(OSError, match="No space"):
        writer.append(record(0))
    writer.append(record(1))
    assert read_numbers(writer) == [1]


class Interrupted(Exception):
    pass


@pytest.fixture
def interrupting_signal() -> Iterator[None]:
    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGUSR1, interrupt)
    yield
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.usefixtures("interrupting_signal")
def test_a_signal_handler_that_raises_in_mid_append_ends_the_segment(writer: SegmentWriter) -> None:
    writer.append(record(0))
    real = os.write

    def write_and_signal(descriptor: int, data: bytes) -> int:
        written = real(descriptor, data)
        signal.raise_signal(signal.SIGUSR1)
        return written

    with replaced("write", write_and_signal, where=".seg"), pytest.raises(Interrupted):
        writer.append(record(1))
    # Whether event 1 counts nobody knows, so no further frame may take its place or its number.
    assert writer.limit == 0
    assert read_numbers(writer) == [0, 1]


def test_a_sync_serves_all_that_was_appended_before_it(writer: SegmentWriter) -> None:
    ends = [writer.append(record(number)) for number in range(5)]
    with replaced("fdatasync", os.fdatasync) as syncs:
        for end in reversed(ends):
            writer.sync_through(end)
    assert syncs.count == 1


def test_threads_that_wait_for_a_sync_share_the_next_one(writer: SegmentWriter) -> None:
    """While one sync runs, seven events are appended; one more sync serves them all."""
    real = os.fdatasync
    started, go_on = threading.Event(), threading.Event()

    def slow(descriptor: int) -> None:
        started.set()
        assert go_on.wait(10)
        real(descriptor)

    with replaced("fdatasync", slow) as syncs:
        threads = [threading.Thread(target=writer.sync_through, args=(writer.append(record(0)),))]
        threads[0].start()
        assert started.wait(10)
        for number in range(1, 8):
            thread = threading.Thread(target=writer.sync_through, args=(writer.append(record(number)),))
            thread.start()
            threads.append(thread)
        go_on.set()
        for thread in threads:
            thread.join(10)
    assert syncs.count == 2


def test_a_sync_that_failed_is_never_tried_again(writer: SegmentWriter) -> None:
    end = writer.append(record(0))
    with refusing("fdatasync", errno.EIO, times=1), pytest.raises(OSError, match="Input/output"):
        writer.sync_through(end)
    assert writer.limit == 0
    with replaced("fdatasync", os.fdatasync) as syncs, pytest.raises(OSError, match="earlier sync"):
        writer.sync_through(end)
    assert syncs.count == 0


def test_what_was_synced_before_a_failed_sync_stays_synced(writer: SegmentWriter) -> None:
    first = writer.append(record(0))
    writer.sync_through(first)
    with refusing("fdatasync", errno.EIO), pytest.raises(OSError, match="Input/output"):
        writer.sync_through(writer.append(record(1)))
    writer.sync_through(first)


def test_a_sync_of_one_thread_is_not_disturbed_by_an_append_of_another(writer: SegmentWriter) -> None:
    end = writer.append(record(0))
    real = os.write
    inside, go_on = threading.Event(), threading.Event()

    def slow(descriptor: int, data: bytes) -> int:
        inside.set()
        assert go_on.wait(10)
        return real(descriptor, data)

    with replaced("write", slow, where=".seg"):
        thread = threading.Thread(target=writer.append, args=(record(1),))
        thread.start()
        assert inside.wait(10)
        writer.sync_through(end)
        go_on.set()
        thread.join(10)
    assert read_numbers(writer) == [0, 1]


def test_the_lock_tells_a_living_writer_from_a_sealed_segment(writer: SegmentWriter) -> None:
    with open(writer.path, "rb") as file:
        assert not is_abandoned(file.fileno())
        writer.seal()
        assert is_abandoned(file.fileno())


def test_sealing_unlocks_also_for_those_who_inherited_the_descriptor(writer: SegmentWriter) -> None:
    inherited = os.dup(writer._descriptor)
    writer.seal()
    with open(writer.path, "rb") as file:
        assert is_abandoned(file.fileno())
    os.close(inherited)


def test_abandoning_leaves_the_lock_to_the_other_holders(writer: SegmentWriter) -> None:
    inherited = os.dup(writer._descriptor)
    writer.abandon()
    with open(writer.path, "rb") as file:
        assert not is_abandoned(file.fileno())
        fcntl.flock(inherited, fcntl.LOCK_UN)
        assert is_abandoned(file.fileno())
    os.close(inherited)


def test_sealing_twice_does_no_harm(writer: SegmentWriter) -> None:
    writer.seal()
    writer.seal()
    with pytest.raises(OSError, match="Bad file descriptor"):
        writer.append(record(0))


def test_a_deleted_segment_is_noticed(writer: SegmentWriter) -> None:
    assert not writer.is_deleted()
    writer.path.unlink()
    assert writer.is_deleted()


def test_a_segment_is_its_owners_alone(writer: SegmentWriter) -> None:
    assert stat.S_IMODE(writer.path.stat().st_mode) == 0o600
    assert writer.path.stat().st_size == HEADER_SIZE
    assert "frames=0" in repr(writer)
