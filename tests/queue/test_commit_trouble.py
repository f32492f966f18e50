"""Committing, deleting and reading on a disk that refuses."""

from __future__ import annotations

import errno
import os

import pytest

from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.journal import JournalQueue
from lotus_durable.queue.protocol import Settlement

from .conftest import OpenQueue
from .events import Reports, assert_conserved, deliver_all, read_pass, record
from .faults import full_disk, refusing, replaced


def test_a_commit_that_is_refused_counts_for_nothing_and_can_be_repeated(queue: JournalQueue) -> None:
    for number in range(10):
        queue.append(record(number))
    consumer = queue.consumer()
    output = read_pass(consumer)
    settlement = output.settlement(parked=output.records[:3], dead=output.records[3:5])
    for call in ("write", "fsync", "replace"):
        with refusing(call, errno.EIO, where="state"), pytest.raises(OSError, match="Input/output"):
            consumer.settle(settlement)
        assert queue.census().pending == 10
    consumer.settle(settlement)
    census = queue.census()
    assert_conserved(census)
    assert (census.delivered, census.parked, census.dead_lettered, census.pending) == (5, 3, 2, 0)
    assert len(consumer.parked(0, 100)) == 3
    consumer.close()
    # The rows of the refused settlements do not come back either.
    assert deliver_all(queue).numbers == []
    assert queue.census() == census


def test_a_commit_whose_name_may_not_be_durable_counts_but_nothing_is_deleted_for_it(
    directory: QueueDirectory, queue: JournalQueue
) -> None:
    queue.append(record(0))
    queue.close()
    consumer = queue.consumer()
    output = read_pass(consumer)
    with refusing("fsync", errno.EIO, where=lambda path: path == str(directory.root)) as syncs:
        consumer.settle(output.settlement(dead=output.records))
    assert syncs.count == 1
    assert queue.census().dead_lettered == 1
    assert len(directory.segments()) == 1
    assert read_pass(consumer).numbers == []
    consumer.settle(Settlement())
    assert directory.segments() == []
    assert_conserved(queue.census())
    consumer.close()


def test_a_full_disk_can_be_emptied_by_delivering(directory: QueueDirectory, queue: JournalQueue) -> None:
    for number in range(10):
        queue.append(record(number))
    queue.close()
    consumer = queue.consumer()
    with full_disk(str(directory.root)):
        output = read_pass(consumer)
        assert output.numbers == list(range(10))
        consumer.settle(output.settlement())
        read_pass(consumer)
    assert directory.segments() == []
    census = queue.census()
    assert (census.delivered, census.pending) == (10, 0)
    consumer.close()
    assert deliver_all(queue).numbers == []
    assert queue.census() == census


def test_commits_on_a_full_disk_stay_durable(directory: QueueDirectory, queue: JournalQueue) -> None:
    """Else two of them in a row would overwrite both slots with what a power cut may tear."""
    consumer = queue.consumer()
    consumer.settle(Settlement())
    with full_disk(str(directory.root)), replaced("fsync", os.fsync, where="state.recent") as syncs:
        consumer._durable_at = float("-inf")
        for number in range(1, 6):
            consumer.settle(Settlement(delivered=1))
            assert syncs.count == number
    with replaced("replace", os.replace) as replaces:
        consumer.settle(Settlement(delivered=1))
        assert replaces.count == 1
        consumer.settle(Settlement(delivered=1))
        assert replaces.count == 1
    consumer.close()
    assert queue.census().delivered == 7


def test_what_cannot_be_deleted_is_deleted_later_and_never_sent_again(
    directory: QueueDirectory, queue: JournalQueue
) -> None:
    for number in range(4):
        queue.append(record(number))
    queue.close()
    consumer = queue.consumer()
    output = read_pass(consumer)
    with refusing("unlink", errno.EROFS, where=".seg"):
        consumer.settle(output.settlement())
        assert directory.segments() != []
        assert read_pass(consumer).numbers == []
        census = queue.census()
        assert (census.delivered, census.pending, census.pending_bytes) == (4, 0, 0)
        consumer.close()
        consumer = queue.consumer()
        assert read_pass(consumer).numbers == []
    consumer._durable_at = float("-inf")
    consumer.settle(Settlement())
    assert directory.segments() == []
    assert queue.census() == census
    consumer.close()


def test_damage_that_cannot_be_kept_aside_waits_and_hides_nothing(
    directory: QueueDirectory, queue: JournalQueue, open_queue: OpenQueue, reports: Reports
) -> None:
    for number in range(3):
        queue.append(record(number))
    path = directory.journal / directory.segments()[0]
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)
    other = open_queue()
    other.append(record(3))
    consumer = queue.consumer()
    with full_disk(str(directory.quarantine)):
        assert read_pass(consumer).numbers == [3]
        assert read_pass(consumer).numbers == []
    assert len(reports) == 1
    output = read_pass(consumer)
    assert (output.numbers, output.lost) == ([1, 2], 1)
    assert len(list(directory.quarantine.iterdir())) == 1
    consumer.close()


@pytest.mark.parametrize("call", ["pread", "open"])
def test_a_segment_that_cannot_be_read_is_reported_once_and_hides_no_other(
    directory: QueueDirectory, open_queue: OpenQueue, reports: Reports, call: str
) -> None:
    first, second = open_queue(), open_queue()
    first.append(record(0))
    second.append(record(1))
    bad = directory.segments()[0]
    consumer = first.consumer()
    with refusing(call, errno.EIO, where=bad):
        assert read_pass(consumer).numbers == [1]
        assert read_pass(consumer).numbers == []
    assert [bad in text for text in reports.texts()] == [True]
    assert read_pass(consumer).numbers == [0]
    consumer.close()
