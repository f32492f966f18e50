"""What is in the books: their tables, what they say in memory, and reading them from any process.

In memory is all but the parked events and dead letters: as it is read from the books, and as it is entered into new
ones when they are damaged.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from lotus_durable.disk import DatabaseDamaged, is_file
from lotus_durable.errors import QueueDamaged

from .format import Origin
from .protocol import Cursor, StoredEvent, Table, decode_stored_event
from .reader import START, Position
from .stats import QueueStats
from .table import fetched, read_only, read_pages

_MOST = 1 << 62  # SQLite adds to it
_FEW = 1_000  # rows taken over in one transaction
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


def read_all(path: str, table: Table, report: Callable[[QueueDamaged], None], after: int = 0) -> Iterator[StoredEvent]:
    """Give all rows behind one, by id, a page at a time; what cannot be read is reported."""
    rows = read_pages(lambda row, limit: fetched(path, page_of(table), (row, limit)), report, after)
    return (decode_stored_event(row, data) for row, data in rows)


def read_learned(path: str, name: str) -> str | None:
    """Return what the flusher learned under this name; None where there is no such thing.

    Raises:
        OSError: the disk refuses.
        DatabaseDamaged: (an OSError) it cannot be read.
    """
    found = fetched(path, "SELECT value FROM learned WHERE name = ?", (name,))
    return str(found[0][0]) if found else None


class Ranges:
    """Which parts of a segment were settled through copies: byte offsets, as ranges that neither overlap nor touch.

    They are few, because what is carried is consecutive.
    """

    def __init__(self) -> None:
        self._edges: list[int] = []  # in turn where one starts, and ends

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Give (start, end) of each range."""
        return iter(zip(self._edges[::2], self._edges[1::2], strict=True))

    def __contains__(self, offset: int) -> bool:
        return bisect_right(self._edges, offset) % 2 == 1

    def add(self, start: int, end: int) -> None:
        """Add the offsets from ``start`` up to ``end``, which is not one of them."""
        first, last = bisect_left(self._edges, start), bisect_right(self._edges, end)
        # Of the new edges those stay that lie in no other range.
        self._edges[first:last] = [start] * (first % 2 == 0) + [end] * (last % 2 == 0)

    def without(self, end: int) -> Ranges:
        """Return the ranges that go beyond this offset."""
        left = Ranges()
        for start, stop in self:
            if stop > end:
                left.add(start, stop)
        return left


@dataclass(slots=True, eq=False)
class Known:
    """All that the books say but the parked events and dead letters themselves."""

    counts: QueueStats = field(default_factory=QueueStats)
    """Of what is settled."""
    high: dict[Table, int] = field(default_factory=lambda: {"parked": 0, "dead": 0})
    """The last row of each table that counts."""
    cursors: dict[bytes, Cursor] = field(default_factory=dict)
    carried: dict[bytes, Ranges] = field(default_factory=dict)
    retired: dict[bytes, Position] = field(default_factory=dict)
    learned: dict[str, str] = field(default_factory=dict)

    def load(self, connection: sqlite3.Connection) -> None:
        """Read it; of damaged books what can be.

        Raises:
            DatabaseDamaged: (an OSError) SQLite gives back what nobody has written: it has no checksums.
        """
        strange = []

        def rows(statement: str, *kinds: type) -> Iterator[tuple[Any, ...]]:
            for row in connection.execute(statement):
                if (*map(type, row),) == kinds and all(0 <= each <= _MOST for each in row if type(each) is int):
                    yield row
                else:
                    strange.append(row)

        counters = [*rows(f"SELECT {COUNTERS} FROM settled WHERE segment = x''", *[int] * 8)]  # noqa: S608  # ours
        for accepted, delivered, handed_over, parked, dead, discarded, *high in counters:
            self.counts = QueueStats(accepted, delivered, handed_over, 0, parked, dead, discarded)
            self.high["parked"], self.high["dead"] = high
        cursors = "SELECT segment, name, offset, sequence FROM settled WHERE segment > x''"
        for segment, *cursor in rows(cursors, bytes, str, int, int):
            self.cursors[segment] = Cursor(*cursor)
        for segment, start, stop in rows("SELECT * FROM carried", bytes, int, int):
            self.carried.setdefault(segment, Ranges()).add(start, stop)
        for segment, *end in rows("SELECT segment, offset, sequence FROM retired ORDER BY id", bytes, int, int):
            self.retired[segment] = (end[0], end[1])
        self.learned.update(rows("SELECT * FROM learned", str, str))
        if strange or not counters:
            raise DatabaseDamaged(f"the books have rows that nobody has written: {len(strange) or 1}")

    def cursor(self, segment: bytes) -> Position:
        """Return up to where a segment is settled; from there on parts may be, through copies."""
        cursor = self.cursors.get(segment)
        return self.retired.get(segment, START) if cursor is None else (cursor.offset, cursor.sequence)

    def is_settled(self, place: Origin) -> bool:
        """Whether what lies there is settled, whichever way."""
        segment, offset = place
        return offset < self.cursor(segment)[0] or offset in self.carried.get(segment, ())

    def enter(self, connection: sqlite3.Connection, damaged: str) -> int:
        """Enter it into new books, with the rows that can be read of damaged ones; return how many rows are lost."""
        lost = self._take_over_rows(connection, damaged)
        many = connection.executemany
        many(SET_CURSOR, [(segment, *cursor) for segment, cursor in self.cursors.items()])
        ranges = [(segment, *each) for segment, of_segment in self.carried.items() for each in of_segment]
        many("INSERT INTO carried VALUES (?, ?, ?)", ranges)
        retired = [(segment, *end) for segment, end in self.retired.items()]
        many("INSERT INTO retired (segment, offset, sequence) VALUES (?, ?, ?)", retired)
        many("INSERT INTO learned VALUES (?, ?)", self.learned.items())
        connection.commit()
        return lost

    def _take_over_rows(self, connection: sqlite3.Connection, damaged: str) -> int:
        """Enter the rows that can be read, under their ids, a dead letter for each that cannot, and the counters."""
        was = self.counts
        lost = 0
        found = {"parked": 0, "dead": 0}
        high = self.high.copy()
        now = time.time()
        tables: tuple[tuple[Table, int], ...] = (("parked", was.parked), ("dead", was.dead_lettered))
        for table, count in tables:
            rows = _readable(damaged, table, high[table])
            while page := list(islice(rows, _FEW)):
                connection.executemany(INSERT[table], ((*row, now) for row in page))
                connection.commit()
                found[table] += len(page)
                high[table] = max(high[table], page[-1][0])
            lost += max(0, count - found[table])
        why = "it was a parked event or a dead letter, in books that are damaged"
        letter = StoredEvent(b"", why, 0, now, now).encode()
        connection.executemany(INSERT["dead"], ((high["dead"] + each, letter, now) for each in range(1, lost + 1)))
        high["dead"] += lost
        dead = found["dead"] + lost
        accepted = was.delivered + was.handed_over + was.discarded + found["parked"] + dead
        counts = was._replace(accepted=accepted, parked=found["parked"], dead_lettered=dead)
        connection.execute(SET_COUNTERS, as_row(counts, high))
        return lost


def _readable(path: str, table: Table, high: int) -> Iterator[tuple[Any, ...]]:
    """Give the rows of a damaged database that can be read, up to row ``high`` if that is known, by id."""
    last = f"_id <= {high}" if high else "1"
    statement = f"SELECT _id, data FROM queue_{table} WHERE _id >= ? + 1 AND {last} ORDER BY _id LIMIT ?"  # noqa: S608  # ours
    if not is_file(path):
        return
    with contextlib.suppress(sqlite3.Error), contextlib.closing(read_only(path)) as connection:

        def page(after: int, limit: int) -> list[tuple[Any, ...]]:
            try:
                return connection.execute(statement, (after, limit)).fetchall()
            except sqlite3.DatabaseError as error:  # whatever it is: what is behind it may be readable
                raise DatabaseDamaged(str(error)) from error

        yield from read_pages(page, lambda _: None)
