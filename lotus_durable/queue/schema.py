"""What is in the books: their tables, and reading them from any process, also while the flusher writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from lotus_durable.errors import QueueDamaged

from .protocol import StoredEvent, Table, decode_stored_event
from .stats import QueueStats
from .table import fetched, read_pages

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
# REPLACE: one of a settlement that was never committed may lie there.
INSERT: dict[Table, str] = {
    "parked": "INSERT OR REPLACE INTO queue_parked (_id, data, timestamp) VALUES (?, ?, ?)",
    "dead": "INSERT OR REPLACE INTO queue_dead (_id, data, timestamp) VALUES (?, ?, ?)",
}


def page_of(table: Table) -> str:
    """Return the query for a page of rows behind an id; see :func:`.table.read_pages`."""
    high = f"(SELECT {table}_high FROM settled WHERE segment = x'')"  # noqa: S608  # the table names are ours
    return f"SELECT _id, data FROM queue_{table} WHERE _id >= ? + 1 AND _id <= {high} ORDER BY _id LIMIT ?"  # noqa: S608


def as_row(counts: QueueStats, high: Mapping[Table, int]) -> tuple[int, ...]:
    """Return the values of :data:`COUNTERS`."""
    gone = (counts.accepted, counts.delivered, counts.handed_over)
    return (*gone, counts.parked, counts.dead_lettered, counts.discarded, high["parked"], high["dead"])


def read_page(path: str, table: Table, after: int, limit: int) -> list[StoredEvent]:
    """Return up to ``limit`` rows with an id above ``after``, by id; none where there are no books.

    Raises:
        OSError: the disk refuses.
        DatabaseDamaged: (an OSError) it cannot be read.
    """
    return [decode_stored_event(row, data) for row, data in fetched(path, page_of(table), (after, limit))]


def read_all(path: str, table: Table, report: Callable[[QueueDamaged], None], after: int = 0) -> Iterator[StoredEvent]:
    """Give all rows behind one, a page at a time; what cannot be read is reported."""
    rows = read_pages(lambda row, limit: fetched(path, page_of(table), (row, limit)), report, after)
    return (decode_stored_event(row, data) for row, data in rows)


def read_learned(path: str, name: str) -> str | None:
    """Return what the flusher learned under this name; None where there is no such thing. Raises as a page does."""
    found = fetched(path, "SELECT value FROM learned WHERE name = ?", (name,))
    return str(found[0][0]) if found else None
