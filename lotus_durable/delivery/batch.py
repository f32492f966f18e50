"""From a source to batches: bounded by count and bytes, never the same id twice."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from lotus_durable.queue.protocol import NO_KEY, Chunk, Position, StoredEvent

from .place import Place, Source
from .wire import body

_CHUNK_EVENTS = 64
_ANOTHER_KEY = "tracked under another API key"
_BODY_OVERHEAD = len('{"batch":[]}')


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
    """Events of another key, to be parked: in ``queue.db`` there is no way around them."""
    dead: list[StoredEvent] = field(default_factory=list)
    """Events that cannot be sent at all: damaged or unreadable."""
    repeats: int = 0
    """Events that are delivered without being sent: the server has taken their ids lately."""
    resolved: list[StoredEvent] = field(default_factory=list)
    """The parked rows that this batch settles: ``rows``, and those that cannot be sent."""
    full: bool = False
    """A limit ended it; there may be more."""
    _events: bytearray = field(default_factory=bytearray)
    """As they travel, each followed by a comma. One buffer on purpose: keeping what the encoder returns for each event
    makes the heap grow and shrink with each batch, and its page faults took as long as all of the encoding."""
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


class Batcher:
    """Makes batches of what a consumer reads.

    Args:
        source: what is read.
        place: where they go.
        max_events: in one batch; fewer, where the place takes no more.
        may_send: whether events that were tracked under the key with this fingerprint may be sent.

    Attributes:
        held: events that were met and may not be sent.
    """

    def __init__(
        self,
        source: Source,
        place: Place,
        *,
        max_events: int,
        may_send: Callable[[bytes], bool] = lambda _: True,
    ) -> None:
        self._source = source
        self._encode, self._takes_repeats = place.encode, place.takes_repeats
        self._may_send = may_send
        self.held: int = 0
        self._max_events = min(max_events, place.max_events)
        self._max_bytes = place.max_bytes
        self._chunk: Chunk | None = None
        self._index = 0

    def next(self) -> Batch | None:
        """Return the next batch of this pass over the queue, or None at its end.

        Raises:
            OSError: the disk refuses.
        """
        batch = Batch()
        seen: set[str] = set()
        size = _BODY_OVERHEAD
        while (chunk := self._current_chunk()) is not None:
            if chunk.key != batch.key and chunk.damage is None:
                if batch.through:
                    batch.full = True
                    return batch
                batch.key = chunk.key
            if self._takes_unsent(batch, chunk):
                continue
            for index in range(self._index, len(chunk.records)):
                record = chunk.records[index]
                try:
                    idempotency_id, time_created, event = self._encode(record)
                except ValueError as error:
                    batch.dead.append(_dead(record, str(error)))
                else:
                    if not self._takes_repeats and self._source.was_delivered((idempotency_id,)):
                        batch.repeats += 1
                        continue
                    size += len(event) + 1
                    if idempotency_id in seen or (seen and (size > self._max_bytes or len(seen) == self._max_events)):
                        return self._cut(batch, chunk, index)
                    seen.add(idempotency_id)
                    batch.add(idempotency_id, time_created, event, record)
            batch.through[chunk.source] = chunk.positions[-1]
            self._chunk = None
        return batch if batch.through else None

    def _current_chunk(self) -> Chunk | None:
        if self._chunk is None:
            self._chunk, self._index = self._next_chunk(), 0
        return self._chunk

    def _next_chunk(self) -> Chunk | None:
        """Read on, past what may not be sent: it is left where it is, and nothing behind it in its segment is ours."""
        while (chunk := self._source.read(_CHUNK_EVENTS)) is not None:
            if self._may_send(chunk.key):
                break
            self.held += len(chunk.records)
            if chunk.in_rows:
                break
        return chunk

    def _takes_unsent(self, batch: Batch, chunk: Chunk) -> bool:
        """Take what is settled and not sent: damage, and rows of another key."""
        now = time.time()
        if chunk.damage is not None:
            batch.dead.extend(_dead_of_damage(chunk))
        elif chunk.in_rows and not self._may_send(chunk.key):
            batch.unsent += [StoredEvent(each, _ANOTHER_KEY, 0, now, now, key=chunk.key) for each in chunk.records]
        else:
            return False
        batch.through[chunk.source] = chunk.positions[-1]
        self._chunk = None
        return True

    def _cut(self, batch: Batch, chunk: Chunk, index: int) -> Batch:
        """End the batch before this record, which opens the next one."""
        if index:
            batch.through[chunk.source] = chunk.positions[index - 1]
        self._index = index
        batch.full = True
        return batch


def batches_of_parked(rows: Sequence[StoredEvent], place: Place) -> Iterator[Batch]:
    """Make batches of parked events, by the same rules; together they settle every row."""
    left = list(rows)
    while left:
        batch = Batch()
        seen: set[str] = set()
        later: list[StoredEvent] = []
        size = _BODY_OVERHEAD
        for row in left:
            try:
                idempotency_id, time_created, event = place.encode(row.record)
            except ValueError as error:
                batch.dead.append(StoredEvent(row.record, str(error), row.attempts, row.since, time.time()))
                batch.resolved.append(row)
                continue
            if idempotency_id in seen or (seen and size + len(event) + 1 > place.max_bytes):
                later.append(row)
                continue
            size += len(event) + 1
            seen.add(idempotency_id)
            batch.add(idempotency_id, time_created, event, row.record)
            batch.rows.append(row)
            batch.resolved.append(row)
        yield batch
        left = later


def _dead(record: bytes, reason: str) -> StoredEvent:
    now = time.time()
    return StoredEvent(record, reason, 0, now, now)


def _dead_of_damage(chunk: Chunk) -> list[StoredEvent]:
    assert chunk.damage is not None
    return [_dead(b"", str(chunk.damage)) for _ in range(chunk.damage.events)]
