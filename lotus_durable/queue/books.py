"""The books: one SQLite database, ``books.db``, that only the flusher writes, and in it what became of the events.

=========================  ==========================================================================================
``queue_parked``           the events the server refused for now, and
``queue_dead``             the dead letters: persist-queue's tables (:mod:`.table`), MessagePack, never pickle
``counters``               one row: :class:`Counters`
``cursor``                 for each segment, by the id in its header, up to where it is settled
``carried``                ranges of segments that were settled by way of copies in others, see :mod:`.consumer`
``retired``                the segments that were deleted lately, with the offset of their end
``delivered``              the ids delivered lately, one row a settlement
``learned``                names and values: what the flusher found out about the server
``padding``                empty; see :mod:`.reserve`
=========================  ==========================================================================================

Invariants:

- a settlement is one transaction: cursor, counters, rows, carried ranges and delivered ids. Rows that are too many for
  one are inserted before it, with ids above ``parked_high`` and ``dead_high``, and do not count until it raises these.
- commits are not synced (WAL, ``synchronous=NORMAL``): a power cut may undo the last settlements, each as a whole, and
  their events are still in their segments then. :meth:`Books.sync` must return before anything is deleted for them.
- what is committed is in the memory of the one :class:`Books` too; the database is read when it is opened, and for a
  page of parked events.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar
from urllib.parse import quote

from lotus_durable.errors import QueueDamaged

from .carried import Ranges
from .files import FILE_MODE, sync_data
from .lately import DeliveredBatch, DeliveredLately
from .protocol import StoredEvent, Table, decode_stored_event
from .reserve import Reserve, is_full, pages_of
from .table import LOCK_TIMEOUT, EventTable, mapped

FILE = "books.db"
VERSION = 1

_WHAT = "the books"
_SCHEMA = (
    (
        "CREATE TABLE counters (id INTEGER PRIMARY KEY, accepted INTEGER, delivered INTEGER, parked INTEGER,"
        " dead_lettered INTEGER, discarded INTEGER, parked_bytes INTEGER, parked_high INTEGER, dead_high INTEGER)"
    ),
    "CREATE TABLE cursor (segment BLOB PRIMARY KEY, name TEXT, offset INTEGER, sequence INTEGER) WITHOUT ROWID",
    "CREATE TABLE carried (segment BLOB, start INTEGER, stop INTEGER, PRIMARY KEY (segment, start)) WITHOUT ROWID",
    "CREATE TABLE retired (id INTEGER PRIMARY KEY, segment BLOB, stop INTEGER)",
    "CREATE TABLE delivered (id INTEGER PRIMARY KEY, time REAL, ids TEXT)",
    "CREATE TABLE learned (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID",
    "CREATE TABLE padding (data BLOB)",
    "INSERT INTO counters VALUES (1, 0, 0, 0, 0, 0, 0, 0, 0)",
    f"PRAGMA user_version={VERSION}",
)
_SET_COUNTERS = (
    "UPDATE counters SET accepted=?, delivered=?, parked=?, dead_lettered=?, discarded=?, parked_bytes=?,"
    " parked_high=?, dead_high=?"
)
_SET_CURSOR = "INSERT OR REPLACE INTO cursor VALUES (?, ?, ?, ?)"
_INSERT: dict[Table, str] = {
    "parked": "INSERT INTO queue_parked (data, timestamp) VALUES (?, ?)",
    "dead": "INSERT INTO queue_dead (data, timestamp) VALUES (?, ?)",
}
_RETIRED_KEPT = 20_000
"""Segments that were deleted and are still known, for when a copy of what was in them turns up."""
_T = TypeVar("_T")


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
    """The file's name when it was last settled."""
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
    """The books. For one thread of the one flusher, which never forks: one connection, for as long as they are open.

    Attributes:
        is_new: there were none.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.counters = Counters()
        self.cursors: dict[bytes, Cursor] = {}
        self.carried: dict[bytes, Ranges] = {}
        self.retired: dict[bytes, int] = {}
        self.learned: dict[str, str] = {}
        self.delivered = DeliveredLately()
        self.is_new = False
        self._expected = 0  # bytes
        self._descriptor = self._log = -1
        self._table: EventTable | None = None

    @property
    def is_open(self) -> bool:
        return self._table is not None

    def open(self) -> None:
        """Open them, or make them.

        Raises:
            OSError: the disk refuses.
            DatabaseDamaged: (an OSError) it is no database; what could be read of it is known all the same.
            QueueDamaged: a newer version made them; nothing was changed.
        """
        # First opened and last closed, and never in between: POSIX gives up a process's locks on a file, SQLite's too,
        # with any of its descriptors.
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        try:
            self._open()
        except sqlite3.Error as error:
            self.abandon()
            raise mapped(error, _WHAT) from error
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
        if parked or dead or entry.delivered_ids:
            needed = _size(parked) + _size(dead) + _size(entry.delivered_ids)
            self._do(lambda: self._reserve.ensure(pages_of(needed)))
        # What does not fit into one transaction goes ahead, and counts with the rest of it.
        most = self._reserve.most * 4096 // 3
        high: dict[Table, int] = {"parked": self.counters.parked_high, "dead": self.counters.dead_high}
        rows: dict[Table, list[bytes]] = {"parked": parked, "dead": dead}
        for table, waiting in rows.items():
            while len(waiting) > 1 and _size(parked) + _size(dead) > most:
                piece = _cut_off(waiting, most)
                high[table] = self._commit(partial(self._insert, table, piece, 0))
        counters, row = self._commit(lambda: self._enter(entry, parked, dead, high))
        self.counters = counters
        self.cursors.update(entry.cursors)
        for segment, start, stop in entry.carried:
            self.carried.setdefault(segment, Ranges()).add(start, stop)
        if entry.delivered_ids:
            self.delivered.add(DeliveredBatch(row, time.time(), entry.delivered_ids))

    def page(self, table: Table, after: int, limit: int) -> list[StoredEvent]:
        """Return up to ``limit`` rows with an id above ``after``, by id.

        Raises:
            OSError: the disk refuses.
            DatabaseDamaged: (an OSError) a page of the database cannot be read.
        """
        rows = self._do(lambda: self._connection.execute(_page(table), (after, limit)).fetchall())
        return [decode_stored_event(row, data) for row, data in rows]

    def last_parked(self) -> int:
        """Return the id of the last parked event, 0 when there is none."""
        return self.counters.parked_high

    def learn(self, name: str, value: str) -> None:
        """Keep what was found out.

        Raises:
            OSError: the disk refuses.
        """
        if self.learned.get(name) != value:
            statement = "INSERT OR REPLACE INTO learned VALUES (?, ?)"
            self._commit(lambda: self._connection.execute(statement, (name, value)))
            self.learned[name] = value

    def forget(self, segments: Mapping[bytes, int]) -> None:
        """Note that these segments, settled to these offsets, were deleted for good.

        Raises:
            OSError: the disk refuses.
        """

        def work() -> None:
            for table in ("cursor", "carried"):
                self._connection.executemany(f"DELETE FROM {table} WHERE segment = ?", [(each,) for each in segments])
            self._connection.executemany("INSERT INTO retired (segment, stop) VALUES (?, ?)", segments.items())
            self._connection.execute(
                "DELETE FROM retired WHERE id <= (SELECT max(id) FROM retired) - ?", (_RETIRED_KEPT,)
            )

        self._commit(work)
        for segment, stop in segments.items():
            self.cursors.pop(segment, None)
            self.carried.pop(segment, None)
            self.retired[segment] = stop
        while len(self.retired) > _RETIRED_KEPT:
            del self.retired[next(iter(self.retired))]

    def begin_with(self, old: Books) -> None:
        """Enter, into new books, what others have in memory; their rows are not there.

        Raises:
            OSError: the disk refuses.
        """
        done = old.counters.delivered + old.counters.discarded
        counters = Counters(accepted=done, delivered=old.counters.delivered, discarded=old.counters.discarded)
        carried = [(segment, *each) for segment, ranges in old.carried.items() for each in ranges]
        delivered = [(each.row, each.time, "\n".join(each.ids)) for each in old.delivered]

        def work() -> None:
            execute = self._connection.executemany
            self._connection.execute(_SET_COUNTERS, astuple(counters))
            execute(_SET_CURSOR, [(segment, *cursor) for segment, cursor in old.cursors.items()])
            execute("INSERT INTO carried VALUES (?, ?, ?)", carried)
            execute("INSERT INTO retired (segment, stop) VALUES (?, ?)", list(old.retired.items()))
            execute("INSERT INTO learned VALUES (?, ?)", list(old.learned.items()))
            execute("INSERT INTO delivered VALUES (?, ?, ?)", delivered)

        self._do(lambda: self._reserve.ensure(pages_of(100 * len(old.cursors) + sum(len(row[2]) for row in delivered))))
        self._commit(work)
        self.counters = counters

    def expect(self, size: int) -> None:
        """Prepare for a segment of this size, all of which may be refused: as far as the disk has room."""
        if size > self._expected:
            self._expected = size
            with contextlib.suppress(OSError):
                self._do(lambda: self._reserve.expect(size))

    def sync(self) -> None:
        """Make every settlement so far survive a power cut.

        Raises:
            OSError: the disk refuses; then none of it is known to.
        """
        sync_data(self._log)

    def is_in_place(self) -> bool:
        """Whether database and log are those that the paths lead to.

        Raises:
            OSError: the disk cannot be asked.
        """
        return _is_at(self._descriptor, self.path) and _is_at(self._log, _log(self.path))

    def copy_to(self, path: Path) -> None:
        """Write all of it to another database, synced; whatever becomes of the paths, the open one can be read.

        Raises:
            OSError: the disk refuses.
        """
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE))

        def work() -> None:
            with contextlib.closing(sqlite3.connect(path)) as target:
                self._connection.backup(target)

        self._do(work)
        sync_file(path)

    def close(self) -> None:
        """Write the log back and let go of the files; raises nothing.

        The log stays, stretched as it is: on a full disk there would be no room for it at the next opening. SQLite
        deletes it when its last connection closes, unless that one only reads.
        """
        if self._table is None:
            return
        with contextlib.suppress(sqlite3.Error):
            self._reserve.checkpoint()
        with contextlib.suppress(sqlite3.Error), contextlib.closing(read_only(self.path)) as reader:
            reader.execute("SELECT id FROM counters").fetchone()
            self._table.close()
        self.abandon()

    def abandon(self) -> None:
        """Let go of the files as they are."""
        if self._table is not None:
            with contextlib.suppress(sqlite3.Error):
                self._table.close()
        self._table = None
        descriptors, self._log, self._descriptor = (self._log, self._descriptor), -1, -1
        for descriptor in descriptors:
            if descriptor >= 0:
                os.close(descriptor)

    @property
    def _connection(self) -> sqlite3.Connection:
        assert self._table is not None
        return self._table.connection

    def _open(self) -> None:
        self._table = EventTable(self.path, "parked")
        connection = self._connection
        for pragma in ("synchronous=NORMAL", "temp_store=MEMORY"):
            connection.execute(f"PRAGMA {pragma}")
        [version] = connection.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise QueueDamaged(f"{self.path} is of a newer version of this program; nothing was changed")
        if not version:
            self._create()
        self._log = os.open(_log(self.path), os.O_RDONLY | os.O_CLOEXEC)
        self._load()
        self._reserve = Reserve(connection, self._descriptor, _log(self.path))
        with contextlib.suppress(OSError, sqlite3.OperationalError):
            self._reserve.prepare()

    def _create(self) -> None:
        self.is_new = True
        with contextlib.closing(EventTable(self.path, "dead")):
            pass
        self._attempt(lambda: [self._connection.execute(statement) for statement in _SCHEMA])

    def _load(self) -> None:
        read = self._connection.execute
        names = ", ".join(each.name for each in fields(Counters))
        self.counters = Counters(*read(f"SELECT {names} FROM counters").fetchone())
        for table, high in (("parked", self.counters.parked_high), ("dead", self.counters.dead_high)):
            read(f"DELETE FROM queue_{table} WHERE _id > ?", (high,))
        for segment, *cursor in read("SELECT * FROM cursor"):
            self.cursors[segment] = Cursor(*cursor)
        for segment, start, stop in read("SELECT * FROM carried"):
            self.carried.setdefault(segment, Ranges()).add(start, stop)
        self.retired.update(read("SELECT segment, stop FROM retired ORDER BY id").fetchall())
        self.learned.update(read("SELECT * FROM learned").fetchall())
        for row, when, ids in read("SELECT * FROM delivered ORDER BY id"):
            self.delivered.add(DeliveredBatch(row, when, ids.split("\n")))

    def _enter(
        self, entry: Entry, parked: Sequence[bytes], dead: Sequence[bytes], high: Mapping[Table, int]
    ) -> tuple[Counters, int]:
        execute = self._connection.execute
        old = self.counters
        gone = 0
        if entry.resolved:
            gone = self._connection.executemany(
                "DELETE FROM queue_parked WHERE _id = ?", [(event.id,) for event in entry.resolved]
            ).rowcount
        counters = Counters(
            old.accepted + entry.accepted,
            old.delivered + entry.delivered,
            old.parked + len(entry.parked) - gone,
            old.dead_lettered + len(entry.dead),
            old.discarded,
            old.parked_bytes + _bytes(entry.parked) - _bytes(entry.resolved),
            self._insert("parked", parked, high["parked"]),
            self._insert("dead", dead, high["dead"]),
        )
        execute(_SET_COUNTERS, astuple(counters))
        for segment, cursor in entry.cursors.items():
            execute(_SET_CURSOR, (segment, *cursor))
        for segment, start, stop in entry.carried:
            execute("INSERT OR REPLACE INTO carried VALUES (?, ?, ?)", (segment, start, stop))
        row = 0
        if entry.delivered_ids:
            row = self.delivered.next_row()
            execute("INSERT INTO delivered VALUES (?, ?, ?)", (row, time.time(), "\n".join(entry.delivered_ids)))
        return counters, row

    def _insert(self, table: Table, rows: Sequence[bytes], high: int) -> int:
        """Insert rows and return the last one's id; ``high`` when there are none."""
        if not rows:
            return high
        now = time.time()
        self._connection.executemany(_INSERT[table], [(data, now) for data in rows])
        return int(self._connection.execute(f"SELECT max(_id) FROM queue_{table}").fetchone()[0])

    def _commit(self, work: Callable[[], _T]) -> _T:
        """Do ``work`` in a transaction; once more, after a checkpoint, when the disk or the log is full."""

        def attempt() -> _T:
            try:
                return self._attempt(work)
            except sqlite3.OperationalError as error:
                if not is_full(error):
                    raise
                self._reserve.checkpoint()
                return self._attempt(work)

        return self._do(attempt)

    def _attempt(self, work: Callable[[], _T]) -> _T:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            result = work()
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
            raise
        return result

    def _do(self, work: Callable[[], _T]) -> _T:
        try:
            return work()
        except sqlite3.Error as error:
            raise mapped(error, _WHAT) from error


def read_page(path: Path, table: Table, after: int, limit: int) -> list[StoredEvent]:
    """Return up to ``limit`` rows with an id above ``after``, by id, from any process; none where there are no books.

    The connection is closed on return: an open cursor would keep the flusher from writing its log back.

    Raises:
        OSError: the disk refuses.
        DatabaseDamaged: (an OSError) it cannot be read.
    """
    if not path.exists():
        return []
    try:
        with contextlib.closing(read_only(path)) as connection:
            rows = connection.execute(_page(table), (after, limit)).fetchall()
    except sqlite3.Error as error:
        raise mapped(error, _WHAT) from error
    return [decode_stored_event(row, data) for row, data in rows]


def read_learned(path: Path, name: str) -> str | None:
    """Return what the flusher learned under this name, from any process; None where it did not, or there are no books.

    Raises:
        OSError: the disk refuses.
    """
    if not path.exists():
        return None
    try:
        with contextlib.closing(read_only(path)) as connection:
            found = connection.execute("SELECT value FROM learned WHERE name = ?", (name,)).fetchone()
    except sqlite3.Error as error:
        raise mapped(error, _WHAT) from error
    return None if found is None else str(found[0])


def _page(table: Table) -> str:
    return (
        f"SELECT _id, data FROM queue_{table} WHERE _id > ? AND _id <= (SELECT {table}_high FROM counters)"
        " ORDER BY _id LIMIT ?"
    )


def read_only(path: Path) -> sqlite3.Connection:
    """Return a connection that changes nothing, not even when it closes."""
    return sqlite3.connect(f"file:{quote(os.fspath(path))}?mode=ro", uri=True, timeout=LOCK_TIMEOUT)


def sync_file(path: Path) -> None:
    """Make a file survive a power cut that SQLite does not have open: closing it here would give up SQLite's locks.

    Raises:
        OSError: the disk refuses.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _log(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False
    here = os.fstat(descriptor)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


def _size(rows: Sequence[bytes] | Sequence[str]) -> int:
    return sum(map(len, rows))


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
