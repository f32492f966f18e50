"""The queue as its users see it: append, count, read, settle, rotate, limit."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from lotus_durable.errors import DiskRefused, QueueDamaged, QueueFull
from lotus_durable.queue.directory import QueueDirectory, failed_mark
from lotus_durable.queue.format import HEADER_SIZE, MAX_RECORD_SIZE
from lotus_durable.queue.journal import JournalQueue
from lotus_durable.queue.protocol import LeadershipLost, Settlement

from .conftest import OpenQueue
from .events import (
    Reports,
    assert_conserved,
    deliver_all,
    numbers_of,
    read_pass,
    read_segment,
    record,
)
from .faults import refusing, replaced


def fill(queue: JournalQueue, limit: int = 100_000) -> int:
    """Append until the queue is full; return how many it took."""
    for number in range(limit):
        try:
            queue.append(record(number))
        except QueueFull:
            return number
    raise AssertionError("the queue never got full")


def test_nothing_exists_before_the_first_event(tmp_path: Path, open_queue: OpenQueue) -> None:
    queue = open_queue(at=QueueDirectory(tmp_path / "none"))
    assert queue.census().accepted == 0
    assert not (tmp_path / "none").exists()
    queue.append(record(0))
    assert queue.census().accepted == 1


def test_events_come_out_in_the_order_they_went_in(queue: JournalQueue) -> None:
    for number in range(500):
        queue.append(record(number))
    assert deliver_all(queue).numbers == list(range(500))


def test_empty_and_large_records_are_events_like_others(open_queue: OpenQueue) -> None:
    queue = open_queue(segment_bytes=10_000)
    records = [b"", record(0), record(1, padding=50_000), record(2), record(3, padding=9_000), record(4)]
    for each in records:
        queue.append(each)
    assert deliver_all(queue).records == records


def test_a_record_no_reader_would_take_is_refused(open_queue: OpenQueue) -> None:
    queue = open_queue(max_queue_bytes=1 << 40)
    queue.append(record(0))
    with pytest.raises(ValueError, match="16777216 is the most"):
        queue.append(bytes(MAX_RECORD_SIZE + 1))
    queue.append(record(1))
    assert deliver_all(queue).numbers == [0, 1]


def test_a_full_segment_is_sealed_and_the_next_one_opened(directory: QueueDirectory, open_queue: OpenQueue) -> None:
    queue = open_queue(segment_bytes=1000)
    for number in range(100):
        queue.append(record(number))
    names = directory.segments()
    sizes = [os.stat(Path(directory.journal) / name).st_size for name in names]
    assert len(names) > 5
    assert max(sizes) <= 1000
    # No segment is left half empty either.
    assert min(sizes[:-1]) > 1000 - 2 * len(record(99))
    numbers = [number for name in names for number in numbers_of(read_segment(Path(directory.journal) / name)[0])]
    assert numbers == list(range(100))


def test_a_record_larger_than_a_segment_gets_one_of_its_own(directory: QueueDirectory, open_queue: OpenQueue) -> None:
    queue = open_queue(segment_bytes=1000)
    queue.append(record(0))
    queue.append(record(1, padding=5000))
    queue.append(record(2))
    assert len(directory.segments()) == 3
    assert deliver_all(queue).numbers == [0, 1, 2]


def test_a_closed_queue_leaves_its_events_to_the_next(directory: QueueDirectory, open_queue: OpenQueue) -> None:
    first = open_queue()
    first.append(record(0))
    first.close()
    first.append(record(1))  # it opens again
    first.close()
    second = open_queue()
    assert deliver_all(second).numbers == [0, 1]
    assert directory.segments() == []


def test_power_durability_returns_only_after_a_sync(open_queue: OpenQueue) -> None:
    queue = open_queue(power=True)
    queue.append(record(0))
    synced: list[int] = []
    real = os.fdatasync

    def note(descriptor: int) -> None:
        real(descriptor)
        synced.append(os.fstat(descriptor).st_size)

    with replaced("fdatasync", note):
        for number in range(1, 4):
            queue.append(record(number))
            assert len(synced) == number
    assert synced == [HEADER_SIZE + (number + 1) * (len(record(0)) + 16) for number in range(1, 4)]


def test_power_durability_syncs_the_name_of_a_new_segment(directory: QueueDirectory, open_queue: OpenQueue) -> None:
    queue = open_queue(power=True)
    with replaced("fsync", os.fsync, where=str(directory.journal)) as syncs:
        queue.append(record(0))
        queue.append(record(1))
    assert syncs.count == 1


def test_process_durability_syncs_nothing(queue: JournalQueue) -> None:
    with replaced("fsync", os.fsync) as syncs, replaced("fdatasync", os.fdatasync) as data_syncs:
        for number in range(100):
            queue.append(record(number))
    assert (syncs.count, data_syncs.count) == (0, 0)


# max_queue_bytes


def test_a_full_queue_refuses_and_accepts_again_after_settling(open_queue: OpenQueue) -> None:
    queue = open_queue(max_queue_bytes=100_000, segment_bytes=10_000)
    count = fill(queue)
    # It is looked at more and more often as it fills up.
    assert 99_000 < queue.census().pending_bytes <= 100_000 + 16
    with pytest.raises(QueueFull, match="over max_queue_bytes"):
        queue.append(record(0))
    assert queue.census().pending == count
    deliver_all(queue)
    assert fill(queue) > 0
    assert_conserved(queue.census())


def test_settling_a_part_makes_room_for_a_part(open_queue: OpenQueue) -> None:
    queue = open_queue(max_queue_bytes=100_000)
    count = fill(queue)
    consumer = queue.consumer()
    chunk = consumer.read(count // 2)
    assert chunk is not None
    consumer.settle(Settlement({chunk.source: chunk.positions[-1]}, delivered=len(chunk.records)))
    consumer.close()
    assert 0.4 * count < fill(queue) < 0.6 * count


def test_processes_that_share_a_queue_share_its_limit(open_queue: OpenQueue) -> None:
    queues = [open_queue(max_queue_bytes=1_000_000) for _ in range(8)]
    for queue in queues:
        queue.append(record(0))
    refused: set[int] = set()
    while len(refused) < len(queues):
        for index, queue in enumerate(queues):
            if index not in refused:
                try:
                    queue.append(record(1))
                except QueueFull:
                    refused.add(index)
    pending = queues[0].census().pending_bytes
    assert 800_000 < pending < 1_150_000
    deliver_all(queues[0])
    for queue in queues:
        queue.append(record(2))


def test_a_refused_event_is_not_in_the_queue(open_queue: OpenQueue) -> None:
    queue = open_queue(max_queue_bytes=20_000)
    count = fill(queue)
    assert queue.buffered() == 0
    assert deliver_all(queue).numbers == list(range(count))


# What happens to segments behind their writer's back


def test_a_writer_goes_on_in_a_new_segment_when_the_leader_asks_for_it(
    directory: QueueDirectory, queue: JournalQueue
) -> None:
    queue.append(record(0))
    [name] = directory.segments()
    (directory.journal / failed_mark(name)).touch()
    assert queue.write_back() == 0
    queue.append(record(1))
    assert len(directory.segments()) == 2
    assert deliver_all(queue).numbers == [0, 1]
    # The mark goes with the segment.
    assert [path.suffix for path in Path(directory.journal).iterdir()] == [".seg"]


def test_a_deleted_directory_is_made_anew_and_the_loss_is_reported(
    directory: QueueDirectory, queue: JournalQueue, reports: Reports
) -> None:
    queue.append(record(0))
    shutil.rmtree(directory.root)
    queue.write_back()
    assert [type(error) for error in reports] == [QueueDamaged]
    assert "was deleted while in use" in str(reports[0])
    queue.append(record(1))
    assert deliver_all(queue).numbers == [1]
    assert len(reports) == 1


def test_a_directory_deleted_before_the_first_event_is_made_anew(
    directory: QueueDirectory, queue: JournalQueue, reports: Reports
) -> None:
    shutil.rmtree(directory.root)
    queue.append(record(0))
    assert deliver_all(queue).numbers == [0]
    assert reports == []


def test_a_leader_whose_directory_is_deleted_steps_down(directory: QueueDirectory, queue: JournalQueue) -> None:
    consumer = queue.consumer()
    shutil.rmtree(directory.root)
    assert consumer.read(10) is None
    with pytest.raises(LeadershipLost):
        consumer.settle(Settlement())
    consumer.close()
    queue.append(record(0))
    assert deliver_all(queue).numbers == [0]


def test_a_segment_deleted_in_the_middle_of_a_pass_hides_no_other(
    directory: QueueDirectory, open_queue: OpenQueue, reports: Reports
) -> None:
    queues = [open_queue() for _ in range(3)]
    for number, queue in enumerate(queues):
        queue.append(record(number))
    consumer = queues[0].consumer()
    chunk = consumer.read(10)
    assert chunk is not None
    (Path(directory.journal) / directory.segments()[1]).unlink()
    assert read_pass(consumer).numbers == [2]
    assert reports == []
    consumer.close()


def test_a_damaged_state_does_not_keep_events_out(directory: QueueDirectory, queue: JournalQueue) -> None:
    directory.state.write_bytes(b"damaged")
    queue.append(record(0))
    with pytest.raises(QueueDamaged):
        queue.census()


# Closing


def test_closing_reports_what_is_lost_with_the_memory(queue: JournalQueue, reports: Reports) -> None:
    with refusing("write", errno.ENOSPC, where=".new"):
        queue.append(record(0))
        queue.close()
    assert [type(error) for error in reports] == [DiskRefused, DiskRefused]
    assert "1 accepted event lost" in str(reports[1])


def test_closing_raises_nothing_whatever_the_disk_does(open_queue: OpenQueue) -> None:
    queue = open_queue(power=True)
    queue.append(record(0))
    queue.append(record(1))
    writer = queue._appender._idle[0]
    writer._synced = 0  # as if another thread's event were not synced yet
    with refusing("fdatasync", errno.EIO), refusing("close", errno.EIO, where=".seg"):
        queue.close()
    assert queue._appender._open == set()
    os.close(int(max(name for name in os.listdir("/proc/self/fd") if ".seg" in _link(name))))


def _link(name: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{name}")
    except OSError:
        return ""
