"""Parked events and dead letters: rare, queryable, in a persist-queue SQLite store.

A connection is opened for each use and closed at once, in one thread: SQLite must not be carried across a fork
(measured: acknowledged puts lost in silence, children killed by SIGBUS), and these events are rare. Rows are
MessagePack bytes that we pack ourselves, never pickle.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import msgpack

from .directory import create_file

if TYPE_CHECKING:
    from persistqueue import SQLiteQueue

Table = Literal["parked", "dead"]

FILE = "events.db"
OPEN_ATTEMPTS = 50
OPEN_PAUSE = 0.02
LOCK_TIMEOUT = 10.0  # seconds; shorter ones lose puts to "database is locked" (measured)

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event the server would not take, for now (parked) or for good (a dead letter)."""

    record: bytes
    """Its record; empty when it was damaged and only the count is known."""
    reason: str
    attempts: int
    since: float
    """When it was first refused, seconds since the epoch."""
    tried: float
    """When it was last refused, seconds since the epoch."""
    id: int = 0
    """The row, once it is stored."""

    def encode(self) -> bytes:
        """Return the row's bytes."""
        packed: bytes = msgpack.packb([self.record, self.reason, self.attempts, self.since, self.tried])
        return packed


def decode_stored_event(row: int, data: bytes) -> StoredEvent:
    """Return the event in a row; without a record, and with the reason, when the bytes are no such event.

    So one damaged row does not hide the others of its page, and goes the way of every record that cannot be read.
    """
    try:
        record, reason, attempts, since, tried = msgpack.unpackb(data)
        if not isinstance(record, bytes):
            raise TypeError("no record")
        return StoredEvent(record, str(reason), int(attempts), float(since), float(tried), row)
    except (ValueError, TypeError, OverflowError) as error:
        return StoredEvent(b"", f"row {row} of the store is damaged: {error}", 0, 0.0, 0.0, row)


class Bytes:
    """The serializer: rows are bytes already."""

    @staticmethod
    def dumps(value: bytes) -> bytes:
        return value

    @staticmethod
    def loads(value: bytes) -> bytes:
        return value


class StoreDamaged(OSError):
    """The database is not one any more."""


class Store:
    """The two tables of one queue directory. Only the leader writes; anybody may read.

    Raises:
        OSError: the database cannot be opened, read or written (sqlite3's errors are mapped).
        StoreDamaged: (an OSError) it is damaged beyond SQLite's understanding.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # Held while a connection is open, so that a fork can wait for it (see Client).
        self.in_use = threading.RLock()
        # Seen in a child whose fork did not wait: it has inherited the connection.
        self.is_open = False

    def insert(self, table: Table, events: Sequence[StoredEvent]) -> int:
        """Append ``events`` in one transaction and return the last row's id; durable on return."""

        def work(queue: SQLiteQueue) -> int:
            connection = queue._conn
            with connection:
                now = time.time()
                connection.executemany(queue._sql_insert, [(event.encode(), now) for event in events])
            return int(connection.execute(f"SELECT max(_id) FROM {queue._table_name}").fetchone()[0])

        return self._with(table, work)

    def page(self, table: Table, after: int, through: int, limit: int) -> list[StoredEvent]:
        """Return up to ``limit`` events with ``after`` < id <= ``through``, by id."""

        def work(queue: SQLiteQueue) -> list[StoredEvent]:
            query = f"SELECT _id, data FROM {queue._table_name} WHERE _id > ? AND _id <= ? ORDER BY _id LIMIT ?"
            rows = queue._conn.execute(query, (after, through, limit)).fetchall()
            return [decode_stored_event(row, data) for row, data in rows]

        return self._with(table, work) if self.exists() else []

    def delete(self, table: Table, rows: Sequence[int]) -> None:
        """Delete these rows; those that are gone already do not matter."""

        def work(queue: SQLiteQueue) -> None:
            with queue._conn as connection:
                connection.executemany(f"DELETE FROM {queue._table_name} WHERE _id = ?", ((row,) for row in rows))

        if self.exists():
            self._with(table, work)

    def delete_above(self, table: Table, high: int) -> int:
        """Delete the rows of a settlement that was never committed; return how many there were."""

        def work(queue: SQLiteQueue) -> int:
            with queue._conn as connection:
                return connection.execute(f"DELETE FROM {queue._table_name} WHERE _id > ?", (high,)).rowcount

        return self._with(table, work) if self.exists() else 0

    def last_row(self, table: Table) -> int:
        """Return the largest id, 0 when there is none."""

        def work(queue: SQLiteQueue) -> int:
            return int(queue._conn.execute(f"SELECT coalesce(max(_id), 0) FROM {queue._table_name}").fetchone()[0])

        return self._with(table, work) if self.exists() else 0

    def count(self, table: Table, through: int, excluded: Sequence[int] = ()) -> int:
        """Return how many rows have an id up to ``through`` and are none of ``excluded``."""

        def work(queue: SQLiteQueue) -> int:
            query = f"SELECT count(*) FROM {queue._table_name} WHERE _id <= ?"
            total = int(queue._conn.execute(query, (through,)).fetchone()[0])
            for row in excluded:
                total -= int(queue._conn.execute(f"{query} AND _id = ?", (through, row)).fetchone()[0])
            return total

        return self._with(table, work) if self.exists() else 0

    def set_aside(self) -> Path:
        """Move a damaged database out of the way, for an operator, and return where it is."""
        aside = f"{FILE}.damaged-{time.time_ns()}"
        for suffix in ("-wal", "-shm", ""):
            with contextlib.suppress(FileNotFoundError):
                os.replace(self._path / (FILE + suffix), self._path / (aside + suffix))
        return self._path / aside

    def exists(self) -> bool:
        """Whether anything was ever stored here."""
        return (self._path / FILE).exists()

    def _with(self, table: Table, work: Callable[[SQLiteQueue], _T]) -> _T:
        with self.in_use, mapped_errors("the store of parked events and dead letters"):
            self.is_open = True
            try:
                with contextlib.closing(self._open(table)) as queue:
                    return work(queue)
            finally:
                self.is_open = False

    def _open(self, table: Table) -> SQLiteQueue:
        import sqlite3

        from persistqueue import SQLiteQueue

        # Created here for its mode: SQLite's own files take it over.
        create_file(self._path / FILE)
        attempt = 0
        while True:
            try:
                queue = SQLiteQueue(
                    str(self._path), name=table, timeout=LOCK_TIMEOUT, serializer=Bytes, db_file_name=FILE
                )
            except (sqlite3.OperationalError, FileExistsError):
                # Two processes that open a new database at once collide now and then (measured).
                attempt += 1
                if attempt == OPEN_ATTEMPTS:
                    raise
                time.sleep(OPEN_PAUSE)
            else:
                queue._conn.execute("PRAGMA synchronous=FULL")
                return queue


@contextlib.contextmanager
def mapped_errors(what: str) -> Iterator[None]:
    """Let SQLite's errors come out as the disk's.

    Raises:
        OSError: the database cannot be opened, read or written.
        StoreDamaged: (an OSError) it is damaged beyond SQLite's understanding.
    """
    import sqlite3

    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            raise OSError(errno.ENOSPC, f"{what}: {error}") from error
        kind = StoreDamaged if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) else OSError
        raise kind(f"{what}: {error}") from error
