"""Events that travel together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from lotus_durable.queue.protocol import NO_KEY, Position, StoredEvent

from .wire import body


@dataclass(slots=True)
class Batch:
    """Events that travel together, as columns, and what must be settled with them."""

    ids: list[str] = field(default_factory=list)
    times: list[str] = field(default_factory=list)
    records: list[bytes] = field(default_factory=list)
    rows: list[StoredEvent] = field(default_factory=list)
    """Of parked events: where they come from. Empty for those that come from the journal."""
    through: dict[str, Position] = field(default_factory=dict)
    """For each source, how far this batch goes."""
    key: bytes = NO_KEY
    """The fingerprint of the API key under which all of them were tracked; of parked events each row has its own."""
    unsent: list[StoredEvent] = field(default_factory=list)
    """Events of another key, to be parked: ``queue.db`` is read in order, so they cannot be left where they are."""
    dead: list[StoredEvent] = field(default_factory=list)
    """Events that cannot be sent at all: damaged or unreadable."""
    repeats: int = 0
    """Events that are delivered without being sent: the server has taken their ids lately."""
    resolved: list[StoredEvent] = field(default_factory=list)
    """The parked rows that this batch settles: ``rows``, and those that cannot be sent."""
    full: bool = False
    """A limit ended it; there may be more."""
    _events: bytearray = field(default_factory=bytearray)
    """The encoded events, each followed by a comma. One buffer on purpose: with an object for each event the heap grows
    and shrinks with each batch, and the page faults took as long as all of the encoding."""
    _ends: list[int] = field(default_factory=list)
    """Where each event ends there, after its comma."""

    def __len__(self) -> int:
        return len(self.ids)

    def add(self, idempotency_id: str, time_created: str, event: bytes | bytearray, record: bytes) -> None:
        """Append one event."""
        self.ids.append(idempotency_id)
        self.times.append(time_created)
        self.records.append(record)
        events = self._events
        events += event
        events += b","
        self._ends.append(len(events))

    def body(self) -> bytes:
        """Return the body of the request that sends it, where its events are JSON."""
        return body([memoryview(self._events)[:-1]])

    def part(self, indices: Sequence[int]) -> Batch:
        """Return a batch of some of the events, for sending; it settles nothing by itself."""
        part = Batch()
        for index in indices:
            event = self._events[self._ends[index - 1] if index else 0 : self._ends[index] - 1]
            part.add(self.ids[index], self.times[index], event, self.records[index])
        return part
