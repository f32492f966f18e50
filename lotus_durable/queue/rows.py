"""Reading what was appended through SQLite (``backend="sqlite"``, :mod:`.sqlite`), row by row, for the flusher.

``queue.db`` holds persist-queue's table of pending events, the id of this very database, and up to which row it was
emptied. The books hold, under that id, up to which row its events are settled; the rows are deleted afterwards, in a
transaction of their own. So a kill between the two settles nothing twice, and a database that somebody replaced is not
taken for the former one.

Nor is an older state of it that somebody restored: it was emptied less far than the books have noted. It would give
numbers to new rows that count as settled, so it gets another id, and all that it holds is sent, with its ids.

It is one file, because reading, settling and deleting go by one position.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from lotus_durable.clock import monotonic
from lotus_durable.descriptors import place_of
from lotus_durable.disk import DatabaseDamaged
from lotus_durable.errors import QueueDamaged

from .directory import QUEUE_DB, QueueDirectory
from .files import opened_to_read, sync_data
from .format import ID_SIZE, Origin
from .identity import NO_KEY
from .protocol import Report
from .reader import Chunk, Damage, Position
from .table import EventTable, fetched, free_pages, give_back, in_order, mapped_errors, read_pages

TABLE = "pending"
KEY_SIZE = 8
"""Each row begins with the fingerprint of its writer's API key; the record follows."""
_ID = b"queue.db"
_IS_WHOLE = "typeof(id) = 'blob' AND typeof(emptied) = 'integer'"  # a flipped bit can make it another
FIND_ID = f"SELECT id FROM identity WHERE {_IS_WHOLE}"  # noqa: S608  # ours

_AT_ONCE = 500
"""Rows, or pages, in one transaction of the deletion."""
DELETING_TAKES = 1.0
"""Seconds, at the most: a busy disk takes milliseconds for each file, or for each transaction, and events wait
meanwhile."""
_SPARE = 1024
"""Free pages above which they are given back to the disk."""
_NO_ROOM = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)
_T = TypeVar("_T")


def ensure_id(connection: sqlite3.Connection) -> bytes:
    """Return the id of a database, after making one if it has none, or what is none; as long as a segment's."""
    with contextlib.suppress(sqlite3.OperationalError):
        if row := connection.execute(FIND_ID).fetchone():
            return bytes(row[0])
    connection.execute("CREATE TABLE IF NOT EXISTS identity (one INTEGER PRIMARY KEY, id BLOB, emptied INTEGER)")
    connection.execute(f"DELETE FROM identity WHERE NOT ({_IS_WHOLE})")  # noqa: S608  # ours
    connection.execute("INSERT OR IGNORE INTO identity VALUES (1, ?, 0)", (_ID + os.urandom(ID_SIZE - len(_ID)),))
    return bytes(connection.execute(FIND_ID).fetchone()[0])


class RowReader:
    """Reads ``queue.db`` from a position on: (the next row, how many rows were read before). Opened when it is there.

    Attributes:
        id: of the database that is open; empty when there is none.
        trouble: why it cannot be read, empty when it can.
    """

    def __init__(
        self,
        directory: QueueDirectory,
        cursor: Callable[[bytes], Position],
        noted: Callable[[], str | None],
        report: Report,
    ) -> None:
        self._path = directory.queue_db
        self._cursor = cursor
        self._noted = noted
        self._report = report
        self.id: bytes = b""
        self.position: Position = (0, 0)
        self._table: EventTable | None = None
        self._place: tuple[int, int] | None = None
        self._pass_ends = 0
        self._deleted = 0
        self.trouble: str = ""
        self._told = ""
        self._is_alone = False

    def begin_pass(self) -> None:
        """Look how far this pass goes: a writer that is faster than we are must not keep others waiting."""
        self._pass_ends = 0
        if self._is_alone:
            self.close()  # there may be room again
        with self._told_once():
            self._follow()
            if self._table is not None:
                self._pass_ends = self._last_row()
            self.trouble = ""

    def read(self, limit: int) -> Chunk | None:
        """Return up to ``limit`` further rows of one key, or None at the end of the pass."""
        if self._table is None or self._pass_ends < self.position[0]:
            return None
        with self._told_once():
            if rows := self._rows_behind(limit):
                return self._chunk(rows)
        self._pass_ends = 0
        return None

    def read_on_from(self, position: Position) -> None:
        """Give no more rows in this pass, and those from this position on in the next."""
        self.position = position
        self._pass_ends = 0

    def has_pending(self) -> bool:
        """Whether there are rows that were not read."""
        with self._told_once():
            self._follow()
            return self._table is not None and self._last_row() >= self.position[0]
        return False

    def pending(self) -> int:
        """Return how many rows are not settled."""
        with self._told_once():
            if self._table is None:
                self._follow()
            if self._table is not None:
                return max(0, self._last_row() + 1 - max(1, self._cursor(self.id)[0]))
        return 0

    def can_delete(self) -> bool:
        """Whether there are settled rows."""
        return self._table is not None and self._cursor(self.id)[0] - 1 > self._deleted

    def delete(self) -> None:
        """Delete what is settled, for up to a second; the books must be safe from a power cut before.

        Raises:
            OSError: the disk refuses, or somebody holds the database locked.
        """
        ends = monotonic() + DELETING_TAKES
        settled = self._cursor(self.id)[0] - 1
        # A few at a time: who finds the database locked meanwhile appends to a segment.
        statement = (
            "DELETE FROM queue_pending WHERE _id IN (SELECT _id FROM queue_pending WHERE _id <= ? ORDER BY _id LIMIT ?)"
        )
        while self._do(lambda connection: connection.execute(statement, (settled, _AT_ONCE)).rowcount):
            if monotonic() > ends:
                return
        if self._do(free_pages) > _SPARE:
            while self._do(lambda connection: give_back(connection, _AT_ONCE)) and self._do(free_pages) > _SPARE:
                if monotonic() > ends:
                    return
            self._found("PRAGMA wal_checkpoint(PASSIVE)")
        self._do(lambda connection: connection.execute("UPDATE identity SET emptied = ?", (settled,)))
        self._deleted = settled

    def note(self) -> str | None:
        """Return what the books are to note, when :func:`sync_rows` has returned; None where nothing was deleted."""
        return f"{self.id.hex()} {self._deleted}" if self._deleted else None

    def close(self) -> None:
        """Let go of the database."""
        table, self._table, self._is_alone = self._table, None, False
        if table is not None:
            with contextlib.suppress(sqlite3.Error):
                table.close()

    def _follow(self) -> None:
        """Have the database open that the path leads to; one that was removed, until all of it is read."""
        place = place_of(self._path)
        if self._table is not None and (place == self._place or self._last_row() >= self.position[0]):
            return
        self.close()
        if place is None:
            self.id = b""
            return
        try:
            with mapped_errors(self._path):
                self._table, self._place = self._opened(), place
                self.id = ensure_id(self._table.connection)
        except OSError:
            self.close()
            raise
        self.position = self._cursor(self.id)
        if self._next_row() < self.position[0] or self._emptied() < self._emptied_before():
            self._found("DELETE FROM identity")
            self.id = self._do(ensure_id)
            self.position = self._cursor(self.id)
            self._report(QueueDamaged(f"{self._path} is older than the books: what it holds is sent again"))
        self._deleted = self._emptied()

    def _opened(self) -> EventTable:
        """Open the database; alone where the disk has no room to share it: who appends meanwhile takes a segment."""
        try:
            return EventTable(self._path, TABLE)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in _NO_ROOM:
                raise
            table = EventTable(self._path, TABLE, alone=True)
            self._is_alone = True
            return table

    def _last_row(self) -> int:
        return int(self._found("SELECT max(_id) FROM queue_pending")[0][0] or 0)

    def _emptied(self) -> int:
        return int(self._found("SELECT emptied FROM identity")[0][0])

    def _emptied_before(self) -> int:
        """Return up to which row it was emptied when the books noted that."""
        of, _, row = (self._noted() or "").partition(" ")
        return int(row) if of == self.id.hex() else 0

    def _next_row(self) -> int:
        """Return the number that the next row gets, at least."""
        found = self._found("SELECT CAST(seq AS INTEGER) FROM sqlite_sequence WHERE name = 'queue_pending'")
        return 1 + ((found[0][0] if found else None) or 0)

    def _rows_behind(self, limit: int) -> list[tuple[Any, ...]]:
        """Return the next rows; where a page cannot be read, the next one behind it that can."""
        statement = "SELECT _id, data FROM queue_pending WHERE _id >= ? + 1 AND _id <= ? ORDER BY _id LIMIT ?"
        start = max(1, self.position[0])

        def page(after: int, most: int) -> list[tuple[Any, ...]]:
            return in_order(self._found(statement, after, self._pass_ends, most), after)

        try:
            return page(start - 1, limit)
        except DatabaseDamaged:
            for row in read_pages(page, lambda _: None, start - 1):
                if missed := row[0] - start:
                    self._report(QueueDamaged(f"{missed} rows of {QUEUE_DB} from row {start} on cannot be read"))
                return [row]
            raise

    def _chunk(self, rows: Sequence[tuple[int, object]]) -> Chunk:
        """Return the rows up to the next damage or other key, or the damage that comes first."""
        records: list[bytes] = []
        positions: list[Position] = []
        key = NO_KEY
        for number, data in rows:
            of, record = split_row(data)
            if of is None or (records and of != key):
                break
            key = of
            records.append(record)
            self.position = (number + 1, self.position[1] + 1)
            positions.append(self.position)
        if records:
            return Chunk("", records, positions, key=key, in_rows=True)
        number, data = rows[0]
        _, kept = split_row(data)
        self.position = (number + 1, self.position[1] + 1)
        return Chunk("", [], [self.position], Damage(QUEUE_DB, number, kept, 1), in_rows=True)

    @contextlib.contextmanager
    def _told_once(self) -> Iterator[None]:
        """Tell that the database cannot be read, once; the journal is read all the same."""
        try:
            yield
        except OSError as error:
            self.trouble = f"{self._path} is left alone: {error}"
            if self.trouble != self._told:
                self._told = self.trouble
                self._report(QueueDamaged(self.trouble))

    def _found(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        return self._do(lambda connection: connection.execute(statement, parameters).fetchall())

    def _do(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        assert self._table is not None
        with mapped_errors(self._path):
            return work(self._table.connection)


def split_row(data: object) -> tuple[bytes | None, bytes]:
    """Return the fingerprint of its writer's key, and the record; of a damaged row None, and what is kept of it."""
    if isinstance(data, bytes):
        return (data[:KEY_SIZE], data[KEY_SIZE:]) if len(data) >= KEY_SIZE else (None, data)
    return None, str(data or "").encode()


def is_row(place: Origin) -> bool:
    """Whether this is the place of a row, in a database, and not of a frame in a segment."""
    return place[0].startswith(_ID)


def ensure_rows_id(directory: QueueDirectory) -> None:
    """Give ``queue.db`` its id where it is there and has none; for the holder of the flusher's lock."""
    _in_database(directory, ensure_id)


def delete_rows(directory: QueueDirectory, cursor: Callable[[bytes], Position]) -> None:
    """Delete the rows that are settled, and what they held; for the holder of the flusher's lock.

    Also of a copy that is older than the cursor: it is no older than that afterwards.

    Raises:
        OSError: the disk refuses, or somebody holds the database locked.
    """

    def work(connection: sqlite3.Connection) -> None:
        settled = max(0, cursor(ensure_id(connection))[0] - 1)
        connection.execute("PRAGMA secure_delete=ON")
        # No row to come gets a number that is settled.
        connection.execute("INSERT OR IGNORE INTO queue_pending (_id, data) VALUES (?, x'')", (settled,))
        connection.execute("DELETE FROM queue_pending WHERE _id <= ?", (settled,))
        connection.execute("UPDATE identity SET emptied = ?", (settled,))
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    _in_database(directory, work)


def _in_database(directory: QueueDirectory, work: Callable[[sqlite3.Connection], object]) -> None:
    if os.path.exists(directory.queue_db):
        with mapped_errors(directory.queue_db):
            table = EventTable(directory.queue_db, TABLE)
            try:
                work(table.connection)
            finally:
                table.close()


def has_rows(directory: QueueDirectory) -> bool:
    """Whether something lies in ``queue.db``, for who does not flush: what is settled was deleted.

    Raises:
        OSError: it cannot be read.
    """
    return bool(fetched(directory.queue_db, "SELECT 1 FROM queue_pending LIMIT 1"))


def sync_rows(path: str) -> None:
    """Make what was put into ``queue.db`` survive a power cut: it is in the log until a checkpoint, which syncs too.

    Before the cursor may: a database that lost rows gives their numbers to others, which would count as settled.
    SQLite takes no locks on the log, so closing this descriptor gives none up.
    """
    with contextlib.suppress(FileNotFoundError), opened_to_read(f"{path}-wal") as descriptor:
        sync_data(descriptor)
