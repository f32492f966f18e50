"""SIGKILL at random moments. The oracle is what each process noted for itself, in a file of its own."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from lotus_durable.errors import LotusError
from lotus_durable.queue.cursor import load_state
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.journal import JournalQueue
from lotus_durable.queue.protocol import LeadershipLost, Settlement

from .events import assert_conserved, number_of, numbers_of, parked_rows, read_pass, record, stored
from .faults import exit_status, in_child
from .waiting import wait_until

WRITER_KILLS = 220
POWER_WRITER_KILLS = 30
LEADER_KILLS = 60
AT_ONCE = 4
BASE = 1_000_000
"""The events of writer n are numbered from n * BASE."""


def make_queue(directory: QueueDirectory, *, power: bool = False, sync_interval: float = 0.005) -> JournalQueue:
    def report(error: LotusError) -> None:
        raise AssertionError(f"reported: {error}")

    return JournalQueue(
        directory,
        segment_bytes=50_000,
        max_queue_bytes=1 << 30,
        power=power,
        sync_interval=sync_interval,
        report=report,
    )


class Notes:
    """Numbers that a process writes down as it goes; they survive its SIGKILL."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def open(self) -> Callable[[int], None]:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

        def note(number: int) -> None:
            os.write(descriptor, b"%d\n" % number)

        return note

    def exist(self) -> bool:
        return self.path.exists() and self.path.stat().st_size > 0

    def read(self) -> list[int]:
        """Return the numbers; a killed process may have left half a line."""
        whole, _, _ = self.path.read_bytes().rpartition(b"\n")
        return [int(line) for line in whole.split()]


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    assert exit_status(pid) == -signal.SIGKILL


@pytest.mark.parametrize(("power", "kills"), [(False, WRITER_KILLS), (True, POWER_WRITER_KILLS)])
def test_writers_killed_at_any_moment_lose_nothing_they_acknowledged(
    memory_path: Path, tmp_path: Path, power: bool, kills: int
) -> None:
    directory = QueueDirectory((tmp_path if power else memory_path) / "queue")
    chance = random.Random(20_221_122)
    notes = [Notes(tmp_path / f"writer-{index}") for index in range(kills)]
    leader = make_queue(directory)
    found: list[int] = []
    torn = 0

    def write(index: int) -> None:
        acknowledge = notes[index].open()
        queue = make_queue(directory, power=power)
        for number in range(index * BASE, index * BASE + 2000):
            # Some records span pages, where a killed write tears.
            queue.append(record(number, padding=number % 97 * (100 if number % 5 == 0 else 1)))
            acknowledge(number)
        signal.pause()

    def deliver() -> None:
        nonlocal torn
        consumer = leader.consumer()
        output = read_pass(consumer)
        assert all(damage.torn for damage in output.damages)
        torn += len(output.damages)
        found.extend(output.numbers)
        consumer.settle(output.settlement())
        consumer.close()
        assert_conserved(leader.census())

    for first in range(0, kills, AT_ONCE):
        indices = range(first, min(first + AT_ONCE, kills))
        children = [in_child(lambda index=index: write(index)) for index in indices]  # type: ignore[misc]
        wait_until(lambda indices=indices: all(notes[index].exist() for index in indices))  # type: ignore[misc]
        for child in children:
            time.sleep(chance.uniform(0, 0.002))  # the moment of the kill, not a wait for anything
            kill(child)
        if chance.random() < 0.5:
            deliver()
    deliver()
    deliver()

    assert directory.segments() == []
    by_writer = Counter(number // BASE for number in found)
    acknowledged = 0
    for index, note in enumerate(notes):
        said = note.read()
        acknowledged += len(said)
        assert said == list(range(index * BASE, index * BASE + len(said)))
        # The last event may be in the journal without its writer having lived to say so.
        assert 0 <= by_writer[index] - len(said) <= 1
    # So: nothing is there twice, nothing that was never appended, and nothing is missing.
    assert sorted(found) == sorted(index * BASE + number for index in by_writer for number in range(by_writer[index]))
    assert leader.census().delivered == len(found)
    assert acknowledged > 10 * kills
    assert len(list(directory.quarantine.iterdir())) == torn


EVENTS = 4000
BATCH = 50


def settlement_of(numbers: list[int], records: list[bytes], **options: object) -> Settlement:
    """Park what ends in 7, bury what ends in 9, deliver the rest."""
    parked = [stored(each) for number, each in zip(numbers, records, strict=True) if number % 10 == 7]
    dead = [stored(each) for number, each in zip(numbers, records, strict=True) if number % 10 == 9]
    return Settlement(delivered=len(records) - len(parked) - len(dead), parked=parked, dead=dead, **options)  # type: ignore[arg-type]


def lead(directory: QueueDirectory, delivered: Callable[[int], None]) -> None:
    """Settle in batches, and try the parked events again: those below 2,000 are delivered then."""
    consumer = make_queue(directory).consumer()
    delivered(-1)  # it lives
    while True:
        while (chunk := consumer.read(BATCH)) is not None:
            numbers = numbers_of(chunk.records)
            for number in numbers:
                if number % 10 not in (7, 9):
                    delivered(number)
            consumer.settle(settlement_of(numbers, list(chunk.records), through={chunk.source: chunk.positions[-1]}))
        rows = [row for row in consumer.parked(0, BATCH) if number_of(row.record) < EVENTS // 2]
        for row in rows:
            delivered(number_of(row.record))
        consumer.settle(Settlement(delivered=len(rows), resolved=rows))
        if not rows and consumer.read(1) is None:
            delivered(-2)  # all is done; it waits for its end
            signal.pause()


def test_leaders_killed_at_any_moment_lose_nothing_and_settle_everything(memory_path: Path, tmp_path: Path) -> None:
    import persistqueue  # noqa: F401  # once here, and not once in each child

    directory = QueueDirectory(memory_path / "queue")
    chance = random.Random(20_221_123)
    queue = make_queue(directory)
    kills, appended, sent = 0, 0, Counter[int]()
    while kills < LEADER_KILLS or appended < EVENTS:
        # Some at a time, so that the last leader has as much to do as the first.
        goal = EVENTS * (kills + 1) // LEADER_KILLS
        while appended < min(goal, EVENTS):
            queue.append(record(appended))
            appended += 1
        if chance.random() < 0.2:
            queue.close()
        notes = Notes(tmp_path / f"leader-{kills}")
        child = in_child(lambda notes=notes: lead(directory, notes.open()))  # type: ignore[misc]
        wait_until(notes.exist)
        time.sleep(chance.uniform(0, 0.02))  # the moment of the kill, not a wait for anything
        kill(child)
        kills += 1
        sent.update(number for number in notes.read() if number >= 0)
        assert_conserved(queue.census())
    queue.close()

    last = Notes(tmp_path / "last")
    child = in_child(lambda: lead(directory, last.open()))
    wait_until(lambda: last.exist() and -2 in last.read())
    kill(child)
    sent.update(number for number in last.read() if number >= 0)

    consumer = queue.consumer()
    parked = sorted(numbers_of(row.record for row in parked_rows(consumer)))
    dead = sorted(
        numbers_of(row.record for row in queue._store.page("dead", 0, load_state(directory).dead.high, EVENTS))
    )
    read_pass(consumer)
    consumer.close()
    assert parked == [number for number in range(EVENTS // 2, EVENTS) if number % 10 == 7]
    assert dead == [number for number in range(EVENTS) if number % 10 == 9]
    assert set(sent) == set(range(EVENTS)) - set(parked) - set(dead)
    census = queue.census()
    assert_conserved(census)
    assert (census.accepted, census.pending, census.discarded) == (EVENTS, 0, 0)
    assert census.delivered == len(sent)
    # What was sent and not committed is sent again: one batch for each kill at the most.
    assert sum(sent.values()) - len(sent) <= kills * BATCH
    assert directory.segments() == []


def test_a_stale_leader_and_a_new_one_settle_each_event_once(memory_path: Path) -> None:
    """A leader stopped by SIGSTOP is replaced, and continued in the middle of its work."""
    directory = QueueDirectory(memory_path / "queue")
    queue = make_queue(directory, sync_interval=0.0)
    for number in range(200):
        queue.append(record(number))

    def lead_until_overtaken() -> None:
        consumer = make_queue(directory, sync_interval=0.0).consumer()
        chunk = consumer.read(10)
        assert chunk is not None
        os.kill(os.getpid(), signal.SIGSTOP)
        try:
            consumer.settle(
                settlement_of(
                    numbers_of(chunk.records), list(chunk.records), through={chunk.source: chunk.positions[-1]}
                )
            )
        except LeadershipLost:
            os._exit(7)

    child = in_child(lead_until_overtaken)
    os.waitpid(child, os.WUNTRACED)
    consumer = queue.consumer()
    output = read_pass(consumer)
    consumer.settle(output.settlement(parked=output.records[:5]))
    os.kill(child, signal.SIGCONT)
    assert exit_status(child) == 7
    assert len(parked_rows(consumer)) == 5
    consumer.close()
    census = queue.census()
    assert (census.accepted, census.delivered, census.parked, census.dead_lettered) == (200, 195, 5, 0)
