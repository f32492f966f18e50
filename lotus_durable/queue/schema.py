"""What is in the books: their tables."""

from __future__ import annotations

from collections.abc import Mapping

from .protocol import Table
from .stats import QueueStats

VERSION = 1

COUNTERS = "accepted, delivered, handed_over, parked, dead_lettered, discarded, parked_high, dead_high"
"""Of what is settled; rows of parked events and dead letters with a larger id are of a settlement that was never
committed."""
SCHEMA = (
    f"CREATE TABLE settled (segment BLOB PRIMARY KEY, name, offset, sequence, {COUNTERS}) WITHOUT ROWID",
    "CREATE TABLE carried (segment BLOB, start INTEGER, stop INTEGER, PRIMARY KEY (segment, start)) WITHOUT ROWID",
    "CREATE TABLE retired (id INTEGER PRIMARY KEY, segment BLOB, offset INTEGER, sequence INTEGER)",
    "CREATE TABLE learned (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID",
    "CREATE TABLE padding (data BLOB)",
    "INSERT INTO settled VALUES (x'', NULL, NULL, NULL, 0, 0, 0, 0, 0, 0, 0, 0)",
)
SET_COUNTERS = f"UPDATE settled SET ({COUNTERS}) = (?, ?, ?, ?, ?, ?, ?, ?) WHERE segment = x''"  # noqa: S608  # ours
SET_CURSOR = "INSERT OR REPLACE INTO settled (segment, name, offset, sequence) VALUES (?, ?, ?, ?)"
INSERT: dict[Table, str] = {
    "parked": "INSERT INTO queue_parked (data, timestamp) VALUES (?, ?)",
    "dead": "INSERT INTO queue_dead (data, timestamp) VALUES (?, ?)",
}


def page_of(table: Table) -> str:
    """Return the query for a page of rows behind an id; see :func:`.table.read_pages`."""
    high = f"(SELECT {table}_high FROM settled WHERE segment = x'')"  # noqa: S608  # the table names are ours
    return f"SELECT _id, data FROM queue_{table} WHERE _id >= ? + 1 AND _id <= {high} ORDER BY _id LIMIT ?"  # noqa: S608


def as_row(counts: QueueStats, high: Mapping[Table, int]) -> tuple[int, ...]:
    """Return the values of :data:`COUNTERS`."""
    gone = (counts.accepted, counts.delivered, counts.handed_over)
    return (*gone, counts.parked, counts.dead_lettered, counts.discarded, high["parked"], high["dead"])
