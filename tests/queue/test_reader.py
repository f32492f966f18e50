"""Reading one segment that grows, and glancing at its ends. What damage does to it is in test_damage."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lotus_durable.queue.carry_over import write_carried
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.format import FRAME_HEADER_SIZE, HEADER_SIZE, MAX_RECORD_SIZE, new_header
from lotus_durable.queue.reader import BEGINNING, Chunk, SegmentReader, glance
from lotus_durable.queue.writer import SegmentWriter, is_abandoned

from .faults import refusing, replaced
from .segments import KEY, number_of, numbers_of, read_segment, record, write_segment


@pytest.fixture
def writer(directory: QueueDirectory) -> Iterator[SegmentWriter]:
    writer = SegmentWriter(directory, KEY, sync=False)
    yield writer
    writer.seal()


def appended(writer: SegmentWriter, packed: bytes) -> int:
    """Append and return where the segment ends then."""
    writer.append(packed)
    return writer.end


@pytest.fixture
def reader(writer: SegmentWriter) -> Iterator[SegmentReader]:
    reader = SegmentReader(writer.path)
    yield reader
    reader.close()


def numbers(stretch: Chunk | None) -> list[int]:
    assert stretch is not None
    assert stretch.damage is None
    return numbers_of(stretch.records)


def test_a_reader_sees_what_is_appended_after_it_was_opened(writer: SegmentWriter, reader: SegmentReader) -> None:
    assert reader.read(10) is None
    for number in range(3):
        writer.append(record(number))
        assert numbers(reader.read(10)) == [number]
        assert reader.read(10) is None


def test_a_reader_gives_no_more_than_it_is_asked_for(writer: SegmentWriter, reader: SegmentReader) -> None:
    for number in range(5):
        writer.append(record(number))
    assert numbers(reader.read(2)) == [0, 1]
    assert numbers(reader.read(2)) == [2, 3]
    assert numbers(reader.read(2)) == [4]


def test_reading_can_go_on_after_any_position(writer: SegmentWriter) -> None:
    ends = [appended(writer, record(number)) for number in range(4)]
    reader = SegmentReader(writer.path)
    stretch = reader.read(10)
    reader.close()
    assert stretch is not None
    assert stretch.positions == [(end, number + 1) for number, end in enumerate(ends)]
    for number, position in enumerate(stretch.positions[:-1]):
        reader = SegmentReader(writer.path)
        reader.position = position
        assert numbers(reader.read(1)) == [number + 1]
        reader.close()


def test_carried_events_come_with_where_they_were(directory: QueueDirectory) -> None:
    source = new_header(0, KEY)
    name, _ = write_carried(directory, source, [(56 + number, record(number)) for number in range(5)], sync=False)
    reader = SegmentReader(f"{directory.journal}/{name}")
    first, second = reader.read(3), reader.read(20)
    reader.close()
    assert numbers(first) == [0, 1, 2]
    assert numbers(second) == [3, 4]
    assert first is not None
    assert second is not None
    assert first.carried == {number: (source.id, 56 + number) for number in range(3)}
    assert second.carried == {number: (source.id, 59 + number) for number in range(2)}


def test_a_reader_knows_what_the_segment_says_about_itself(writer: SegmentWriter, reader: SegmentReader) -> None:
    assert reader.header == writer.header
    Path(writer.path).write_bytes(bytes(HEADER_SIZE))
    damaged = SegmentReader(writer.path)
    assert damaged.header is None
    damaged.close()
    assert glance(writer.path, BEGINNING).header is None


def test_a_segment_that_was_cut_off_before_where_it_was_read_to_is_finished(writer: SegmentWriter) -> None:
    middle = appended(writer, record(0))
    end = appended(writer, record(1))
    os.truncate(writer.path, middle)
    writer.seal()
    reader = SegmentReader(writer.path)
    reader.position = (end, 2)
    assert reader.read(10) is None
    assert reader.finished()
    reader.close()


def test_a_released_segment_is_read_like_any_other(directory: QueueDirectory, writer: SegmentWriter) -> None:
    writer.append(record(0))
    name = directory.let_go(writer.name)
    writer.append(record(1))
    writer.seal()
    with (Path(directory.journal) / name).open("r+b") as file:
        file.write(bytes(HEADER_SIZE))  # its name still tells where frames begin
    assert numbers_of(read_segment(Path(directory.journal) / name)[0]) == [0, 1]


def test_a_segment_is_finished_when_it_was_read_and_its_writer_has_let_go(
    writer: SegmentWriter, reader: SegmentReader
) -> None:
    writer.append(record(0))
    assert numbers(reader.read(10)) == [0]
    assert not reader.finished()
    writer.append(record(1))
    writer.seal()
    assert not reader.finished()
    assert numbers(reader.read(10)) == [1]
    assert reader.finished()


@pytest.mark.parametrize("size", [250_000, 262_000, 300_000, 1_100_000, MAX_RECORD_SIZE])
def test_frames_larger_than_the_buffer_are_read(writer: SegmentWriter, reader: SegmentReader, size: int) -> None:
    records = [record(0), b"x" * size, record(1), b"y" * size, record(2)]
    for each in records:
        writer.append(each)
    found: list[bytes] = []
    while (stretch := reader.read(64)) is not None:
        assert stretch.damage is None
        found += stretch.records
    assert found == records


def test_a_frame_that_is_being_written_is_waited_for(writer: SegmentWriter, reader: SegmentReader) -> None:
    start = appended(writer, record(0))
    assert numbers(reader.read(10)) == [0]
    end = appended(writer, record(1))
    whole = Path(writer.path).read_bytes()
    for size in range(start, end):
        Path(writer.path).write_bytes(whole[:size])
        assert reader.read(10) is None, size
    Path(writer.path).write_bytes(whole)
    assert numbers(reader.read(10)) == [1]


def test_a_frame_seen_while_a_short_write_was_cut_back_is_no_damage(
    writer: SegmentWriter, reader: SegmentReader
) -> None:
    """The first look sees the torn frame and, behind it, a later one; when it looks again all is well."""
    writer.append(record(0))
    start = appended(writer, record(1))
    writer.append(record(2))
    writer.append(record(3))
    assert numbers(reader.read(2)) == [0, 1]
    real, looks = os.pread, 0

    def torn_at_first(descriptor: int, size: int, offset: int) -> bytes:
        nonlocal looks
        looks += 1
        data = real(descriptor, size, offset)
        return b"torn" + data[4:] if looks <= 2 and offset == start else data

    reader._buffer = b""  # the two further records are in it already
    reader._index = 0
    with replaced("pread", torn_at_first, where=".seg"):
        assert numbers(reader.read(10)) == [2, 3]
    assert looks == 3


def test_a_torn_frame_that_was_cut_back_when_its_writer_let_go_is_no_damage(
    writer: SegmentWriter, reader: SegmentReader
) -> None:
    start = appended(writer, record(0))
    assert numbers(reader.read(10)) == [0]
    real, looks = os.pread, 0

    def torn_at_first(descriptor: int, size: int, offset: int) -> bytes:
        nonlocal looks
        looks += 1
        return writer.header.marker if looks == 1 else real(descriptor, size, offset)

    writer.seal()
    with replaced("pread", torn_at_first, where=".seg"):
        assert reader.read(10) is None
    assert (looks, reader.position) == (2, (start, 1))
    assert reader.finished()


def test_a_closed_reader_does_not_keep_a_segment_locked_through_a_forked_child(
    writer: SegmentWriter, reader: SegmentReader
) -> None:
    writer.seal()
    assert reader.read(10) is None
    assert reader.finished()
    inherited = os.dup(reader._descriptor)
    reader.close()
    with open(writer.path, "rb") as file:
        assert is_abandoned(file.fileno())
    os.close(inherited)


def test_a_reader_that_cannot_read_the_header_closes_its_file(writer: SegmentWriter) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with refusing("pread", errno.EIO, where=".seg"), pytest.raises(OSError, match="Input/output"):
        SegmentReader(writer.path)
    assert len(os.listdir("/proc/self/fd")) == before


def test_closing_twice_does_no_harm(reader: SegmentReader) -> None:
    reader.close()
    reader.close()
    assert "SegmentReader" in repr(reader)


# Glances


def test_a_glance_tells_how_many_events_there_are_and_which_comes_next(writer: SegmentWriter) -> None:
    ends = [HEADER_SIZE] + [appended(writer, record(number, padding=number * 500)) for number in range(30)]
    for number in range(30):
        seen = glance(writer.path, (ends[number], number))
        assert seen.first is not None
        assert (seen.frames, seen.size, number_of(seen.first)) == (30, ends[-1], number)
    assert glance(writer.path, (ends[-1], 30)).first is None


@pytest.mark.parametrize("size", [10, 3_000, 5_000, 100_000, 3_000_000])
def test_a_glance_does_not_depend_on_the_size_of_records(writer: SegmentWriter, size: int) -> None:
    writer.append(b"x" * size)
    end = appended(writer, b"y" * size)
    assert glance(writer.path, BEGINNING).frames == 2
    assert glance(writer.path, BEGINNING).first == b"x" * size
    assert glance(writer.path, (HEADER_SIZE + FRAME_HEADER_SIZE + size, 1)).first == b"y" * size
    os.truncate(writer.path, end - 1)
    assert glance(writer.path, BEGINNING).frames == 1


def test_a_glance_at_a_segment_of_any_length_is_possible(directory: QueueDirectory) -> None:
    writer = write_segment(directory, [record(0), record(1)])
    writer.seal()
    whole = Path(writer.path).read_bytes()
    for size in range(len(whole) + 1):
        Path(writer.path).write_bytes(whole[:size])
        assert glance(writer.path, BEGINNING).frames == len(read_segment(writer.path)[0])


def test_the_cost_of_a_glance_does_not_grow_with_the_segment(writer: SegmentWriter) -> None:
    def reads() -> int:
        with replaced("pread", os.pread, where=".seg") as preads:
            glance(writer.path, BEGINNING)
        return preads.count

    for number in range(200):
        writer.append(record(number))
    few = reads()
    for number in range(20_000):
        writer.append(record(number))
    assert reads() <= few
