"""What every backend does: append, read, settle, park, bury, retry, count, and start again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lotus_durable.errors import QueueFull
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.protocol import Census, EventQueue, LeadershipLost, Settlement
from tests.queue.events import (
    EPOCH,
    Reports,
    assert_conserved,
    deliver_all,
    number_of,
    numbers_of,
    parked_rows,
    read_pass,
    record,
    settled_queue,
)

from .backends import make_queue, refuse_reports, rows
from .conftest import OpenAny


def append(queue: EventQueue, *numbers: int) -> None:
    for number in numbers:
        queue.append(record(number))


def counts(census: Census) -> Census:
    return replace(census, pending_bytes=0, oldest_accepted_at=None)


def test_a_directory_that_does_not_exist_is_an_empty_queue_and_stays_so(backend: str, tmp_path: Path) -> None:
    queue = make_queue(backend, QueueDirectory(tmp_path / "none"), refuse_reports)
    assert queue.census() == Census(0, 0, 0, 0, 0, 0, 0, None)
    assert not (tmp_path / "none").exists()
    append(queue, 0)
    assert deliver_all(queue).numbers == [0]
    queue.close()


def test_an_empty_queue_has_nothing_to_read(any_queue: EventQueue) -> None:
    consumer = any_queue.consumer()
    assert read_pass(consumer).numbers == []
    consumer.settle(Settlement())
    consumer.close()
    assert any_queue.census() == Census(0, 0, 0, 0, 0, 0, 0, None)


def test_one_process_is_read_in_the_order_of_its_appends(any_queue: EventQueue) -> None:
    append(any_queue, *range(300))
    consumer = any_queue.consumer()
    assert read_pass(consumer, limit=7).numbers == list(range(300))
    consumer.close()


def test_several_processes_share_a_queue(open_any: OpenAny) -> None:
    first, second = open_any(), open_any()
    append(first, 0, 1)
    append(second, 10, 11)
    append(first, 2)
    numbers = deliver_all(open_any()).numbers
    assert sorted(numbers) == [0, 1, 2, 10, 11]
    assert [number for number in numbers if number < 10] == [0, 1, 2]
    assert first.census() == second.census()


def test_what_was_not_settled_comes_again_in_the_next_consumer_and_what_was_does_not(any_queue: EventQueue) -> None:
    append(any_queue, *range(10))
    consumer = any_queue.consumer()
    chunk = consumer.read(4)
    assert chunk is not None
    assert consumer.read(4) is not None
    consumer.settle(Settlement({chunk.source: chunk.positions[2]}, delivered=3))
    consumer.close()
    consumer = any_queue.consumer()
    assert read_pass(consumer).numbers == list(range(3, 10))
    assert read_pass(consumer).numbers == []  # it comes once in each
    consumer.close()
    assert_conserved(any_queue.census())
    assert any_queue.census().pending == 7


def test_what_is_appended_during_a_pass_is_in_the_next_at_the_latest(any_queue: EventQueue) -> None:
    append(any_queue, *range(100))
    consumer = any_queue.consumer()
    found: list[int] = []
    passes = 0
    number = 100
    while (chunk := consumer.read(10)) is not None or passes == 0:
        if chunk is None:
            passes += 1
            continue
        found += numbers_of(chunk.records)
        if passes == 0:
            append(any_queue, *range(number, number + 10))  # as fast as they are read: the pass must end all the same
            number += 10
        assert number < 1000
    consumer.close()
    assert found == list(range(number))


def test_each_event_is_delivered_parked_or_dead_and_counted_as_that(
    any_queue: EventQueue, directory: QueueDirectory
) -> None:
    consumer = settled_queue(any_queue)
    assert sorted(number_of(event.record) for event in parked_rows(consumer)) == [0, 1]
    assert [number_of(event.record) for event in rows(directory, "dead")] == [2]
    census = any_queue.census()
    assert counts(census) == Census(6, 1, 2, 2, 1, 0, 0, None)
    assert census.pending_bytes > 0
    assert census.oldest_accepted_at == EPOCH + 4
    assert read_pass(consumer).numbers == [4, 5]
    consumer.close()


def test_a_parked_event_that_is_delivered_is_parked_no_more(any_queue: EventQueue) -> None:
    consumer = settled_queue(any_queue)
    [first, second] = parked_rows(consumer)
    consumer.settle(Settlement(delivered=1, resolved=[first]))
    assert parked_rows(consumer) == [second]
    assert counts(any_queue.census()) == Census(6, 2, 2, 1, 1, 0, 0, None)
    consumer.close()


def test_a_parked_event_that_is_parked_again_comes_last_with_what_is_known_now(any_queue: EventQueue) -> None:
    consumer = settled_queue(any_queue)
    [first, second] = parked_rows(consumer)
    assert consumer.last_parked() == second.id
    consumer.settle(Settlement(parked=[replace(first, reason="still", attempts=2)], resolved=[first]))
    again = parked_rows(consumer)
    assert [number_of(event.record) for event in again] == [number_of(second.record), number_of(first.record)]
    assert (again[1].reason, again[1].attempts, again[1].since) == ("still", 2, first.since)
    assert again[1].id == consumer.last_parked() > second.id
    assert consumer.parked(second.id, 10) == [again[1]]
    assert consumer.parked(0, 1) == [second]
    consumer.close()
    assert counts(any_queue.census()) == Census(6, 1, 2, 2, 1, 0, 0, None)


def test_a_parked_event_that_dies_is_a_dead_letter(any_queue: EventQueue, directory: QueueDirectory) -> None:
    consumer = settled_queue(any_queue)
    [first, _] = parked_rows(consumer)
    consumer.settle(Settlement(dead=[first], resolved=[first]))
    consumer.close()
    assert counts(any_queue.census()) == Census(6, 1, 2, 1, 2, 0, 0, None)
    assert [number_of(event.record) for event in rows(directory, "dead")] == [2, 0]


def test_everything_is_counted_the_same_after_a_restart(open_any: OpenAny) -> None:
    queue = open_any()
    consumer = settled_queue(queue)
    parked = parked_rows(consumer)
    before = queue.census()
    consumer.close()
    queue.close()
    again = open_any()
    assert again.census() == before
    consumer = again.consumer()
    assert parked_rows(consumer) == parked
    output = read_pass(consumer)
    assert output.numbers == [4, 5]
    consumer.settle(output.settlement())
    consumer.close()
    assert again.census() == Census(6, 3, 0, 2, 1, 0, 0, None)


def test_a_queue_that_was_closed_can_be_used_again(any_queue: EventQueue) -> None:
    append(any_queue, 0)
    any_queue.close()
    append(any_queue, 1)
    assert deliver_all(any_queue).numbers == [0, 1]


def test_a_new_consumer_ends_the_old_ones_term(open_any: OpenAny) -> None:
    queue = open_any()
    append(queue, *range(4))
    old = queue.consumer()
    output = read_pass(old)
    new = open_any().consumer()
    with pytest.raises(LeadershipLost):
        old.settle(output.settlement(parked=output.records[:1], dead=output.records[1:2]))
    assert counts(queue.census()) == Census(4, 0, 4, 0, 0, 0, 0, None)
    again = read_pass(new)
    new.settle(again.settlement())
    assert queue.census() == Census(4, 4, 0, 0, 0, 0, 0, None)
    old.close()
    new.close()


@pytest.mark.parametrize("power", [False, True])
def test_over_its_limit_a_queue_accepts_nothing_and_after_delivery_it_does_again(
    open_any: OpenAny, power: bool
) -> None:
    queue = open_any(max_queue_bytes=300_000, power=power)
    accepted: list[int] = []

    def fill() -> None:
        for number in range(2000):
            queue.append(record(number, padding=1000))
            accepted.append(number)

    with pytest.raises(QueueFull, match="max_queue_bytes"):
        fill()
    assert 100 < len(accepted) < 300
    assert queue.buffered() == 0
    assert deliver_all(queue).numbers == accepted
    deliver_all(queue)
    append(queue, 5000)
    assert deliver_all(queue).numbers == [5000]
    assert_conserved(queue.census())


def test_the_background_sync_runs_at_any_time(any_queue: EventQueue, reports: Reports) -> None:
    sync = any_queue.background_sync(reports)
    sync.run()
    append(any_queue, 0)
    sync.run()
    sync.run()
    assert reports == []


def test_a_row_that_somebody_deleted_by_hand_is_discarded_and_said(
    open_any: OpenAny, directory: QueueDirectory, reports: Reports
) -> None:
    from lotus_durable.queue.books import Store

    queue = open_any()
    settled_queue(queue).close()
    queue.close()
    [dead] = rows(directory, "dead")
    Store(directory.store).delete("dead", [dead.id])
    consumer = open_any().consumer()
    consumer.close()
    assert counts(open_any().census()) == Census(6, 1, 2, 2, 0, 1, 0, None)
    assert "somebody else changed it" in reports.texts()[0]
