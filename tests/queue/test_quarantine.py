"""Damage on its way through the queue: counted, kept aside, reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from lotus_durable.errors import QueueDamaged
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.format import FRAME_HEADER_SIZE, HEADER_SIZE
from lotus_durable.queue.journal import JournalQueue
from lotus_durable.queue.writer import SegmentWriter

from .conftest import OpenQueue
from .events import (
    Output,
    Reports,
    assert_conserved,
    deliver_all,
    flipped,
    number_of,
    read_pass,
    record,
    write_segment,
)

COUNT = 5
RECORDS = [record(number, padding=number * 3) for number in range(COUNT)]


def all_but(*missing: int | None) -> list[int]:
    return [number for number in range(COUNT) if number not in missing]


def quarantined(directory: QueueDirectory) -> list[bytes]:
    return sorted(path.read_bytes() for path in directory.quarantine.iterdir())


def damage_frame(path: Path, number: int) -> bytes:
    """Flip a bit in the record of a frame of RECORDS; return the damaged frame."""
    start = HEADER_SIZE + sum(FRAME_HEADER_SIZE + len(each) for each in RECORDS[:number])
    end = start + FRAME_HEADER_SIZE + len(RECORDS[number])
    data = flipped(path.read_bytes(), end - 1, 0)
    path.write_bytes(data)
    return data[start:end]


def test_a_damaged_event_is_kept_aside_reported_and_a_dead_letter(
    directory: QueueDirectory, queue: JournalQueue, reports: Reports
) -> None:
    for each in RECORDS:
        queue.append(each)
    [name] = directory.segments()
    frame = damage_frame(directory.journal / name, 2)
    assert queue.census().pending == COUNT
    output = deliver_all(queue)
    assert output.numbers == all_but(2)
    assert quarantined(directory) == [frame]
    assert [type(error) for error in reports] == [QueueDamaged]
    assert "1 events" in str(reports[0])
    assert name in str(reports[0])
    census = queue.census()
    assert_conserved(census)
    assert (census.accepted, census.delivered, census.dead_lettered) == (COUNT, COUNT - 1, 1)


def test_damage_in_a_segment_whose_writer_goes_on_does_not_hide_what_follows(
    directory: QueueDirectory, queue: JournalQueue
) -> None:
    for each in RECORDS:
        queue.append(each)
    damage_frame(directory.journal / directory.segments()[0], COUNT - 1)
    consumer = queue.consumer()
    assert read_pass(consumer).numbers == all_but(COUNT - 1)
    assert read_pass(consumer) == Output()
    queue.append(record(100))
    output = read_pass(consumer)
    assert (output.numbers, output.lost) == ([100], 1)
    consumer.close()


def test_a_torn_tail_is_not_an_event_and_not_an_alarm(
    directory: QueueDirectory, queue: JournalQueue, reports: Reports
) -> None:
    writer = write_segment(directory, RECORDS)
    writer.seal()
    writer.path.write_bytes(writer.path.read_bytes()[:-1])
    output = deliver_all(queue)
    assert output.numbers == all_but(COUNT - 1)
    assert [damage.torn for damage in output.damages] == [True]
    assert reports == []
    assert len(quarantined(directory)) == 1
    assert directory.segments() == []
    census = queue.census()
    assert_conserved(census)
    assert census.accepted == COUNT - 1


def test_a_segment_without_a_whole_header_is_reported_and_retired(
    directory: QueueDirectory, queue: JournalQueue, reports: Reports
) -> None:
    for size in (0, 1, HEADER_SIZE - 1):
        writer = write_segment(directory, RECORDS)
        writer.seal()
        writer.path.write_bytes(writer.path.read_bytes()[:size])
        assert queue.census().pending == 0
        deliver_all(queue)
        assert directory.segments() == []
    assert len(reports) == 3
    assert queue.census().accepted == 0


def test_a_damaged_header_is_reported_once_and_costs_no_event(
    directory: QueueDirectory, queue: JournalQueue, reports: Reports
) -> None:
    queue.append(record(0))
    path = directory.journal / directory.segments()[0]
    path.write_bytes(flipped(path.read_bytes(), 3, 3))
    consumer = queue.consumer()
    output = read_pass(consumer)
    assert output.numbers == [0]
    consumer.settle(output.settlement())
    queue.append(record(1))
    assert read_pass(consumer).numbers == [1]
    assert read_pass(consumer).numbers == []
    consumer.close()
    assert len(reports) == 1
    assert queue.census().pending == 1


def test_damage_is_found_again_when_the_leader_dies_before_it_settles(
    directory: QueueDirectory, queue: JournalQueue
) -> None:
    for each in RECORDS:
        queue.append(each)
    damage_frame(directory.journal / directory.segments()[0], 1)
    first = queue.consumer()
    assert read_pass(first).lost == 1
    first.close()
    output = deliver_all(queue)
    assert (output.numbers, output.lost) == (all_but(1), 1)
    assert len(quarantined(directory)) == 1
    assert_conserved(queue.census())


def test_a_segment_of_a_newer_format_is_left_alone_and_reported_once(
    directory: QueueDirectory, open_queue: OpenQueue, reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = open_queue()
    with monkeypatch.context() as newer:
        newer.setattr("lotus_durable.queue.format.VERSION", 2)
        path = write_segment_and_seal(directory)
    queue.append(record(7))
    consumer = queue.consumer()
    assert read_pass(consumer).numbers == [7]
    assert read_pass(consumer).numbers == []
    consumer.close()
    assert ["version 2" in text for text in reports.texts()] == [True]
    assert path.exists()
    # What it holds is not ours to count; what is ours still is.
    assert queue.census().accepted == 1


def write_segment_and_seal(directory: QueueDirectory) -> Path:
    writer: SegmentWriter = write_segment(directory, RECORDS)
    writer.seal()
    return writer.path


def test_damage_in_every_other_frame_of_a_large_segment_is_read_through(
    directory: QueueDirectory, queue: JournalQueue
) -> None:
    writer = write_segment(directory, (record(number) for number in range(2000)))
    writer.seal()
    data = bytearray(writer.path.read_bytes())
    position = HEADER_SIZE
    for number in range(2000):
        if number % 2:
            data[position + FRAME_HEADER_SIZE] ^= 1
        position += FRAME_HEADER_SIZE + len(record(number))
    writer.path.write_bytes(data)
    output = deliver_all(queue)
    assert [number_of(each) for each in output.records] == list(range(0, 2000, 2))
    assert output.lost == 1000
    assert_conserved(queue.census())
