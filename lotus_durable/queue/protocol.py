"""The values that pass between the queue and delivery, beside what is read (:class:`.reader.Chunk`): settlements."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

import msgpack

from lotus_durable.errors import LotusError
from lotus_durable.values import NamedTuple

from .identity import NO_KEY

Report = Callable[[LotusError], None]
"""Told of what an operator should know; raises nothing."""

Position: TypeAlias = Any
"""How far a source is read or settled. Only the source knows what it is."""

Table = Literal["parked", "dead"]


class StoredEvent(NamedTuple):
    """An event the server would not take, for now (parked) or for good (a dead letter)."""

    record: bytes
    """Its record; empty when it was damaged and nothing of it can be read."""
    reason: str
    attempts: int
    since: float
    """When it was first refused, seconds since the epoch."""
    tried: float
    """When it was last refused, seconds since the epoch."""
    id: int = 0
    """The row, once it is stored."""
    key: bytes = NO_KEY
    """The fingerprint of the API key under which it was tracked."""
    parked_at: float = 0.0
    """When it was first refused, by the queue's own clock (:mod:`.elapsed`); 0: that begins with its next try."""
    tried_at: float = 0.0
    """When it was last refused, by the same; 0: never."""

    def encode(self) -> bytes:
        """Return the row's bytes."""
        record, reason, attempts, since, tried, _, *others = self
        packed: bytes = msgpack.packb([record, reason, attempts, since, tried, *others])
        return packed


def decode_stored_event(row: int, data: object) -> StoredEvent:
    """Return the event in a row; without a record, and with the reason, when the bytes are no such event.

    So one damaged row does not hide the others of its page, and goes the way of every record that cannot be read.
    """
    try:
        record, reason, attempts, since, tried, key, parked_at, tried_at = msgpack.unpackb(data)
        if not isinstance(record, bytes):
            raise TypeError("no record")
        if not isinstance(key, bytes):  # of a number bytes() makes so many zeros, however large it is
            raise TypeError("no key")
        times = float(since), float(tried)
        return StoredEvent(record, str(reason), int(attempts), *times, row, key, float(parked_at), float(tried_at))
    except (ValueError, TypeError, OverflowError) as error:
        return StoredEvent(b"", f"row {row} of the books is damaged: {error}", 0, 0.0, 0.0, row)


class Cursor(NamedTuple):
    """Up to where a segment (or the rows of ``queue.db``) is settled."""

    name: str
    """That its writer gave it."""
    offset: int
    sequence: int


class Settlement(NamedTuple):
    """What became of events; committed as one."""

    through: Mapping[str, Position] = MappingProxyType({})
    """For each source, the position up to which every event is settled by this and earlier settlements."""
    delivered: int = 0
    handed_over: int = 0
    parked: Sequence[StoredEvent] = ()
    dead: Sequence[StoredEvent] = ()
    resolved: Sequence[StoredEvent] = ()
    """Parked events (with their ids) that are no longer: delivered, dead, or parked anew by this settlement."""
    tried: Sequence[StoredEvent] = ()
    """Parked events (with their ids) that stay so, and what is known of them now. That alone may be lost."""
    delivered_ids: Sequence[str] = ()
    """Idempotency ids of those delivered, to be known again if they come once more."""
    raised: Sequence[StoredEvent] = ()
    """Dead letters (with their ids) that are no longer: parked by this settlement, or discarded."""
    discarded: int = 0
    """Events that an operator threw away."""
    cursors: Mapping[bytes, Cursor] = MappingProxyType({})
    """What ``through`` comes to in the books, for each segment by its id,"""
    accepted: int = 0
    """and how many events that settles,"""
    carried: Sequence[tuple[bytes, int, int]] = ()
    """and the segments, and ranges of them, that copies among these came from. The consumer fills in all three, and a
    relay's source the first two for what is in no segment."""
