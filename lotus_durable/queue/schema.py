"""What is in the books: their tables, and what a settlement enters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from lotus_durable.values import NamedTuple

from .protocol import StoredEvent, Table
from .stats import QueueStats

VERSION = 1

COUNTERS = "accepted, delivered, parked, dead_lettered, discarded, parked_high, dead_high"
"""Of what is settled; rows of parked events and dead letters with a larger id are of a settlement that was never
committed."""
SCHEMA = (
    f"CREATE TABLE settled (segment BLOB PRIMARY KEY, name, offset, sequence, {COUNTERS}) WITHOUT ROWID",
    "CREATE TABLE carried (segment BLOB, start INTEGER, stop INTEGER, PRIMARY KEY (segment, start)) WITHOUT ROWID",
    "CREATE TABLE retired (id INTEGER PRIMARY KEY, segment BLOB, offset INTEGER, sequence INTEGER)",
    "CREATE TABLE delivered (id INTEGER PRIMARY KEY, generation INTEGER, ids BLOB)",
    "CREATE TABLE learned (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID",
    "CREATE TABLE padding (data BLOB)",
    "INSERT INTO settled VALUES (x'', NULL, NULL, NULL, 0, 0, 0, 0, 0, 0, 0)",
)
SET_COUNTERS = f"UPDATE settled SET ({COUNTERS}) = (?, ?, ?, ?, ?, ?, ?) WHERE segment = x''"  # noqa: S608  # ours
SET_CURSOR = "INSERT OR REPLACE INTO settled (segment, name, offset, sequence) VALUES (?, ?, ?, ?)"
INSERT: dict[Table, str] = {
    "parked": "INSERT INTO queue_parked (data, timestamp) VALUES (?, ?)",
    "dead": "INSERT INTO queue_dead (data, timestamp) VALUES (?, ?)",
}


class Cursor(NamedTuple):
    """Up to where a segment (or the rows of ``queue.db``) is settled."""

    name: str
    """That its writer gave it."""
    offset: int
    sequence: int


class Entry(NamedTuple):
    """What one settlement enters."""

    cursors: Mapping[bytes, Cursor] = MappingProxyType({})
    accepted: int = 0
    delivered: int = 0
    parked: Sequence[StoredEvent] = ()
    dead: Sequence[StoredEvent] = ()
    resolved: Sequence[StoredEvent] = ()
    tried: Sequence[StoredEvent] = ()
    carried: Sequence[tuple[bytes, int, int]] = ()
    """Segment, and the range of it that these settled copies came from."""
    delivered_ids: Sequence[str] = ()
    raised: Sequence[StoredEvent] = ()
    discarded: int = 0


def page_of(table: Table) -> str:
    """Return the query for a page of rows behind an id."""
    high = f"(SELECT {table}_high FROM settled WHERE segment = x'')"  # noqa: S608  # the table names are ours
    return f"SELECT _id, data FROM queue_{table} WHERE _id > ? AND _id <= {high} ORDER BY _id LIMIT ?"  # noqa: S608


def as_row(counts: QueueStats, high: Mapping[Table, int]) -> tuple[int, ...]:
    """Return the values of :data:`COUNTERS`."""
    settled = (counts.accepted, counts.delivered, counts.parked, counts.dead_lettered, counts.discarded)
    return (*settled, high["parked"], high["dead"])
