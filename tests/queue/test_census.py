"""Counting from outside: cheap, consistent, and right at any moment."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from lotus_durable.errors import QueueDamaged
from lotus_durable.queue.census import pending_bytes, take_census
from lotus_durable.queue.cursor import State, encode_state
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.journal import JournalQueue
from lotus_durable.queue.protocol import Census, Settlement

from .conftest import OpenQueue
from .events import EPOCH, assert_conserved, deliver_all, read_pass, record
from .faults import replaced

EMPTY = Census(0, 0, 0, 0, 0, 0, 0, None)


def test_a_queue_that_does_not_exist_is_empty(tmp_path: Path) -> None:
    directory = QueueDirectory(tmp_path / "none")
    assert take_census(directory) == EMPTY
    assert pending_bytes(directory) == 0
    assert not directory.root.exists()


def test_a_new_queue_is_empty(queue: JournalQueue) -> None:
    assert queue.census() == EMPTY
    queue.consumer().close()
    assert queue.census() == EMPTY


def test_every_event_is_counted_where_it_is(open_queue: OpenQueue) -> None:
    queue = open_queue(segment_bytes=1000)
    for number in range(100):
        queue.append(record(number))
    census = queue.census()
    assert (census.accepted, census.pending) == (100, 100)
    consumer = queue.consumer()
    output = read_pass(consumer)
    consumer.settle(output.settlement(parked=output.records[:7], dead=output.records[7:10]))
    census = queue.census()
    assert census == Census(100, 90, 0, 7, 3, 0, 0, None)
    consumer.settle(Settlement(delivered=2, resolved=consumer.parked(0, 2)))
    assert queue.census() == Census(100, 92, 0, 5, 3, 0, 0, None)
    for number in range(5):
        queue.append(record(number))
    assert_conserved(queue.census())
    assert queue.census().pending == 5
    consumer.close()


def test_pending_bytes_are_those_of_frames_that_are_not_settled(queue: JournalQueue) -> None:
    size = len(record(0)) + 16
    for number in range(9):
        queue.append(record(number))
    assert queue.census().pending_bytes == pending_bytes(queue.directory) == 9 * size
    consumer = queue.consumer()
    chunk = consumer.read(4)
    assert chunk is not None
    consumer.settle(Settlement({chunk.source: chunk.positions[-1]}, delivered=4))
    assert queue.census().pending_bytes == pending_bytes(queue.directory) == 5 * size
    consumer.close()
    deliver_all(queue)
    assert queue.census().pending_bytes == pending_bytes(queue.directory) == 0


def test_the_oldest_pending_event_is_found_over_all_segments(open_queue: OpenQueue) -> None:
    first, second = open_queue(), open_queue()
    for number in (5, 6):
        first.append(record(number))
    second.append(record(3))
    assert first.census().oldest_accepted_at == EPOCH + 3
    consumer = first.consumer()
    while (chunk := consumer.read(1)) is not None:
        consumer.settle(Settlement({chunk.source: chunk.positions[-1]}, delivered=1))
        if first.census().pending == 1:
            break
    assert first.census().oldest_accepted_at == EPOCH + (3 if chunk and chunk.positions[-1][1] == 2 else 6)
    consumer.close()
    deliver_all(first)
    assert first.census().oldest_accepted_at is None


@pytest.mark.parametrize("garbage", [b"", b"\xc1", b"\x90", b"\x91\xa1x", b"garbage"])
def test_a_record_of_another_program_has_no_age_and_is_counted(open_queue: OpenQueue, garbage: bytes) -> None:
    first, second = open_queue(), open_queue()
    first.append(garbage)
    assert first.census().oldest_accepted_at is None
    second.append(record(12))
    census = first.census()
    assert (census.pending, census.oldest_accepted_at) == (2, EPOCH + 12)


def test_the_cost_depends_on_the_number_of_segments_and_not_of_events(open_queue: OpenQueue) -> None:
    def cost() -> tuple[int, int]:
        with replaced("pread", os.pread) as reads, replaced("open", os.open) as opens:
            queue.census()
        return reads.count, opens.count

    queue = open_queue(segment_bytes=1 << 30)
    queue.append(record(0))
    few = cost()
    for number in range(20_000):
        queue.append(record(number))
    assert queue.census().pending == 20_001
    assert cost() == few


def test_looking_for_room_opens_no_segment(open_queue: OpenQueue) -> None:
    queue = open_queue(segment_bytes=1000)
    for number in range(100):
        queue.append(record(number))
    with replaced("open", os.open, where=".seg") as opens:
        assert pending_bytes(queue.directory) > 0
    assert opens.count == 0


def test_events_of_a_segment_retired_in_the_middle_of_counting_are_counted_once(
    open_queue: OpenQueue, directory: QueueDirectory
) -> None:
    """The leader deletes a settled segment between the look at the state and the look at the segments."""
    queue = open_queue(segment_bytes=1000, sync_interval=0.0)
    for number in range(50):
        queue.append(record(number))
    queue.close()
    consumer = queue.consumer()
    output = read_pass(consumer)
    real = os.listdir
    settled = False

    def settle_then_list(path: str) -> list[str]:
        nonlocal settled
        if not settled:
            settled = True
            consumer.settle(output.settlement())
        return real(path)

    with replaced("listdir", settle_then_list, where="journal") as lists:
        census = queue.census()
    assert lists.count == 2
    assert directory.segments() == []
    assert census == Census(50, 50, 0, 0, 0, 0, 0, None)
    consumer.close()


@pytest.mark.usefixtures("eager_switching")
def test_counts_add_up_while_a_leader_settles_and_writers_append(open_queue: OpenQueue) -> None:
    queue = open_queue(segment_bytes=2000, sync_interval=0.0)
    writer = open_queue(segment_bytes=2000)
    total, stopped = 3000, threading.Event()

    def lead() -> None:
        consumer = queue.consumer()
        while not stopped.is_set() or queue.census().pending:
            output = read_pass(consumer)
            consumer.settle(output.settlement())
        consumer.close()

    def write() -> None:
        for number in range(total):
            writer.append(record(number))

    threads = [threading.Thread(target=lead), threading.Thread(target=write)]
    for thread in threads:
        thread.start()
    accepted, counts = 0, 0
    while accepted < total:
        census = take_census(queue.directory)
        assert_conserved(census)
        assert accepted <= census.accepted <= total
        accepted, counts = census.accepted, counts + 1
    stopped.set()
    for thread in threads:
        thread.join(30)
    assert counts > 1
    assert take_census(queue.directory).delivered == total


def test_a_damaged_state_is_said_to_be_damaged(directory: QueueDirectory) -> None:
    directory.state.write_bytes(b"00000000 {}")
    with pytest.raises(QueueDamaged, match="checksum"):
        take_census(directory)
    assert pending_bytes(directory) == 0


def test_a_state_of_a_newer_version_is_said_to_be_newer(
    directory: QueueDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as newer:
        newer.setattr("lotus_durable.queue.cursor.VERSION", 2)
        directory.state.write_bytes(encode_state(State()))
    with pytest.raises(QueueDamaged, match="newer version"):
        take_census(directory)


def test_a_foreign_file_in_the_journal_is_not_counted(directory: QueueDirectory, queue: JournalQueue) -> None:
    queue.append(record(0))
    (directory.journal / "notes.txt").write_text("not a segment")
    assert queue.census().accepted == 1


def test_a_segment_deleted_by_hand_takes_only_what_was_not_settled(
    directory: QueueDirectory, queue: JournalQueue
) -> None:
    for number in range(10):
        queue.append(record(number))
    consumer = queue.consumer()
    chunk = consumer.read(4)
    assert chunk is not None
    consumer.settle(Settlement({chunk.source: chunk.positions[-1]}, delivered=4))
    (directory.journal / chunk.source).unlink()
    assert queue.census() == Census(4, 4, 0, 0, 0, 0, 0, None)
    consumer.close()
    assert deliver_all(queue).numbers == []
    assert queue.census() == Census(4, 4, 0, 0, 0, 0, 0, None)
