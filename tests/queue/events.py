"""Events to put into a queue, and what came out of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from lotus_durable.queue.books import StoredEvent
from lotus_durable.queue.protocol import Census, Consumer, EventQueue, Settlement
from lotus_durable.queue.reader import Damage, Position

from .segments import (
    EPOCH,
    Reports,
    flipped,
    number_of,
    numbers_of,
    read_segment,
    record,
    write_segment,
)

__all__ = ["EPOCH", "Reports", "flipped", "number_of", "numbers_of", "read_segment", "record", "write_segment"]


def stored(packed: bytes, reason: str = "refused") -> StoredEvent:
    return StoredEvent(packed, reason, 1, EPOCH, EPOCH)


@dataclass
class Output:
    """What a consumer gave in one pass."""

    records: list[bytes] = field(default_factory=list)
    through: dict[str, Position] = field(default_factory=dict)
    damages: list[Damage] = field(default_factory=list)

    @property
    def numbers(self) -> list[int]:
        return numbers_of(self.records)

    @property
    def lost(self) -> int:
        """How many events were in damaged stretches."""
        return sum(damage.events for damage in self.damages)

    def settlement(self, *, parked: Sequence[bytes] = (), dead: Sequence[bytes] = ()) -> Settlement:
        """Settle all of it: some parked, some dead (and all that is damaged), the rest delivered."""
        damaged = [stored(b"", str(damage)) for damage in self.damages for _ in range(damage.events)]
        return Settlement(
            through=self.through,
            delivered=len(self.records) - len(parked) - len(dead),
            parked=[stored(each) for each in parked],
            dead=[*(stored(each) for each in dead), *damaged],
        )


def read_pass(consumer: Consumer, limit: int = 64) -> Output:
    """Read to the end of a pass."""
    output = Output()
    while (chunk := consumer.read(limit)) is not None:
        output.records += chunk.records
        output.through[chunk.source] = chunk.positions[-1]
        if chunk.damage is not None:
            output.damages.append(chunk.damage)
    return output


def deliver_all(queue: EventQueue) -> Output:
    """Deliver everything with a consumer of its own."""
    consumer = queue.consumer()
    output = read_pass(consumer)
    consumer.settle(output.settlement())
    read_pass(consumer)
    consumer.close()
    return output


def settled_queue(queue: EventQueue) -> Consumer:
    """Return the consumer of a queue with 6 events: 1 delivered, 2 parked, 1 dead, 2 pending."""
    for number in range(4):
        queue.append(record(number))
    consumer = queue.consumer()
    output = read_pass(consumer)
    consumer.settle(output.settlement(parked=output.records[:2], dead=output.records[2:3]))
    for number in range(4, 6):
        queue.append(record(number))
    return consumer


def parked_rows(consumer: Consumer) -> list[StoredEvent]:
    return consumer.parked(0, 1_000_000)


def assert_conserved(census: Census) -> None:
    settled = census.delivered + census.parked + census.dead_lettered + census.discarded
    assert census.accepted == settled + census.pending, census
    assert min(census.delivered, census.parked, census.dead_lettered, census.discarded, census.pending) >= 0, census
