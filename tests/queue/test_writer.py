"""One segment: creating it, appending to it, cutting back, sealing. Syncs are in test_power."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from lotus_durable.disk import is_of_the_disk
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.format import HEADER_SIZE, decode_header, encode_frame
from lotus_durable.queue.writer import SegmentWriter, is_abandoned

from .faults import refusing, replaced, writing_short
from .segments import KEY, numbers_of, read_segment, record


@pytest.fixture
def writer(directory: QueueDirectory) -> Iterator[SegmentWriter]:
    writer = SegmentWriter(directory, KEY, sync=False)
    yield writer
    writer.seal()


def read_numbers(writer: SegmentWriter) -> list[int]:
    records, damages = read_segment(writer.path)
    assert damages == []
    return numbers_of(records)


def test_an_append_is_one_write_of_one_frame(writer: SegmentWriter) -> None:
    with replaced("pwrite", os.pwrite, where=".seg") as writes:
        writer.append(record(0))
    assert writes.count == 1
    assert Path(writer.path).stat().st_size == writer.end
    assert read_numbers(writer) == [0]


def test_a_segment_is_not_written_in_append_mode(writer: SegmentWriter) -> None:
    """In that mode a terminal or a connection that got its number would take what is written."""
    assert not fcntl.fcntl(writer.descriptor, fcntl.F_GETFL) & os.O_APPEND


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
        writer = SegmentWriter(directory, KEY, sync=False)
    assert renames.count == 1
    assert directory.segments() == [writer.name]
    assert directory.unfinished() == []
    writer.seal()


def test_a_segment_says_who_wrote_it_and_for_which_key(writer: SegmentWriter) -> None:
    header = decode_header(Path(writer.path).read_bytes())
    assert header == writer.header
    assert (header.pid, header.key, len(header.id)) == (os.getpid(), KEY, 16)


def test_segments_sort_by_their_creation(directory: QueueDirectory) -> None:
    writers = [SegmentWriter(directory, KEY, sync=False) for _ in range(20)]
    assert directory.segments() == [writer.name for writer in writers]
    assert len({writer.header.id for writer in writers}) == 20
    for writer in writers:
        writer.seal()


@pytest.mark.parametrize("call", ["pwrite", "rename", "open", "flock", "fdatasync"])
def test_a_segment_that_cannot_be_created_leaves_nothing_behind(directory: QueueDirectory, call: str) -> None:
    before = os.listdir("/proc/self/fd")
    with refusing(call, errno.ENOSPC, where=".new"), pytest.raises(OSError, match="No space"):
        SegmentWriter(directory, KEY, sync=True)
    assert os.listdir(directory.journal) == []
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_a_header_written_short_leaves_nothing_behind(directory: QueueDirectory) -> None:
    with writing_short(10, where=".new"), pytest.raises(OSError, match="No space"):
        SegmentWriter(directory, KEY, sync=False)
    assert os.listdir(directory.journal) == []


def test_a_new_segment_whose_name_cannot_be_synced_does_not_look_alive(directory: QueueDirectory) -> None:
    with refusing("fsync", errno.EIO), pytest.raises(OSError, match="Input/output"):
        SegmentWriter(directory, KEY, sync=True)
    assert os.listdir(directory.journal) == []


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 60])
def test_a_short_write_is_undone_and_the_segment_goes_on(writer: SegmentWriter, size: int) -> None:
    writer.append(record(0))
    end = writer.end
    with writing_short(size), pytest.raises(OSError, match="No space") as raised:
        writer.append(record(1))
    assert raised.value.errno == errno.ENOSPC
    assert Path(writer.path).stat().st_size == end
    writer.append(record(2))
    assert read_numbers(writer) == [0, 2]
    assert writer.kept == [record(0), record(2)]


def test_a_short_write_that_can_be_finished_is(writer: SegmentWriter) -> None:
    real = os.pwrite
    with replaced("pwrite", lambda target, data, at: real(target, data[:20], at), where=".seg"):
        writer.append(record(0))
    writer.append(record(1))
    assert read_numbers(writer) == [0, 1]


def test_a_short_write_that_cannot_be_undone_ends_the_segment_with_a_torn_tail(writer: SegmentWriter) -> None:
    writer.append(record(0))
    with writing_short(20), refusing("ftruncate", errno.EIO), pytest.raises(OSError, match="No space"):
        writer.append(record(1))
    assert writer.is_broken
    assert Path(writer.path).stat().st_size == writer.end + 20
    writer.seal()
    assert read_numbers(writer) == [0]


def test_a_refused_write_leaves_the_segment_usable(writer: SegmentWriter) -> None:
    with refusing("pwrite", errno.ENOSPC, where=".seg"), pytest.raises(OSError, match="No space"):
        writer.append(record(0))
    writer.append(record(1))
    assert read_numbers(writer) == [1]
    assert writer.kept == [record(1)]


class Interrupted(Exception):
    pass


@pytest.fixture(params=[Interrupted, TimeoutError, lambda: ConnectionResetError(104, "reset")])
def interrupting_signal(request: pytest.FixtureRequest) -> Iterator[type[Exception]]:
    """SIGUSR1 raises an error, as a handler does that ends a request which takes too long."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise request.param()

    before = signal.signal(signal.SIGUSR1, interrupt)
    yield type(request.param())
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_signal_handler_that_raises_in_mid_append_ends_the_segment(
    writer: SegmentWriter, interrupting_signal: type[Exception], moment: str
) -> None:
    writer.append(record(0))
    real = os.pwrite

    def write_and_signal(descriptor: int, data: bytes, offset: int) -> int:
        if moment == "before":
            signal.raise_signal(signal.SIGUSR1)
        written = real(descriptor, data, offset)
        signal.raise_signal(signal.SIGUSR1)
        return written

    with replaced("pwrite", write_and_signal, where=".seg"), pytest.raises(interrupting_signal) as raised:
        writer.append(record(1))
    assert not is_of_the_disk(raised.value)
    # Whether event 1 counts nobody knows, so no further frame may take its place or its number.
    assert writer.is_broken
    assert read_numbers(writer) == ([0] if moment == "before" else [0, 1])


@pytest.mark.parametrize("code", [errno.EPIPE, errno.EIO])
def test_a_frame_that_is_whole_stays_whatever_error_came_after_it(writer: SegmentWriter, code: int) -> None:
    """A reader may have taken it already, and a signal handler may raise what a disk says."""
    real = os.pwrite

    def write_and_fail(descriptor: int, data: bytes, offset: int) -> int:
        real(descriptor, data, offset)
        raise OSError(code, "raised by a signal handler")

    with replaced("pwrite", write_and_fail, where=".seg"), pytest.raises(OSError, match="signal handler"):
        writer.append(record(0))
    assert writer.is_broken
    assert read_numbers(writer) == [0]


def test_what_is_trusted_to_be_there_is_forgotten(writer: SegmentWriter) -> None:
    writer.append(record(0))
    writer.trust()
    writer.append(record(1))
    assert writer.kept == [record(1)]
    assert writer.kept_from == HEADER_SIZE + len(encode_frame(writer.header.marker, 0, record(0)))
    assert writer.trusted_sequence == 1


def test_the_lock_tells_a_living_writer_from_a_sealed_segment(writer: SegmentWriter) -> None:
    with open(writer.path, "rb") as file:
        assert not is_abandoned(file.fileno())
        writer.seal()
        assert is_abandoned(file.fileno())


def test_sealing_unlocks_also_for_those_who_inherited_the_descriptor(writer: SegmentWriter) -> None:
    inherited = os.dup(writer.descriptor)
    writer.seal()
    with open(writer.path, "rb") as file:
        assert is_abandoned(file.fileno())
    os.close(inherited)


def test_abandoning_leaves_the_lock_to_the_other_holders(writer: SegmentWriter) -> None:
    inherited = os.dup(writer.descriptor)
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


def test_a_segment_is_its_owners_alone(writer: SegmentWriter) -> None:
    assert stat.S_IMODE(Path(writer.path).stat().st_mode) == 0o600
    assert Path(writer.path).stat().st_size == HEADER_SIZE
    assert "frames=0" in repr(writer)
