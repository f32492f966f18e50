"""State that is damaged, newer or gone; two leaders; leftovers: nothing is lost, and it is said."""

from __future__ import annotations

import errno
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from lotus_durable.errors import QueueDamaged
from lotus_durable.queue import cursor
from lotus_durable.queue.cursor import (
    State,
    encode_state,
    load_state,
    reserve_slots,
    save_state,
)
from lotus_durable.queue.directory import QueueDirectory, failed_mark
from lotus_durable.queue.journal import JournalQueue
from lotus_durable.queue.protocol import LeadershipLost, Settlement

from .events import Reports, assert_conserved, deliver_all, numbers_of, parked_rows, read_pass, record, settled_queue
from .faults import refusing, replaced

# Damaged, newer or missing state


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "gone"])
def test_without_a_state_everything_is_sent_again_and_no_row_is_lost(
    directory: QueueDirectory, queue: JournalQueue, reports: Reports, damage: str
) -> None:
    settled_queue(queue).close()
    data = directory.state.read_bytes()
    if damage == "gone":
        directory.state.unlink()
    else:
        directory.state.write_bytes({"flipped": data[:20] + b"~" + data[21:], "cut": data[:-20], "empty": b""}[damage])
    consumer = queue.consumer()
    assert [type(error) for error in reports] == [QueueDamaged]
    assert "will be sent again" in str(reports[0])
    assert numbers_of(event.record for event in parked_rows(consumer)) == [0, 1]
    output = read_pass(consumer)
    assert output.numbers == list(range(6))
    assert_conserved(queue.census())
    consumer.settle(output.settlement())
    census = queue.census()
    assert_conserved(census)
    assert (census.delivered, census.parked, census.dead_lettered, census.pending) == (6, 2, 1, 0)
    consumer.close()
    kept = [path for path in directory.root.iterdir() if "damaged" in path.name]
    assert len(kept) == (0 if damage == "gone" else 1)


def test_old_commits_do_not_come_back_after_starting_over(directory: QueueDirectory, queue: JournalQueue) -> None:
    """The new state must be above what is left of the old one in ``state.recent``."""
    consumer = settled_queue(queue)
    for _ in range(20):
        consumer.settle(Settlement())
    consumer.close()
    before = load_state(directory).generation
    directory.state.write_bytes(b"damaged")
    consumer = queue.consumer()
    assert load_state(directory).generation > before
    assert queue.census().delivered == 0
    consumer.close()


def test_slots_that_cannot_be_reserved_are_the_disks_refusal(directory: QueueDirectory) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with refusing("posix_fallocate", errno.ENOSPC), pytest.raises(OSError, match="No space"):
        reserve_slots(directory)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_state_of_a_newer_version_is_not_touched(
    directory: QueueDirectory, queue: JournalQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled_queue(queue).close()
    for durable in (True, False):
        with monkeypatch.context() as newer:
            newer.setattr(cursor, "VERSION", 2)
            save_state(directory, State(generation=1000), durable=durable)
        files = {path: path.read_bytes() for path in (directory.state, directory.recent_state)}
        with pytest.raises(QueueDamaged, match="newer version"):
            queue.consumer()
        assert {path: path.read_bytes() for path in files} == files
        directory.state.write_bytes(encode_state(State()))


def test_the_first_leader_of_a_new_queue_reports_nothing(queue: JournalQueue, reports: Reports) -> None:
    queue.append(record(0))
    consumer = queue.consumer()
    assert reports == []
    assert load_state(queue.directory).generation == 1
    consumer.close()


# Two leaders


def test_a_leader_that_was_overtaken_notices_at_its_next_commit(queue: JournalQueue) -> None:
    for number in range(4):
        queue.append(record(number))
    stale = queue.consumer()
    output = read_pass(stale)
    other = queue.consumer()
    with pytest.raises(LeadershipLost):
        stale.settle(output.settlement(parked=output.records))
    census = queue.census()
    assert (census.pending, census.parked) == (4, 0)
    # It has left no rows behind that the other would take for its own.
    output = read_pass(other)
    other.settle(output.settlement(parked=output.records[:1]))
    assert len(parked_rows(other)) == 1
    for consumer in (stale, other):
        consumer.close()
    assert deliver_all(queue).numbers == []


def test_a_leader_overtaken_within_one_tick_of_the_clock_notices_too(queue: JournalQueue) -> None:
    """Two commits in place change neither the inode nor, perhaps, the time of the file."""
    stale = queue.consumer()
    stale.settle(Settlement(delivered=0))
    status = os.stat(queue.directory.recent_state)
    state = load_state(queue.directory)
    save_state(queue.directory, replace(state, generation=state.generation + 1), durable=False)
    os.utime(queue.directory.recent_state, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(LeadershipLost):
        stale.settle(Settlement())
    stale.close()


# A store that is damaged or gone


def test_a_damaged_store_is_set_aside_and_delivery_goes_on(
    directory: QueueDirectory, queue: JournalQueue, reports: Reports
) -> None:
    settled_queue(queue).close()
    (directory.store / "events.db").write_bytes(b"no database" * 1000)
    consumer = queue.consumer()
    assert [type(error) for error in reports] == [QueueDamaged]
    assert "3 events were in it" in str(reports[0])
    census = queue.census()
    assert_conserved(census)
    assert (census.parked, census.dead_lettered, census.discarded) == (0, 0, 3)
    output = read_pass(consumer)
    consumer.settle(output.settlement(parked=output.records))
    assert len(parked_rows(consumer)) == 2
    assert_conserved(queue.census())
    consumer.close()
    assert [path.name for path in directory.store.iterdir() if "damaged" in path.name] != []


def test_a_store_damaged_under_a_leader_is_set_aside_too(
    directory: QueueDirectory, queue: JournalQueue, reports: Reports
) -> None:
    consumer = settled_queue(queue)
    (directory.store / "events.db").write_bytes(b"no database" * 1000)
    output = read_pass(consumer)
    consumer.settle(output.settlement(dead=output.records))
    assert len(reports) == 1
    census = queue.census()
    assert_conserved(census)
    assert (census.dead_lettered, census.discarded) == (2, 3)
    consumer.close()
    assert deliver_all(queue).numbers == []
    assert queue.census() == census


def test_a_damaged_state_and_a_damaged_store_together_lose_no_pending_event(
    directory: QueueDirectory, queue: JournalQueue, reports: Reports
) -> None:
    settled_queue(queue).close()
    directory.state.write_bytes(b"damaged")
    (directory.store / "events.db").write_bytes(b"no database" * 1000)
    assert deliver_all(queue).numbers == list(range(6))
    assert len(reports) == 2
    assert_conserved(queue.census())


def test_a_store_deleted_by_hand_is_reported_and_counted_as_discarded(
    directory: QueueDirectory, queue: JournalQueue, reports: Reports
) -> None:
    settled_queue(queue).close()
    (directory.store / "events.db").unlink()
    consumer = queue.consumer()
    assert ["somebody else changed it" in text for text in reports.texts()] == [True]
    census = queue.census()
    assert_conserved(census)
    assert (census.parked, census.dead_lettered, census.discarded) == (0, 0, 3)
    consumer.close()
    queue.consumer().close()
    assert len(reports) == 1


def test_rows_deleted_by_hand_are_reported_and_counted_as_discarded(queue: JournalQueue, reports: Reports) -> None:
    settled_queue(queue).close()
    queue._store.delete("parked", [1])
    consumer = queue.consumer()
    census = queue.census()
    assert_conserved(census)
    assert (census.parked, census.dead_lettered, census.discarded) == (1, 1, 1)
    assert len(reports) == 1
    assert len(parked_rows(consumer)) == 1
    consumer.close()


def test_rows_that_should_be_gone_do_not_come_back(queue: JournalQueue, reports: Reports) -> None:
    consumer = settled_queue(queue)
    rows = consumer.parked(0, 1)
    with pytest.MonkeyPatch.context() as patch:

        def refuse(*_arguments: object) -> None:
            raise OSError(errno.EIO, "injected")

        patch.setattr(queue._store, "delete", refuse)
        consumer.settle(Settlement(delivered=1, resolved=rows))
    assert numbers_of(event.record for event in parked_rows(consumer)) == [1]
    assert numbers_of(event.record for event in consumer.parked(0, 1)) == [1]
    assert queue._store.count("parked", 100) == 2
    consumer.close()
    consumer = queue.consumer()
    assert numbers_of(event.record for event in parked_rows(consumer)) == [1]
    assert queue._store.count("parked", 100) == 1
    census = queue.census()
    assert_conserved(census)
    assert (census.delivered, census.parked) == (2, 1)
    assert reports == []
    consumer.close()


# Leftovers


def age(path: Path, seconds: float = 120.0) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


@pytest.mark.parametrize("name", ["journal/0-1-c1000000.new", "state.77-aa.tmp", "leader.json.77-aa.tmp"])
def test_old_leftovers_of_a_crash_are_removed_and_young_ones_are_not(
    directory: QueueDirectory, queue: JournalQueue, name: str
) -> None:
    path = directory.root / name
    path.touch()
    queue.consumer().close()
    assert path.exists()
    age(path)
    queue.consumer().close()
    assert not path.exists()


def test_an_old_unfinished_segment_that_somebody_holds_is_left_alone(
    directory: QueueDirectory, queue: JournalQueue
) -> None:
    import fcntl

    path = directory.journal / "0-1-c1000000.new"
    with open(path, "wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        age(path)
        queue.consumer().close()
        assert path.exists()
    queue.consumer().close()
    assert not path.exists()


def test_marks_for_writers_of_segments_that_are_gone_are_removed(
    directory: QueueDirectory, queue: JournalQueue
) -> None:
    queue.append(record(0))
    [name] = directory.segments()
    living, orphan = directory.journal / failed_mark(name), directory.journal / failed_mark("0-1-c1000000.seg")
    living.touch()
    orphan.touch()
    queue.consumer().close()
    assert (living.exists(), orphan.exists()) == (True, False)


def test_a_writer_whose_unfinished_segment_was_taken_away_makes_another(queue: JournalQueue) -> None:
    real = os.rename

    def take_away(source: str, target: str) -> None:
        os.unlink(source)
        real(source, target)

    with replaced("rename", take_away, where=".new", times=1) as renames:
        queue.append(record(0))
    assert renames.count == 1
    assert deliver_all(queue).numbers == [0]
