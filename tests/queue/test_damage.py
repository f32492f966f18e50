"""Every byte of truncation, every flipped bit, and worse: what is whole is read, what is not is counted and kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.format import FRAME_HEADER_SIZE, HEADER_SIZE, SECTOR, encode_frame
from lotus_durable.queue.reader import BEGINNING, SegmentReader, glance

from .segments import (
    flipped,
    numbers_of,
    read_segment,
    record,
    write_segment,
)

COUNT = 5
RECORDS = [record(number, padding=number * 3) for number in range(COUNT)]


class Sample:
    """One small segment on disk and the offsets of its frames."""

    def __init__(self, directory: QueueDirectory, *, living: bool) -> None:
        self.writer = write_segment(directory, RECORDS)
        if not living:
            self.writer.seal()
        self.path = self.writer.path
        self.whole = Path(self.path).read_bytes()
        self.ends = [HEADER_SIZE]
        for each in RECORDS:
            self.ends.append(self.ends[-1] + FRAME_HEADER_SIZE + len(each))

    def write(self, data: bytes) -> None:
        Path(self.path).write_bytes(data)

    def whole_frames(self, size: int) -> int:
        """Return how many frames lie in the first ``size`` bytes."""
        return sum(end <= size for end in self.ends[1:])

    def frame_at(self, index: int) -> int | None:
        """Return the frame that byte ``index`` is in, None for the header."""
        return None if index < HEADER_SIZE else sum(end <= index for end in self.ends) - 1


def is_finished(path: str) -> bool:
    """Whether a reader that has read all it can would have the segment deleted."""
    reader = SegmentReader(path)
    while reader.read(64) is not None:
        pass
    try:
        return reader.finished()
    finally:
        reader.close()


def all_but(*missing: int | None) -> list[int]:
    return [number for number in range(COUNT) if number not in missing]


def test_every_truncation_of_an_abandoned_segment_loses_only_what_was_cut(directory: QueueDirectory) -> None:
    sample = Sample(directory, living=False)
    for size in range(len(sample.whole) + 1):
        sample.write(sample.whole[:size])
        records, damages = read_segment(sample.path)
        count = sample.whole_frames(size)
        assert records == RECORDS[:count], size
        if 0 < size < HEADER_SIZE:
            assert [(damage.offset, damage.events) for damage in damages] == [(0, 0)], size
            assert damages[0].data == sample.whole[:size]
        else:
            assert damages == [], size  # a torn tail was never acknowledged, and an empty file holds nothing
        assert is_finished(sample.path), size


def test_every_truncation_of_a_living_segment_is_a_frame_still_to_come(directory: QueueDirectory) -> None:
    sample = Sample(directory, living=True)
    for size in range(HEADER_SIZE, len(sample.whole) + 1):
        sample.write(sample.whole[:size])
        records, damages = read_segment(sample.path)
        assert records == RECORDS[: sample.whole_frames(size)], size
        assert damages == [], size
    sample.writer.seal()


@pytest.mark.parametrize("living", [False, True])
def test_every_truncation_that_a_writer_has_written_on_behind_loses_only_what_was_cut(
    directory: QueueDirectory, living: bool
) -> None:
    """It writes where it knows its end to be: what was cut off before that is zeros."""
    sample = Sample(directory, living=living)
    last = sample.ends[COUNT - 1]
    for size in range(HEADER_SIZE, last):
        left = sample.whole[:size] + bytes(last - size) + sample.whole[last:]
        sample.write(left)
        records, damages = read_segment(sample.path)
        count = sum(left.startswith(sample.whole[:end]) for end in sample.ends[1:COUNT])  # zeros stay as they were
        assert numbers_of(records) == [*range(count), COUNT - 1], size
        events = COUNT - 1 - count
        assert [(each.offset, each.events) for each in damages] == [(sample.ends[count], events)] * bool(events), size
        assert glance(sample.path, BEGINNING).frames == COUNT, size
    sample.writer.seal()


def test_every_flipped_bit_of_an_abandoned_segment_loses_only_its_own_frame(directory: QueueDirectory) -> None:
    sample = Sample(directory, living=False)
    for index in range(len(sample.whole)):
        frame = sample.frame_at(index)
        for bit in range(8):
            sample.write(flipped(sample.whole, index, bit))
            records, [damage] = read_segment(sample.path)
            assert numbers_of(records) == all_but(frame), (index, bit)
            assert damage.events == (0 if frame is None else 1), (index, bit)
            assert str(damage).startswith(f"damage in segment {Path(sample.path).name} at byte {damage.offset} (")
            start, end = (0, HEADER_SIZE) if frame is None else (sample.ends[frame], sample.ends[frame + 1])
            assert (damage.offset, damage.data) == (start, flipped(sample.whole, index, bit)[start:end]), (index, bit)


def test_every_flipped_byte_of_a_living_segment_loses_only_its_own_frame(directory: QueueDirectory) -> None:
    sample = Sample(directory, living=True)
    for index in range(len(sample.whole)):
        frame = sample.frame_at(index)
        sample.write(flipped(sample.whole, index, index % 8))
        records, damages = read_segment(sample.path)
        assert numbers_of(records) == all_but(frame), index
        # Damage at the end of a living segment cannot be told from a frame that is being written.
        expected = [] if frame == COUNT - 1 else [0 if frame is None else 1]
        assert [damage.events for damage in damages] == expected, index
    sample.writer.seal()


def test_two_flipped_bits_lose_at_most_their_two_frames(directory: QueueDirectory) -> None:
    sample = Sample(directory, living=False)
    step = 7  # all pairs would take too long
    for one in range(HEADER_SIZE, len(sample.whole), step):
        for two in range(one + 1, len(sample.whole), step):
            sample.write(flipped(flipped(sample.whole, one, 0), two, 7))
            missing = {sample.frame_at(one), sample.frame_at(two)}
            records, damages = read_segment(sample.path)
            assert numbers_of(records) == all_but(*missing), (one, two)
            if COUNT - 1 not in missing:
                assert sum(damage.events for damage in damages) == len(missing), (one, two)


def test_a_flipped_bit_and_a_torn_tail_are_two_things(directory: QueueDirectory) -> None:
    sample = Sample(directory, living=False)
    for index in range(sample.ends[1], sample.ends[2]):
        sample.write(flipped(sample.whole, index, 3)[:-5])
        records, damages = read_segment(sample.path)
        assert numbers_of(records) == [0, 2, 3], index
        assert [damage.events for damage in damages] == [1], index


@pytest.mark.parametrize("garbage", [b"\xff" * 300, b"LOTUSQ\r\n" * 40, b"\xc1" * 100, b"x"])
def test_garbage_at_the_end_is_kept_and_costs_one_event_at_most(directory: QueueDirectory, garbage: bytes) -> None:
    sample = Sample(directory, living=False)
    sample.write(sample.whole + garbage)
    records, [damage] = read_segment(sample.path)
    assert records == RECORDS
    assert (damage.data, damage.events) == (garbage, int(len(garbage) >= FRAME_HEADER_SIZE))


@pytest.mark.parametrize("size", [1, 15, 16, 300, 5000, 1_000_000])
def test_zeros_that_a_power_cut_left_at_the_end_are_nothing(directory: QueueDirectory, size: int) -> None:
    sample = Sample(directory, living=False)
    sample.write(sample.whole + bytes(size))
    assert read_segment(sample.path) == (RECORDS, [])
    assert is_finished(sample.path)


@pytest.mark.parametrize("size", [0, 1, HEADER_SIZE, 4096, 1_000_000])
def test_a_segment_of_zeros_that_a_power_cut_left_is_nothing(directory: QueueDirectory, size: int) -> None:
    sample = Sample(directory, living=False)
    sample.write(bytes(size))
    assert read_segment(sample.path) == ([], [])
    assert is_finished(sample.path)


def test_a_tail_of_zeros_costs_the_frames_it_replaces(directory: QueueDirectory) -> None:
    sample = Sample(directory, living=False)
    for size in range(HEADER_SIZE, len(sample.whole)):
        sample.write(sample.whole[:size] + bytes(len(sample.whole) - size))
        records, damages = read_segment(sample.path)
        count = sample.whole_frames(size)
        assert numbers_of(records[:count]) == list(range(count)), size
        # A frame may end with zeros of its own.
        assert len(records) - count <= 1, size
        # Of the one that is there in part it cannot be known whether it was acknowledged.
        assert sum(damage.events for damage in damages) <= (size != sample.ends[count]), size


def test_half_a_frame_and_zeros_from_a_sector_on_are_a_torn_tail(directory: QueueDirectory) -> None:
    """What a power cut leaves when the file's new size came to the disk, and not the last sectors."""
    writer = write_segment(directory, [record(number, padding=700) for number in range(COUNT)])
    writer.seal()
    path = Path(writer.path)
    whole = path.read_bytes()
    for cut in range(SECTOR, len(whole), SECTOR):
        path.write_bytes(whole[:cut] + bytes(len(whole) - cut))
        records, damages = read_segment(writer.path)
        assert numbers_of(records) == list(range(len(records)))
        assert damages == []
        assert is_finished(writer.path)


@pytest.mark.parametrize("living", [True, False])
def test_a_hole_in_the_middle_is_as_many_events_as_are_missing(directory: QueueDirectory, living: bool) -> None:
    sample = Sample(directory, living=living)
    for start in range(COUNT - 1):
        for end in range(start + 1, COUNT):
            hole = bytes(sample.ends[end] - sample.ends[start])
            sample.write(sample.whole[: sample.ends[start]] + hole + sample.whole[sample.ends[end] :])
            records, [damage] = read_segment(sample.path)
            assert numbers_of(records) == all_but(*range(start, end))
            assert (damage.events, damage.data) == (end - start, hole)
    sample.writer.seal()


@pytest.mark.parametrize("living", [True, False])
def test_frames_cut_out_without_a_trace_are_missed_and_counted(directory: QueueDirectory, living: bool) -> None:
    sample = Sample(directory, living=living)
    for start in range(COUNT - 1):
        for end in range(start + 1, COUNT):
            sample.write(sample.whole[: sample.ends[start]] + sample.whole[sample.ends[end] :])
            records, [damage] = read_segment(sample.path)
            assert numbers_of(records) == all_but(*range(start, end))
            assert (damage.events, damage.data) == (end - start, b"")
    sample.writer.seal()


def test_a_frame_that_is_there_twice_is_one_event(directory: QueueDirectory) -> None:
    sample = Sample(directory, living=False)
    for frame in range(COUNT - 1):
        again = sample.whole[sample.ends[frame] : sample.ends[frame + 1]]
        sample.write(sample.whole[: sample.ends[frame + 1]] + again + sample.whole[sample.ends[frame + 1] :])
        records, [damage] = read_segment(sample.path)
        assert numbers_of(records) == all_but()
        assert (damage.data, damage.events) == (again, 0)


def test_damage_larger_than_the_buffer_hides_nothing(directory: QueueDirectory) -> None:
    sample = Sample(directory, living=False)
    hole = bytes(3_000_000)
    sample.write(sample.whole[: sample.ends[2]] + hole + sample.whole[sample.ends[2] :])
    records, [damage] = read_segment(sample.path)
    assert records == RECORDS
    assert (len(damage.data), damage.events) == (len(hole), 0)


def test_a_segment_without_header_and_with_a_foreign_name_is_kept_whole(directory: QueueDirectory) -> None:
    sample = Sample(directory, living=False)
    path = Path(sample.path).rename(Path(sample.path).with_name("copy.seg"))
    path.write_bytes(bytes(HEADER_SIZE) + sample.whole[HEADER_SIZE:])
    records, damages = read_segment(path)
    assert records == []
    assert [damage.data for damage in damages] == [bytes(HEADER_SIZE), sample.whole[HEADER_SIZE:]]


def test_a_damaged_header_and_a_first_frame_that_is_damaged_too_hide_nothing_else(directory: QueueDirectory) -> None:
    sample = Sample(directory, living=False)
    for index in range(sample.ends[0], sample.ends[1]):
        sample.write(bytes(HEADER_SIZE) + flipped(sample.whole, index, 2)[HEADER_SIZE:])
        records, damages = read_segment(sample.path)
        assert numbers_of(records) == all_but(0), index
        assert [damage.events for damage in damages] == [0, 1], index


# Forgery: an author of events who would like to make events that nobody accepted


def forge(marker: bytes, number: int) -> bytes:
    return encode_frame(marker, number, record(666))


@pytest.mark.parametrize("index", [0, HEADER_SIZE + 4, HEADER_SIZE + FRAME_HEADER_SIZE])
def test_frames_inside_a_record_are_never_taken_for_frames(directory: QueueDirectory, index: int) -> None:
    forged = b"".join(forge(b"\xc1" + bytes([byte]) * 3, number) for number, byte in enumerate(range(256)))
    writer = write_segment(directory, [forged, record(1)])
    writer.seal()
    Path(writer.path).write_bytes(flipped(Path(writer.path).read_bytes(), index, 0))
    records, damages = read_segment(writer.path)
    expected = [forged, record(1)] if index == 0 else [record(1)]
    assert records == expected
    assert sum(damage.events for damage in damages) == 2 - len(expected)
