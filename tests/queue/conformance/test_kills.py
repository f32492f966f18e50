"""SIGKILL at random moments, in both backends. The oracle is what each process noted in a file of its own."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

from lotus_durable.imports import import_for_delivery, import_for_sqlite
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.protocol import Settlement
from tests.queue.events import assert_conserved, number_of, numbers_of, parked_rows, read_pass, record
from tests.queue.faults import in_child
from tests.queue.test_kills import BASE, BATCH, Notes, kill, settlement_of
from tests.queue.waiting import wait_until

from .backends import make_queue, refuse_reports, rows

WRITER_KILLS = 60
LEADER_KILLS = 25
AT_ONCE = 4
EVENTS = 2000


def test_writers_killed_at_any_moment_lose_nothing_they_acknowledged(
    backend: str, memory_path: Path, tmp_path: Path
) -> None:
    import_for_sqlite()  # once here, and not once in each child
    directory = QueueDirectory(memory_path / "queue")
    chance = random.Random(20_221_124)
    notes = [Notes(tmp_path / f"writer-{index}") for index in range(WRITER_KILLS)]
    leader = make_queue(backend, directory, refuse_reports)
    found: list[int] = []

    def write(index: int) -> None:
        acknowledge = notes[index].open()
        queue = make_queue(backend, directory, refuse_reports)
        for number in range(index * BASE, index * BASE + 2000):
            queue.append(record(number, padding=number % 97 * (100 if number % 5 == 0 else 1)))
            acknowledge(number)
        signal.pause()

    def deliver() -> None:
        consumer = leader.consumer()
        output = read_pass(consumer)
        assert all(damage.torn for damage in output.damages)
        found.extend(output.numbers)
        consumer.settle(output.settlement())
        consumer.close()
        assert_conserved(leader.census())
        leader.close()  # no connection may be open at a fork

    for first in range(0, WRITER_KILLS, AT_ONCE):
        indices = range(first, first + AT_ONCE)
        children = [in_child(partial(write, index)) for index in indices]
        wait_until(lambda indices=indices: all(notes[index].exist() for index in indices))  # type: ignore[misc]
        for child in children:
            time.sleep(chance.uniform(0, 0.003))  # the moment of the kill, not a wait for anything
            kill(child)
        if chance.random() < 0.3:
            deliver()
    deliver()

    by_writer = Counter(number // BASE for number in found)
    for index, note in enumerate(notes):
        # The last event may be there without its writer having lived to say so.
        assert 0 <= by_writer[index] - len(note.read()) <= 1
    assert sorted(found) == sorted(index * BASE + number for index in by_writer for number in range(by_writer[index]))
    assert leader.census().delivered == len(found) > 5 * WRITER_KILLS
    leader.close()


def lead(backend: str, directory: QueueDirectory, delivered: Callable[[int], None]) -> None:
    """Settle in batches, and deliver the parked events below half."""
    consumer = make_queue(backend, directory, refuse_reports).consumer()
    delivered(-1)  # it lives
    while True:
        while (chunk := consumer.read(BATCH)) is not None:
            numbers = numbers_of(chunk.records)
            for number in numbers:
                if number % 10 not in (7, 9):
                    delivered(number)
            consumer.settle(settlement_of(numbers, list(chunk.records), through={chunk.source: chunk.positions[-1]}))
        again = [row for row in consumer.parked(0, BATCH) if number_of(row.record) < EVENTS // 2]
        for row in again:
            delivered(number_of(row.record))
        consumer.settle(Settlement(delivered=len(again), resolved=again))
        if not again and consumer.read(1) is None:
            delivered(-2)  # all is done; it waits for its end
            signal.pause()


def test_leaders_killed_at_any_moment_lose_nothing_and_settle_everything(
    backend: str, memory_path: Path, tmp_path: Path
) -> None:
    import_for_sqlite()
    import_for_delivery()
    directory = QueueDirectory(memory_path / "queue")
    chance = random.Random(20_221_125)
    queue = make_queue(backend, directory, refuse_reports)
    appended, sent = 0, Counter[int]()
    for kills in range(LEADER_KILLS):
        # Some at a time, so that the last leader has as much to do as the first.
        while appended < EVENTS * (kills + 1) // LEADER_KILLS:
            queue.append(record(appended))
            appended += 1
        queue.close()
        notes = Notes(tmp_path / f"leader-{kills}")
        child = in_child(lambda notes=notes: lead(backend, directory, notes.open()))  # type: ignore[misc]
        wait_until(notes.exist)
        time.sleep(chance.uniform(0, 0.01))  # the moment of the kill, not a wait for anything
        kill(child)
        sent.update(number for number in notes.read() if number >= 0)
        assert_conserved(queue.census())
        queue.close()

    last = Notes(tmp_path / "last")
    child = in_child(lambda: lead(backend, directory, last.open()))
    wait_until(lambda: last.exist() and -2 in last.read())
    kill(child)
    sent.update(number for number in last.read() if number >= 0)

    consumer = queue.consumer()
    parked = sorted(numbers_of(row.record for row in parked_rows(consumer)))
    dead = sorted(numbers_of(row.record for row in rows(directory, "dead")))
    consumer.close()
    assert parked == [number for number in range(EVENTS // 2, EVENTS) if number % 10 == 7]
    assert dead == [number for number in range(EVENTS) if number % 10 == 9]
    assert set(sent) == set(range(EVENTS)) - set(parked) - set(dead)
    census = queue.census()
    assert_conserved(census)
    assert (census.accepted, census.pending, census.discarded, census.delivered) == (EVENTS, 0, 0, len(sent))
    # What was sent and not committed is sent again: one batch for each kill at the most.
    assert sum(sent.values()) - len(sent) <= LEADER_KILLS * BATCH
    queue.close()
