"""The flusher's side in tests: read to the end of a pass, settle, count."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from lotus_durable.errors import LotusError
from lotus_durable.queue.consumer import Consumer
from lotus_durable.queue.counting import count
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.protocol import Settlement, StoredEvent
from lotus_durable.queue.reader import Damage, Position
from lotus_durable.queue.stats import QueueStats

from .segments import EPOCH, numbers_of


def stored(packed: bytes, reason: str = "refused", attempts: int = 1) -> StoredEvent:
    return StoredEvent(packed, reason, attempts, EPOCH, EPOCH)


@dataclass
class Output:
    """What a consumer gave in one pass."""

    records: list[bytes] = field(default_factory=list)
    through: dict[str, Position] = field(default_factory=dict)
    damages: list[Damage] = field(default_factory=list)
    keys: set[bytes] = field(default_factory=set)

    @property
    def numbers(self) -> list[int]:
        return numbers_of(self.records)

    def settlement(
        self, *, parked: Sequence[bytes] = (), dead: Sequence[bytes] = (), ids: Sequence[str] = ()
    ) -> Settlement:
        """Settle all of it: some parked, some dead (and all that is damaged), the rest delivered."""
        damaged = [stored(b"", str(damage)) for damage in self.damages for _ in range(damage.events)]
        return Settlement(
            through=self.through,
            delivered=len(self.records) - len(parked) - len(dead),
            parked=[stored(each) for each in parked],
            dead=[*(stored(each) for each in dead), *damaged],
            delivered_ids=ids,
        )


def read_pass(consumer: Consumer, limit: int = 64) -> Output:
    """Read to the end of a pass."""
    output = Output()
    while (chunk := consumer.read(limit)) is not None:
        assert len(chunk.positions) == max(1, len(chunk.records))
        output.records += chunk.records
        output.through[chunk.source] = chunk.positions[-1]
        output.keys.add(chunk.key)
        if chunk.damage is not None:
            output.damages.append(chunk.damage)
    return output


def deliver(consumer: Consumer, limit: int = 64) -> list[int]:
    """Read a pass, settle all of it as delivered, and return the numbers of the events."""
    output = read_pass(consumer, limit)
    consumer.settle(output.settlement())
    return output.numbers


def deliver_all(consumer: Consumer) -> list[int]:
    """Deliver until nothing comes any more, and retire what can be."""
    numbers: list[int] = []
    for _ in range(3):  # what is held back comes in the next pass
        numbers += deliver(consumer)
        consumer.retire()
    return numbers


@contextmanager
def consuming(directory: QueueDirectory, report: Callable[[LotusError], None]) -> Iterator[Consumer]:
    """Open a consumer, and close it like a flusher that ends in order."""
    consumer = Consumer(directory, report)
    try:
        yield consumer
    finally:
        consumer.close()


def counts(directory: QueueDirectory, consumer: Consumer) -> QueueStats:
    """Count like another process does that has just read the heartbeat; the sum must hold."""
    found = count(directory, consumer.progress())
    settled = found.delivered + found.parked + found.dead_lettered + found.discarded
    assert found.accepted == settled + found.pending, found
    assert min(found.delivered, found.parked, found.dead_lettered, found.discarded, found.pending) >= 0, found
    return found
