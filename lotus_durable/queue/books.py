"""The books: one SQLite database, ``books.db``, that only the flusher writes, and in it what became of the events.

=========================  ==========================================================================================
``queue_parked``           the events the server refused for now, and
``queue_dead``             the dead letters: persist-queue's tables (:mod:`.table`), MessagePack, never pickle
``settled``                for each segment, by the id in its header, up to where it is settled; and in a row with an
                           empty id :class:`Counters`, so that a settlement changes few pages
``carried``                ranges of segments that were settled by way of copies in others, see :mod:`.consumer`
``retired``                the segments that were deleted lately, and where they ended
``delivered``              the ids delivered lately, see :mod:`.lately`
``learned``                names and values: what the flusher found out about the server
``padding``                empty; see :mod:`.reserve`
=========================  ==========================================================================================

Invariants:

- a settlement is one transaction: cursor, counters, rows, carried ranges and delivered ids. Rows that are too many for
  one are inserted before it, with ids above ``parked_high`` and ``dead_high``, and do not count until it raises these.
- a power cut may undo the last settlements, each as a whole (see :mod:`.database`), and their events are still in their
  segments then. :meth:`Books.sync` must return before anything is deleted for them.
- what is committed is in the memory of the one :class:`Books` too; the database is read when it is opened, and for a
  page of parked events.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from functools import partial
from typing import NamedTuple

from .carried import Ranges
from .database import BooksDatabase, read_only
from .lately import CHUNK_SIZE, Chunk, DeliveredLately, Piece, bytes_to_write, pieces
from .protocol import StoredEvent, Table, decode_stored_event
from .reader import Position
from .reserve import PAGE, Reserve, pages_for
from .table import mapped

VERSION = 1
_RETIRED_KEPT = 20_000
"""Segments that were deleted and are still known, for when a copy of what was in them turns up."""

_COUNTERS = "accepted, delivered, parked, dead_lettered, discarded, parked_bytes, parked_high, dead_high"
_SCHEMA = (
    f"CREATE TABLE settled (segment BLOB PRIMARY KEY, name, offset, sequence, {_COUNTERS}) WITHOUT ROWID",
    "CREATE TABLE carried (segment BLOB, start INTEGER, stop INTEGER, PRIMARY KEY (segment, start)) WITHOUT ROWID",
    "CREATE TABLE retired (id INTEGER PRIMARY KEY, segment BLOB, offset INTEGER, sequence INTEGER)",
    "CREATE TABLE delivered (id INTEGER PRIMARY KEY, ids BLOB)",
    "CREATE TABLE learned (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID",
    "CREATE TABLE padding (data BLOB)",
    "INSERT INTO settled VALUES (x'', NULL, NULL, NULL, 0, 0, 0, 0, 0, 0, 0, 0)",
)
_SET_COUNTERS = f"UPDATE settled SET ({_COUNTERS}) = (?, ?, ?, ?, ?, ?, ?, ?) WHERE segment = x''"
_SET_CURSOR = "INSERT OR REPLACE INTO settled (segment, name, offset, sequence) VALUES (?, ?, ?, ?)"
_INSERT: dict[Table, str] = {
    "parked": "INSERT INTO queue_parked (data, timestamp) VALUES (?, ?)",
    "dead": "INSERT INTO queue_dead (data, timestamp) VALUES (?, ?)",
}


@dataclass(frozen=True, slots=True)
class Counters:
    """What is counted: ``accepted = delivered + parked + dead_lettered + discarded``, without what is pending."""

    accepted: int = 0
    """Events whose place in the queue is settled, counted by their places; the others are counted by their verdicts."""
    delivered: int = 0
    parked: int = 0
    dead_lettered: int = 0
    discarded: int = 0
    parked_bytes: int = 0
    """Of the records that are parked."""
    parked_high: int = 0
    """Rows with a larger id are of a settlement that was never committed."""
    dead_high: int = 0


class Cursor(NamedTuple):
    """Up to where a segment (or the rows of ``queue.db``) is settled."""

    name: str
    """That its writer gave it."""
    offset: int
    sequence: int


@dataclass(frozen=True, slots=True)
class Entry:
    """What one settlement enters."""

    cursors: Mapping[bytes, Cursor] = field(default_factory=dict)
    accepted: int = 0
    delivered: int = 0
    parked: Sequence[StoredEvent] = ()
    dead: Sequence[StoredEvent] = ()
    resolved: Sequence[StoredEvent] = ()
    carried: Sequence[tuple[bytes, int, int]] = ()
    """Segment, and the range of it that these settled copies came from."""
    delivered_ids: Sequence[str] = ()


class Books:
    """The books, and what they say in memory; they are not open until :meth:`open`.

    Attributes:
        is_new: there were none.
    """

    _database: BooksDatabase

    def __init__(self, path: str) -> None:
        self.path = path
        self.counters = Counters()
        self.cursors: dict[bytes, Cursor] = {}
        self.carried: dict[bytes, Ranges] = {}
        self.retired: dict[bytes, Position] = {}
        self.learned: dict[str, str] = {}
        self.delivered = DeliveredLately()
        self.is_new = False
        self.is_open = False
        self._expected = 0  # bytes

    def open(self) -> None:
        """Open them, or make them.

        Raises:
            OSError: the disk refuses.
            DatabaseDamaged: (an OSError) it is no database; what could be read of it is known all the same.
            QueueDamaged: a newer version made them; nothing was changed.
        """
        self._database = BooksDatabase(self.path, VERSION, _SCHEMA)
        self.is_new = self._database.is_new
        self.is_open = True
        try:
            self._database.do(self._load)
        except BaseException:
            self.abandon()
            raise

    def settle(self, entry: Entry) -> None:
        """Commit.

        Raises:
            OSError: the disk refuses; nothing of it counts.
            DatabaseDamaged: (an OSError) so it does, and will.
        """
        parked = [event.encode() for event in entry.parked]
        dead = [event.encode() for event in entry.dead]
        high: dict[Table, int] = {"parked": self.counters.parked_high, "dead": self.counters.dead_high}
        if parked or dead:
            needed = pages_for([*parked, *dead])
            self._database.do(lambda: self._reserve.ensure(needed))
            rows: dict[Table, list[bytes]] = {"parked": parked, "dead": dead}
            # What does not fit into one transaction goes ahead, and counts with the rest of it.
            for table, waiting in rows.items():
                while len(waiting) > 1 and pages_for([*parked, *dead]) > self._reserve.most:
                    piece = _cut_off(waiting, self._reserve.most * PAGE // 2)
                    high[table] = self._database.commit(partial(self._insert, table, piece, 0))
        ids = self._ids_to_enter(entry.delivered_ids) if entry.delivered_ids else None
        self.counters = self._database.commit(lambda: self._enter(entry, parked, dead, high, ids))
        self.cursors.update(entry.cursors)
        for segment, start, stop in entry.carried:
            self.carried.setdefault(segment, Ranges()).add(start, stop)
        if ids is not None:
            self.delivered.add(*ids)

    def page(self, table: Table, after: int, limit: int) -> list[StoredEvent]:
        """Return up to ``limit`` rows with an id above ``after``, by id.

        Raises:
            OSError: the disk refuses.
            DatabaseDamaged: (an OSError) a page of the database cannot be read.
        """
        connection = self._database.connection
        rows = self._database.do(lambda: connection.execute(_page(table), (after, limit)).fetchall())
        return [decode_stored_event(row, data) for row, data in rows]

    def learn(self, name: str, value: str) -> None:
        """Keep what was found out.

        Raises:
            OSError: the disk refuses.
        """
        if self.learned.get(name) != value:
            statement = "INSERT OR REPLACE INTO learned VALUES (?, ?)"
            self._database.commit(lambda: self._database.connection.execute(statement, (name, value)))
            self.learned[name] = value

    def forget(self, segments: Mapping[bytes, Position]) -> None:
        """Note that these segments, settled to their ends, were deleted.

        Raises:
            OSError: the disk refuses.
        """

        def work() -> None:
            execute = self._database.connection.executemany
            rows = [(segment, *end) for segment, end in segments.items()]
            execute("DELETE FROM settled WHERE segment = ?", [row[:1] for row in rows])
            execute("DELETE FROM carried WHERE segment = ? AND stop <= ?", [row[:2] for row in rows])
            execute("INSERT INTO retired (segment, offset, sequence) VALUES (?, ?, ?)", rows)
            execute("DELETE FROM retired WHERE id <= (SELECT max(id) FROM retired) - ?", [(_RETIRED_KEPT,)])

        self._database.commit(work)
        for segment, end in segments.items():
            self.cursors.pop(segment, None)
            if segment in self.carried and not (left := self.carried.pop(segment).without(end[0])).is_empty():
                self.carried[segment] = left
            self.retired[segment] = end
        while len(self.retired) > _RETIRED_KEPT:
            del self.retired[next(iter(self.retired))]

    def begin_with(self, old: Books) -> None:
        """Enter, into new books, what others have in memory; the rows are not there.

        Raises:
            OSError: the disk refuses.
        """
        was = old.counters
        counters = replace(was, accepted=was.delivered + was.discarded, parked=0, dead_lettered=0, parked_bytes=0)
        carried = [(segment, *each) for segment, ranges in old.carried.items() for each in ranges]

        def work() -> None:
            execute = self._database.connection.executemany
            execute(_SET_COUNTERS, [astuple(counters)])
            execute(_SET_CURSOR, [(segment, *cursor) for segment, cursor in old.cursors.items()])
            execute("INSERT INTO carried VALUES (?, ?, ?)", carried)
            retired = [(segment, *end) for segment, end in old.retired.items()]
            execute("INSERT INTO retired (segment, offset, sequence) VALUES (?, ?, ?)", retired)
            execute("INSERT INTO learned VALUES (?, ?)", old.learned.items())
            # No row gets an id that another one had.
            high = [("queue_parked", was.parked_high), ("queue_dead", was.dead_high)]
            execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", high)

        needed = 4 + (len(old.cursors) + len(old.retired) + len(carried)) // 10
        self._database.do(lambda: self._reserve.ensure(needed))
        self._database.commit(work)
        self.counters = counters
        for chunk in old.delivered.chunks:
            self.settle(Entry(delivered_ids=chunk.ids))

    def take_over(self, table: Table, events: Sequence[StoredEvent]) -> None:
        """Enter, into new books, rows of others, with their ids.

        Raises:
            OSError: the disk refuses.
        """
        now = time.time()
        rows = [(event.id, event.encode(), now) for event in events]
        old = self.counters
        if table == "parked":
            high = max(old.parked_high, events[-1].id)
            size = old.parked_bytes + _bytes(events)
            counters = replace(old, parked=old.parked + len(rows), parked_high=high, parked_bytes=size)
        else:
            high = max(old.dead_high, events[-1].id)
            counters = replace(old, dead_lettered=old.dead_lettered + len(rows), dead_high=high)
        counters = replace(counters, accepted=old.accepted + len(rows))

        def work() -> None:
            self._database.connection.executemany(f"INSERT INTO queue_{table} VALUES (?, ?, ?)", rows)
            self._database.connection.execute(_SET_COUNTERS, astuple(counters))

        self._database.do(lambda: self._reserve.ensure(pages_for(row[1] for row in rows)))
        self._database.commit(work)
        self.counters = counters

    def expect(self, size: int) -> None:
        """Prepare for a segment of this size, all of which may be refused: as far as the disk has room."""
        if size > self._expected:
            self._expected = size
            with contextlib.suppress(OSError):
                self._database.do(lambda: self._reserve.expect(size))

    def sync(self) -> None:
        """Make every settlement so far survive a power cut; see :meth:`.BooksDatabase.sync`."""
        self._database.sync()

    def is_in_place(self) -> bool:
        """Whether they are where the path leads; see :meth:`.BooksDatabase.is_in_place`."""
        return self._database.is_in_place()

    def copy_to(self, path: str) -> None:
        """Write all of them to a new file; see :meth:`.BooksDatabase.copy_to`."""
        self._database.copy_to(path)

    def close(self) -> None:
        """Let go of the files; see :meth:`.BooksDatabase.close`."""
        if self.is_open:
            self.is_open = False
            self._database.close()

    def abandon(self) -> None:
        """Let go of the files as they are; see :meth:`.BooksDatabase.abandon`."""
        if self.is_open:
            self.is_open = False
            self._database.abandon()

    @property
    def _reserve(self) -> Reserve:
        return self._database.reserve

    def _load(self) -> None:
        read = self._database.connection.execute
        self.counters = Counters(*read(f"SELECT {_COUNTERS} FROM settled WHERE segment = x''").fetchone())
        for segment, *cursor in read("SELECT segment, name, offset, sequence FROM settled WHERE segment > x''"):
            self.cursors[segment] = Cursor(*cursor)
        for segment, start, stop in read("SELECT * FROM carried"):
            self.carried.setdefault(segment, Ranges()).add(start, stop)
        for segment, *end in read("SELECT segment, offset, sequence FROM retired ORDER BY id"):
            self.retired[segment] = (end[0], end[1])
        self.learned.update(read("SELECT * FROM learned").fetchall())
        self.delivered.load(read("SELECT id, ids FROM delivered"))
        read("DELETE FROM queue_parked WHERE _id > ?", (self.counters.parked_high,))
        read("DELETE FROM queue_dead WHERE _id > ?", (self.counters.dead_high,))

    def _ids_to_enter(self, ids: Sequence[str]) -> tuple[Piece, Chunk] | None:
        """Return the ids that the settlement enters, and where.

        Most are all in one piece. Others go ahead: that they are known before their settlement does no harm.
        """
        waiting = None
        for piece in pieces(ids):
            if waiting is not None:
                self._database.commit(partial(self._write_ids, *waiting))
                self.delivered.add(*waiting)
            chunk = self.delivered.next_chunk(len(piece.data)) or self._another_chunk()
            waiting = None if chunk is None else (piece, chunk)
        return waiting

    def _another_chunk(self) -> Chunk | None:
        statement = "INSERT INTO delivered (ids) VALUES (zeroblob(?))"
        try:
            self._database.do(lambda: self._reserve.ensure(CHUNK_SIZE // PAGE + 4))
            cursor = self._database.commit(lambda: self._database.connection.execute(statement, (CHUNK_SIZE,)))
        except OSError:
            # On a full disk the oldest go, however young they are.
            return self.delivered.next_chunk(CHUNK_SIZE, must_reuse=True)
        self.delivered.add_chunk(cursor.lastrowid or 0)
        return self.delivered.chunks[-1]

    def _write_ids(self, piece: Piece, chunk: Chunk) -> None:
        start, data = bytes_to_write(chunk, piece)
        with self._database.connection.blobopen("delivered", "ids", chunk.row) as blob:
            blob.seek(start)
            blob.write(data)

    def _enter(
        self,
        entry: Entry,
        parked: Sequence[bytes],
        dead: Sequence[bytes],
        high: Mapping[Table, int],
        ids: tuple[Piece, Chunk] | None,
    ) -> Counters:
        connection = self._database.connection
        old = self.counters
        gone = 0
        if entry.resolved:
            rows = [(event.id,) for event in entry.resolved]
            gone = connection.executemany("DELETE FROM queue_parked WHERE _id = ?", rows).rowcount
        counters = Counters(
            # A parked event that is no longer in its row was counted otherwise already, as lost in damaged books say.
            old.accepted + entry.accepted + len(entry.resolved) - gone,
            old.delivered + entry.delivered,
            old.parked + len(entry.parked) - gone,
            old.dead_lettered + len(entry.dead),
            old.discarded,
            max(0, old.parked_bytes + _bytes(entry.parked) - _bytes(entry.resolved)),
            self._insert("parked", parked, high["parked"]),
            self._insert("dead", dead, high["dead"]),
        )
        connection.execute(_SET_COUNTERS, astuple(counters))
        for segment, cursor in entry.cursors.items():
            connection.execute(_SET_CURSOR, (segment, *cursor))
        for segment, start, stop in entry.carried:
            connection.execute("INSERT OR REPLACE INTO carried VALUES (?, ?, ?)", (segment, start, stop))
        if ids is not None:
            self._write_ids(*ids)
        return counters

    def _insert(self, table: Table, rows: Sequence[bytes], high: int) -> int:
        """Insert rows and return the last one's id; ``high`` when there are none."""
        if not rows:
            return high
        now = time.time()
        connection = self._database.connection
        connection.executemany(_INSERT[table], [(data, now) for data in rows])
        return int(connection.execute(f"SELECT max(_id) FROM queue_{table}").fetchone()[0])


def read_page(path: str, table: Table, after: int, limit: int) -> list[StoredEvent]:
    """Return up to ``limit`` rows with an id above ``after``, by id, from any process; none where there are no books.

    The connection is closed on return: an open cursor would keep the flusher from writing its log back.

    Raises:
        OSError: the disk refuses.
        DatabaseDamaged: (an OSError) it cannot be read.
    """
    if not os.path.exists(path):
        return []
    try:
        with contextlib.closing(read_only(path)) as connection:
            rows = connection.execute(_page(table), (after, limit)).fetchall()
    except sqlite3.Error as error:
        raise mapped(error, "the books") from error
    return [decode_stored_event(row, data) for row, data in rows]


def read_learned(path: str, name: str) -> str | None:
    """Return what the flusher learned under this name, from any process; None where it did not, or there are no books.

    Raises:
        OSError: the disk refuses.
    """
    if not os.path.exists(path):
        return None
    try:
        with contextlib.closing(read_only(path)) as connection:
            found = connection.execute("SELECT value FROM learned WHERE name = ?", (name,)).fetchone()
    except sqlite3.Error as error:
        raise mapped(error, "the books") from error
    return None if found is None else str(found[0])


def _page(table: Table) -> str:
    return (
        f"SELECT _id, data FROM queue_{table} WHERE _id > ? "
        f"AND _id <= (SELECT {table}_high FROM settled WHERE segment = x'') ORDER BY _id LIMIT ?"
    )


def _cut_off(rows: list[bytes], most: int) -> list[bytes]:
    """Take rows of up to ``most`` bytes, one at the least, off the beginning."""
    size = len(rows[0])
    count = 1
    while count < len(rows) and (size := size + len(rows[count])) <= most:
        count += 1
    piece = rows[:count]
    del rows[:count]
    return piece


def _bytes(events: Sequence[StoredEvent]) -> int:
    return sum(len(event.record) for event in events)
