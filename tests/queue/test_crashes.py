"""A crash at every step: the state of before or the state of after, and nothing lost."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lotus_durable.errors import LotusError
from lotus_durable.queue.cursor import (
    load_state,
)
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.journal import JournalQueue
from lotus_durable.queue.protocol import Census, Settlement

from .events import Reports, assert_conserved, deliver_all, numbers_of, parked_rows, read_pass, record, settled_queue
from .faults import dies_at, refusing


def make_queue(directory: QueueDirectory, *, sync_interval: float = 0.0) -> JournalQueue:
    def report(error: LotusError) -> None:
        raise AssertionError(f"reported: {error}")

    return JournalQueue(
        directory,
        segment_bytes=400,
        max_queue_bytes=1 << 30,
        power=False,
        sync_interval=sync_interval,
        report=report,
    )


def prepare_queue(directory: QueueDirectory) -> None:
    """Make a queue with something of everything: 30 events, of which 10 are settled, with rows in both tables."""
    queue = make_queue(directory)
    for number in range(10):
        queue.append(record(number))
    consumer = queue.consumer()
    output = read_pass(consumer)
    consumer.settle(output.settlement(parked=output.records[:3], dead=output.records[3:5]))
    consumer.close()
    for number in range(10, 30):
        queue.append(record(number))
    queue.close()


def settle_everything(directory: QueueDirectory) -> None:
    """Settle the 20 pending events and two of the parked ones, at once, and retire the segments."""
    consumer = make_queue(directory).consumer()
    output = read_pass(consumer)
    settlement = output.settlement(parked=output.records[:4], dead=output.records[4:6])
    consumer.settle(replace(settlement, delivered=settlement.delivered + 2, resolved=consumer.parked(0, 2)))
    read_pass(consumer)


def settle_without_rows(directory: QueueDirectory) -> None:
    """Settle in small steps that are not durable each."""
    consumer = make_queue(directory, sync_interval=1000.0).consumer()
    while (chunk := consumer.read(5)) is not None:
        consumer.settle(Settlement({chunk.source: chunk.positions[-1]}, delivered=len(chunk.records)))


BEFORE = Census(30, 5, 20, 3, 2, 0, 0, None)
AFTER = Census(30, 21, 0, 5, 4, 0, 0, None)


def counts(census: Census) -> Census:
    return replace(census, pending_bytes=0, oldest_accepted_at=None)


def check_nothing_is_lost(directory: QueueDirectory) -> Census:
    """Check what the next leader finds against what the census says, and let it finish."""
    queue = make_queue(directory)
    census = queue.census()
    assert_conserved(census)
    consumer = queue.consumer()
    assert counts(queue.census()) == counts(census)
    parked = [event.record for event in parked_rows(consumer)]
    dead = [event.record for event in queue._store.page("dead", 0, load_state(directory).dead.high, 1000)]
    output = read_pass(consumer)
    assert (len(parked), len(dead), len(output.records)) == (census.parked, census.dead_lettered, census.pending)
    known = [*numbers_of(parked), *numbers_of(dead), *output.numbers]
    assert len(set(known)) == len(known)
    assert len(known) + census.delivered == 30
    consumer.settle(output.settlement())
    consumer.close()
    consumer = queue.consumer()
    assert read_pass(consumer).numbers == []
    consumer.close()
    assert counts(queue.census()) == replace(
        counts(census), pending=0, delivered=census.delivered + len(output.records)
    )
    assert directory.segments() == []
    assert list(directory.quarantine.iterdir()) == []
    return counts(census)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> QueueDirectory:
    import persistqueue  # noqa: F401  # once here, and not once in each child

    directory = QueueDirectory(tmp_path_factory.mktemp("prepared") / "queue")
    prepare_queue(directory)
    return directory


@pytest.fixture
def fresh(prepared: QueueDirectory, memory_path: Path) -> Callable[[], QueueDirectory]:
    """Makes a copy of the prepared queue, in the place of the last one."""

    def copy() -> QueueDirectory:
        shutil.rmtree(memory_path / "copy", ignore_errors=True)
        shutil.copytree(prepared.root, memory_path / "copy")
        return QueueDirectory(memory_path / "copy")

    return copy


def test_a_leader_that_dies_at_any_step_leaves_the_state_of_before_or_of_after(
    fresh: Callable[[], QueueDirectory],
) -> None:
    found: list[Census] = []
    for step in range(10_000):
        directory = fresh()
        if not dies_at(step, lambda directory=directory: settle_everything(directory)):  # type: ignore[misc]
            break
        found.append(check_nothing_is_lost(directory))
    switch = found.index(AFTER)
    assert found == [BEFORE] * switch + [AFTER] * (len(found) - switch)
    # Many steps lie before the commit, and many behind it, or this test has not tested anything.
    assert min(switch, len(found) - switch) > 10


def test_a_leader_that_dies_between_commits_that_are_not_durable_repeats_one_step_at_most(
    fresh: Callable[[], QueueDirectory],
) -> None:
    delivered: list[int] = []
    for step in range(10_000):
        directory = fresh()
        if not dies_at(step, lambda directory=directory: settle_without_rows(directory)):  # type: ignore[misc]
            break
        delivered.append(check_nothing_is_lost(directory).delivered)
    assert delivered == sorted(delivered)
    assert len(set(delivered)) >= 4


def test_a_new_leader_that_dies_while_it_recovers_is_no_worse(fresh: Callable[[], QueueDirectory]) -> None:
    """Dies behind the insertion of rows, and the next one at each step of undoing that."""

    def settle_and_fail(directory: QueueDirectory) -> None:
        consumer = make_queue(directory).consumer()
        output = read_pass(consumer)
        with refusing("replace", errno.EIO), pytest.raises(OSError, match="Input/output"):
            consumer.settle(output.settlement(parked=output.records[:4], dead=output.records[4:6]))

    def recover(directory: QueueDirectory) -> None:
        make_queue(directory).consumer()

    for step in range(10_000):
        directory = fresh()
        settle_and_fail(directory)
        if not dies_at(step, lambda directory=directory: recover(directory)):  # type: ignore[misc]
            break
        assert check_nothing_is_lost(directory) == BEFORE
    assert step > 20


def test_a_writer_that_dies_at_any_step_leaves_what_it_acknowledged(memory_path: Path) -> None:
    """Also while it creates the directory and while it rotates."""

    def append_ten(directory: QueueDirectory, acknowledged: Path) -> None:
        queue = make_queue(directory)
        descriptor = os.open(acknowledged, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for number in range(10):
            queue.append(record(number))
            os.write(descriptor, b"%d\n" % number)
        queue.close()

    steps = 0
    for step in range(10_000):
        directory, acknowledged = QueueDirectory(memory_path / f"{step}" / "queue"), memory_path / f"{step}.txt"
        died = dies_at(step, lambda d=directory, a=acknowledged: append_ten(d, a))  # type: ignore[misc]
        said = [int(line) for line in acknowledged.read_text().split()] if acknowledged.exists() else []
        queue = make_queue(directory)
        numbers = deliver_all(queue).numbers
        assert numbers[: len(said)] == said
        assert len(numbers) - len(said) <= 1
        if not died:
            break
        steps += 1
    assert steps > 40
    assert said == list(range(10))


def test_a_leader_that_dies_while_it_starts_over_loses_no_row(
    directory: QueueDirectory, queue: JournalQueue, memory_path: Path
) -> None:
    settled_queue(queue).close()
    queue.close()
    directory.state.write_bytes(b"damaged")
    for step in range(10_000):
        copy = QueueDirectory(memory_path / f"copy-{step}")
        shutil.copytree(directory.root, copy.root)
        again = JournalQueue(
            copy, segment_bytes=1000, max_queue_bytes=1 << 30, power=False, sync_interval=0.0, report=Reports()
        )
        died = dies_at(step, lambda again=again: again.consumer())  # type: ignore[misc]
        consumer = again.consumer()
        assert len(parked_rows(consumer)) == 2
        assert read_pass(consumer).numbers == list(range(6))
        census = again.census()
        assert_conserved(census)
        assert (census.parked, census.dead_lettered) == (2, 1)
        consumer.close()
        shutil.rmtree(copy.root)
        if not died:
            break
    assert step > 20
