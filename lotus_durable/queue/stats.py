"""Counting what is in the queue, from any process: without a database, and without reading the events."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

import msgpack

from lotus_durable.values import NamedTuple

from .directory import QueueDirectory, original_name
from .format import UnknownFormat
from .reader import BEGINNING, Position, glance

QUEUE_DB = "queue.db"
"""The name in :attr:`Settled.cursor` of what was appended through SQLite; its position is (row, number of rows)."""


class Settled(NamedTuple):
    """What the books say; the flusher's heartbeat carries it."""

    accepted: int = 0
    """Events that are settled: ``delivered + parked + dead_lettered + discarded``, counted by their places."""
    delivered: int = 0
    parked: int = 0
    dead_lettered: int = 0
    discarded: int = 0
    parked_bytes: int = 0
    rows: int = 0
    """Events in ``queue.db`` that are pending."""
    cursor: Mapping[str, Position] = MappingProxyType({})
    """For each segment that still lies there, by the name its writer gave it, up to where it is settled."""


class Counts(NamedTuple):
    """What is in a queue.

    At any quiescent moment and across restarts ``accepted = delivered + pending + parked + dead_lettered + discarded``.
    """

    accepted: int
    delivered: int
    pending: int
    parked: int
    dead_lettered: int
    discarded: int
    pending_bytes: int
    """Bytes of the journal that are not settled."""
    oldest_accepted_at: float | None
    """When the oldest pending event was accepted, seconds since the epoch; None when nothing is pending."""
    later_formats: int = 0
    """Segments that a later version wrote: how many events they hold is not known here, and none of them is settled."""


def count(directory: QueueDirectory, settled: Settled | None) -> Counts:
    """Count; the cost depends on the number of segments, not of events. A directory that does not exist is empty.

    A segment whose settling began after the heartbeat counts as pending from where the heartbeat saw it, so the sum
    holds at any moment, as of the heartbeat.

    Raises:
        OSError: the disk refuses.
    """
    settled = settled or Settled()
    pending, size, later = settled.rows, 0, 0
    firsts: list[bytes | None] = []
    for name in directory.segments():
        position = settled.cursor.get(original_name(name), BEGINNING)
        path = f"{directory.journal}/{name}"
        try:
            if not stat.S_ISREG(os.stat(path).st_mode):
                continue
            seen = glance(path, max(BEGINNING, position))
        except UnknownFormat:
            later += 1
        except OSError:
            continue  # retired meanwhile; or it cannot be read, which the flusher tells
        else:
            waiting = max(0, seen.frames - position[1])
            pending += waiting
            size += max(0, seen.size - max(BEGINNING, position)[0])
            if waiting:
                firsts.append(seen.first)
    return Counts(
        accepted=settled.accepted + pending,
        delivered=settled.delivered,
        pending=pending,
        parked=settled.parked,
        dead_lettered=settled.dead_lettered,
        discarded=settled.discarded,
        pending_bytes=size,
        oldest_accepted_at=min(_accepted_at(firsts), default=None),
        later_formats=later,
    )


def _accepted_at(records: Iterable[bytes | None]) -> Iterator[float]:
    """Give when each record's event was accepted; nothing for what is no record."""
    for record in records:
        if record is not None:
            with contextlib.suppress(ValueError, TypeError, LookupError):
                yield float(msgpack.unpackb(record)[-1])
