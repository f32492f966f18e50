"""Counting what is in the queue: by SQL, in one snapshot, at a cost that does not depend on the backlog."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lotus_durable.queue.census import oldest_accepted_at
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.format import UnknownFormat
from lotus_durable.queue.protocol import Census
from lotus_durable.queue.reader import BEGINNING, Glance, Position, glance

from . import tables
from .connection import Database
from .tables import Counters

if TYPE_CHECKING:
    import sqlite3

_ATTEMPTS = 20


@dataclass(frozen=True, slots=True)
class _Snapshot:
    counters: Counters
    last: int
    spilled: Mapping[str, Position]
    bytes_in_use: int
    oldest: bytes | None


def take_census(directory: QueueDirectory, database: Database) -> Census:
    """Count; an empty queue where there is no database yet.

    Raises:
        OSError: the disk refuses, or this process inherited a connection.
        QueueDamaged: a newer version made the database.
    """
    if not database.path.exists():
        return _census(_Snapshot(Counters(), 0, {}, 0, None), _glances(directory, {}))
    for _ in range(_ATTEMPTS):
        with database.use() as queue:
            snapshot = _snapshot(queue.reader)
        glances = _glances(directory, snapshot.spilled)
        with database.use() as queue:
            spilled = tables.read_counters(queue.reader).spilled
        # Else events of a segment of the spill may have been copied and the segment deleted in between: in neither.
        if spilled == snapshot.counters.spilled:
            break
    return _census(snapshot, glances)


def _snapshot(connection: sqlite3.Connection) -> _Snapshot:
    connection.execute("BEGIN")
    try:
        counters = tables.read_counters(connection)
        first = connection.execute(
            "SELECT data FROM queue_pending WHERE _id > ? ORDER BY _id LIMIT 1", (counters.cursor,)
        ).fetchone()
        return _Snapshot(
            counters,
            tables.last_number(connection, counters),
            tables.read_spilled(connection),
            tables.bytes_in_use(connection),
            first[0] if first and isinstance(first[0], bytes) else None,
        )
    finally:
        connection.rollback()


def _glances(directory: QueueDirectory, spilled: Mapping[str, Position]) -> dict[str, Glance]:
    return dict(_each_glance(directory, spilled))


def _each_glance(directory: QueueDirectory, spilled: Mapping[str, Position]) -> Iterator[tuple[str, Glance]]:
    for name in directory.segments():
        with contextlib.suppress(FileNotFoundError, UnknownFormat):
            yield name, glance(directory.journal / name, max(BEGINNING, spilled.get(name, BEGINNING)))


def _census(snapshot: _Snapshot, glances: Mapping[str, Glance]) -> Census:
    counters = snapshot.counters
    in_spill = {name: seen.frames - snapshot.spilled.get(name, BEGINNING)[1] for name, seen in glances.items()}
    spill_bytes = sum(
        max(0, seen.size - snapshot.spilled.get(name, BEGINNING)[0]) for name, seen in glances.items() if in_spill[name]
    )
    in_table = snapshot.last - counters.cursor
    firsts = [snapshot.oldest, *(seen.first for name, seen in glances.items() if in_spill[name])]
    return Census(
        accepted=counters.base + snapshot.last + sum(in_spill.values()),
        delivered=counters.delivered,
        pending=in_table + sum(in_spill.values()),
        parked=counters.parked,
        dead_lettered=counters.dead,
        discarded=counters.discarded,
        pending_bytes=(snapshot.bytes_in_use if in_table else 0) + spill_bytes,
        oldest_accepted_at=oldest_accepted_at(firsts),
    )
