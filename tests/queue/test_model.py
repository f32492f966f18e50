"""The queue against a plain model: whatever happens in whatever order, no event is lost, invented or counted twice."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from lotus_durable.queue.books import StoredEvent
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.format import encode_frame
from lotus_durable.queue.journal import JournalQueue
from lotus_durable.queue.protocol import Census, Chunk, Consumer, Settlement
from lotus_durable.queue.reader import Position
from lotus_durable.queue.sync import JournalSync

from .conftest import MEMORY_DISK
from .events import Reports, assert_conserved, number_of, numbers_of, parked_rows, record, stored
from .faults import replaced

_CALLS = ("open", "write", "pwrite", "fsync", "fdatasync", "replace", "unlink")
VERDICTS = ("delivered", "delivered", "delivered", "parked", "dead")


class Crashed(BaseException):
    """The process died here."""


@contextmanager
def crashing(step: int) -> Iterator[None]:
    """Die before the ``step``-th call that touches a file of the queue."""
    left = step
    real = {call: getattr(os, call) for call in _CALLS}

    def count(call: str) -> Any:
        def die(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise Crashed
            return real[call](*arguments, **options)

        return die

    with ExitStack() as stack:
        for call in _CALLS:
            stack.enter_context(replaced(call, count(call), where="lotus_durable-model"))
        yield


@dataclass
class Model:
    """What must be true of the queue."""

    pending: list[int] = field(default_factory=list)
    """In the order of acceptance."""
    delivered: int = 0
    parked: list[int] = field(default_factory=list)
    dead: list[int] = field(default_factory=list)

    def counts(self) -> tuple[int, ...]:
        parts = (self.delivered, len(self.pending), len(self.parked), len(self.dead))
        return (sum(parts), *parts, 0)

    def after(self, verdicts: list[tuple[int, str]], resolved: list[int]) -> Model:
        """Return the model once these events are settled and these parked ones delivered."""
        by_verdict = {verdict: [number for number, given in verdicts if given == verdict] for verdict in VERDICTS}
        settled = {number for number, _ in verdicts}
        return Model(
            [number for number in self.pending if number not in settled],
            self.delivered + len(by_verdict["delivered"]) + len(resolved),
            [number for number in self.parked if number not in resolved] + by_verdict["parked"],
            self.dead + by_verdict["dead"],
        )


def counts(census: Census) -> tuple[int, ...]:
    return (
        census.accepted,
        census.delivered,
        census.pending,
        census.parked,
        census.dead_lettered,
        census.discarded,
    )


class QueueMachine(RuleBasedStateMachine):
    """Writers append, sync, rotate and die; leaders read, settle, resolve and die."""

    def __init__(self) -> None:
        super().__init__()
        where = MEMORY_DISK if os.access(MEMORY_DISK, os.W_OK) else None
        self.root = Path(tempfile.mkdtemp(prefix="lotus_durable-model-", dir=where))
        self.directory = QueueDirectory(self.root / "queue")
        self.reports = Reports()
        self.model = Model()
        self.next_number = 0
        self.writers: list[JournalQueue] = []
        self.consumer: Consumer | None = None
        self.unsettled: list[tuple[str, Position, int | None]] = []
        """What the consumer has given out: source, position after it, number (None for a torn tail)."""

    @initialize(
        segment_bytes=st.sampled_from([200, 1000, 100_000]),
        sync_interval=st.sampled_from([0.0, 1000.0]),
        power=st.booleans(),
    )
    def choose(self, segment_bytes: int, sync_interval: float, power: bool) -> None:
        self.segment_bytes, self.sync_interval, self.power = segment_bytes, sync_interval, power
        self.leader = self.open_queue()
        self.sync: JournalSync = self.leader.background_sync(self.reports)

    def open_queue(self) -> JournalQueue:
        return JournalQueue(
            self.directory,
            segment_bytes=self.segment_bytes,
            max_queue_bytes=1 << 30,
            power=self.power,
            sync_interval=self.sync_interval,
            report=self.reports,
        )

    def teardown(self) -> None:
        try:
            self.finish()
        finally:
            if self.consumer is not None:
                self.consumer.close()
            shutil.rmtree(self.root)

    def finish(self) -> None:
        """Deliver everything; then nothing may be left."""
        if not hasattr(self, "leader"):
            return
        for writer in self.writers:
            writer.close()
        self.new_leader()
        assert self.consumer is not None
        numbers: list[int] = []
        while (chunk := self.consumer.read(64)) is not None:
            numbers += numbers_of(chunk.records)
            self.consumer.settle(Settlement({chunk.source: chunk.positions[-1]}, delivered=len(chunk.records)))
        assert sorted(numbers) == sorted(self.model.pending)
        rows = parked_rows(self.consumer)
        assert sorted(numbers_of(row.record for row in rows)) == sorted(self.model.parked)
        self.consumer.settle(Settlement(delivered=len(rows), resolved=rows))
        self.consumer.read(1)
        self.new_leader()
        assert self.consumer.read(1) is None
        assert self.directory.segments() == []
        total = self.next_number - len(self.model.dead)
        assert counts(self.leader.census()) == (self.next_number, total, 0, 0, len(self.model.dead), 0)
        assert self.reports == []

    # Writers

    @precondition(lambda self: len(self.writers) < 3)
    @rule()
    def new_writer(self) -> None:
        self.writers.append(self.open_queue())

    @precondition(lambda self: self.writers)
    @rule(data=st.data(), count=st.integers(1, 12), padding=st.sampled_from([0, 0, 0, 300, 5000]))
    def append(self, data: st.DataObject, count: int, padding: int) -> None:
        writer = data.draw(st.sampled_from(self.writers))
        for _ in range(count):
            writer.append(record(self.next_number, padding))
            self.model.pending.append(self.next_number)
            self.next_number += 1

    @precondition(lambda self: self.writers)
    @rule(data=st.data())
    def close_writer(self, data: st.DataObject) -> None:
        writer = data.draw(st.sampled_from(self.writers))
        self.writers.remove(writer)
        writer.close()

    @precondition(lambda self: self.writers)
    @rule(data=st.data(), torn=st.integers(0, 400))
    def kill_writer(self, data: st.DataObject, torn: int) -> None:
        """SIGKILL in the middle of a write: some of one frame is there, and nobody was told that it was accepted."""
        victim = data.draw(st.sampled_from(self.writers))
        self.writers.remove(victim)
        for writer in victim._appender._idle:
            frame = encode_frame(writer._marker, writer._sequence, record(-1, padding=400))
            with open(writer.path, "ab") as file:
                file.write(frame[:torn])
        victim.abandon()

    @rule()
    def run_sync(self) -> None:
        self.sync.run()

    # Leaders

    @rule()
    def new_leader(self) -> None:
        """The old one dies, whatever it was doing."""
        if self.consumer is not None:
            self.consumer.close()
        self.consumer = self.leader.consumer()
        self.unsettled.clear()

    @precondition(lambda self: self.consumer is not None)
    @rule(limit=st.integers(1, 20))
    def read(self, limit: int) -> None:
        assert self.consumer is not None
        chunk = self.consumer.read(limit)
        if chunk is not None:
            self.check_chunk(chunk, limit)

    def check_chunk(self, chunk: Chunk, limit: int) -> None:
        if chunk.damage is not None:
            assert chunk.damage.torn
            assert chunk.damage.events == 0
            self.unsettled.append((chunk.source, chunk.positions[0], None))
            return
        numbers = numbers_of(chunk.records)
        assert 0 < len(numbers) == len(chunk.positions) <= limit
        given = {number for _, _, number in self.unsettled}
        waiting = [number for number in self.model.pending if number not in given]
        assert set(numbers) <= set(waiting)
        assert numbers == sorted(numbers)  # a writer's events come in its order
        places = zip(chunk.positions, numbers, strict=True)
        self.unsettled += [(chunk.source, position, number) for position, number in places]

    def draw_settlement(self, data: st.DataObject) -> tuple[Settlement, Model, int]:
        """Settle some of what was read, in order, and try some of the parked events again."""
        assert self.consumer is not None
        count = data.draw(st.integers(0, len(self.unsettled)))
        through: dict[str, Position] = {}
        verdicts: list[tuple[int, str]] = []
        for source, position, number in self.unsettled[:count]:
            through[source] = position
            if number is not None:
                verdicts.append((number, data.draw(st.sampled_from(VERDICTS))))
        rows = self.consumer.parked(0, data.draw(st.integers(1, 5)))
        resolved = data.draw(st.lists(st.sampled_from(rows), unique_by=lambda row: row.id)) if rows else []

        def given(verdict: str) -> list[StoredEvent]:
            return [stored(record(number)) for number, each in verdicts if each == verdict]

        delivered = sum(verdict == "delivered" for _, verdict in verdicts) + len(resolved)
        settlement = Settlement(through, delivered, given("parked"), given("dead"), resolved)
        return settlement, self.model.after(verdicts, [number_of(row.record) for row in resolved]), count

    @precondition(lambda self: self.consumer is not None)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        assert self.consumer is not None
        settlement, self.model, count = self.draw_settlement(data)
        self.consumer.settle(settlement)
        del self.unsettled[:count]

    @precondition(lambda self: self.consumer is not None)
    @rule(data=st.data(), step=st.integers(0, 40))
    def settle_and_die(self, data: st.DataObject, step: int) -> None:
        assert self.consumer is not None
        settlement, after, _ = self.draw_settlement(data)
        try:
            with crashing(step):
                self.consumer.settle(settlement)
                self.consumer.read(1)
        except Crashed:
            found = counts(self.leader.census())
            assert found in (self.model.counts(), after.counts())
            self.model = after if found == after.counts() else self.model
        else:
            self.model = after
        self.consumer.close()
        self.consumer = None
        self.unsettled.clear()

    @precondition(lambda self: self.consumer is None)
    @rule(step=st.integers(0, 30))
    def lead_and_die(self, step: int) -> None:
        try:
            with crashing(step):
                self.leader.consumer().close()
        except Crashed:
            pass

    # At any moment

    @invariant()
    def the_census_is_the_models(self) -> None:
        if hasattr(self, "leader"):
            census = self.leader.census()
            assert_conserved(census)
            assert counts(census) == self.model.counts()

    @invariant()
    def nothing_is_reported(self) -> None:
        assert self.reports == []


TestQueueModel = QueueMachine.TestCase
TestQueueModel.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
