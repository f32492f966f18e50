"""From a source to batches: bounded by count and bytes, never the same id twice."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from lotus_durable.queue.protocol import StoredEvent
from lotus_durable.queue.reader import Chunk

from .batch import Batch, Encoded
from .place import Place, Source

_CHUNK_EVENTS = 250
_ANOTHER_KEY = "tracked under another API key"
_BODY_OVERHEAD = len(Batch().body())


class Batcher:
    """Makes batches of what a source reads, for a place; what may not be sent (see :class:`.place.Way`) is left there.

    Attributes:
        held: how many events were met and left.
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
        self._max_bytes = place.max_bytes - _BODY_OVERHEAD
        self._there: deque[Encoded | None] = deque()
        """What was read and no batch has taken, or not all of it. None is the end of a pass."""

    def read_ahead(self) -> None:
        """Read and encode what the next batch takes, while others are on their way."""
        events = size = number = 0
        while events < self._max_events and size < self._max_bytes and (encoded := self._at(number)) is not None:
            events += max(1, encoded.left)
            size += encoded.size_left
            number += 1

    def next(self) -> Batch | None:
        """Return the next batch of this pass over the queue, or None at its end."""
        batch = Batch()
        seen: set[str] = set()
        while (encoded := self._at(0)) is not None:
            chunk = encoded.chunk
            if chunk.key != batch.key and chunk.damage is None:
                if batch.through:
                    batch.full = True
                    return batch
                batch.key = chunk.key
            if not (self._takes_unsent(batch, chunk) or self._takes(batch, seen, encoded)):
                batch.full = True
                return batch
            batch.through[chunk.source] = chunk.positions[-1]
            self._there.popleft()
        self._there.popleft()
        return batch if batch.through else None

    def _at(self, number: int) -> Encoded | None:
        """Return what is there in this place, which is read if nothing is yet."""
        if number == len(self._there):
            chunk = self._next_chunk()
            self._there.append(None if chunk is None else Encoded(chunk, self._encode))
        return self._there[number]

    def _takes(self, batch: Batch, seen: set[str], encoded: Encoded) -> bool:
        """Take what has room of a chunk, and return whether that was all of it."""
        chunk, failed = encoded.chunk, encoded.failed
        # Those of batches before this one are settled.
        repeats: set[str] = set() if self._takes_repeats else self._source.was_delivered(encoded.ids[encoded.index :])
        while (index := encoded.index) < len(chunk.records):
            if index in failed:
                batch.dead.append(_dead(chunk.records[index], failed[index]))
                stop = index + 1
            elif encoded.ids[index] in repeats:
                batch.repeats += 1
                stop = index + 1
            else:
                stop = self._room(batch, seen, encoded, repeats)
                if stop == index:
                    return False
                batch.extend(encoded, index, stop)
            batch.through[chunk.source] = chunk.positions[stop - 1]
            encoded.index = stop
        return True

    def _room(self, batch: Batch, seen: set[str], encoded: Encoded, repeats: set[str]) -> int:
        """Return up to which event of a chunk the batch takes the next ones, and add their ids to those seen."""
        start, ids = encoded.index, encoded.ids
        stop = min(len(ids), start + self._max_events - len(batch))
        if repeats or encoded.failed:
            stop = next((each for each in range(start, stop) if each in encoded.failed or ids[each] in repeats), stop)
        # One that is larger than a request goes alone.
        stop = min(stop, max(encoded.fitting(start, self._max_bytes - batch.size), start if batch else start + 1))
        if not ids[start]:
            return stop
        seen.update(ids[start:stop])
        if len(seen) == len(batch) + stop - start:
            return stop
        seen.clear()
        seen.update(batch.ids)
        while ids[start] not in seen:
            seen.add(ids[start])
            start += 1
        return start

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
        return True


def batches_of_parked(
    rows: Sequence[StoredEvent], place: Place, was_delivered: Callable[[Sequence[str]], set[str]]
) -> Iterator[Batch]:
    """Make batches of parked events, by the same rules; together they settle every row.

    Each is to be settled before the next one is taken: what was delivered by then is not sent again.
    """
    encoded = Encoded(Chunk("", [row.record for row in rows], range(len(rows))), place.encode)
    most = place.max_bytes - _BODY_OVERHEAD
    left = [*range(len(rows))]
    while left:
        repeats = set() if place.takes_repeats else was_delivered([encoded.ids[index] for index in left])
        batch, seen, later = Batch(), set[str](), list[int]()
        for index in left:
            row, id_ = rows[index], encoded.ids[index]
            if index in encoded.failed:
                reason = encoded.failed[index]
                batch.dead.append(StoredEvent(row.record, reason, row.attempts, row.since, time.time()))
            elif id_ in repeats:
                batch.repeats += 1
            elif id_ in seen or (len(batch) and (row.key != batch.key or batch.size + encoded.sizes[index] > most)):
                later.append(index)
                continue
            else:
                batch.key = row.key
                seen.update([id_] if id_ else [])
                batch.extend(encoded, index, index + 1)
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
