"""From a source to batches: bounded by count and bytes, never the same id twice."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from lotus_durable.queue.protocol import Chunk, StoredEvent

from .batch import Batch
from .place import Place, Source

_CHUNK_EVENTS = 64
_ANOTHER_KEY = "tracked under another API key"
_BODY_OVERHEAD = len('{"batch":[]}')


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
        self._encoded: list[tuple[str, str, bytes] | ValueError] = []
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
            repeats = self._repeats_from(self._index)
            for index in range(self._index, len(chunk.records)):
                record, encoded = chunk.records[index], self._encoded[index]
                if isinstance(encoded, ValueError):
                    batch.dead.append(_dead(record, str(encoded)))
                else:
                    idempotency_id, time_created, event = encoded
                    if idempotency_id in repeats:
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
            records = () if self._chunk is None else self._chunk.records
            self._encoded = [self._encoded_or_why_not(each) for each in records]
        return self._chunk

    def _encoded_or_why_not(self, record: bytes) -> tuple[str, str, bytes] | ValueError:
        try:
            return self._encode(record)
        except ValueError as error:
            return error

    def _repeats_from(self, index: int) -> set[str]:
        """Return the ids of the rest of the chunk that are not to be sent; those of batches before this are settled."""
        if self._takes_repeats:
            return set()
        rest = self._encoded[index:]
        return self._source.was_delivered([each[0] for each in rest if not isinstance(each, ValueError)])

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
