"""A database: persist-queue's SQLiteQueue as we use it, and reading one from any process.

SQLiteQueue has no bulk calls, so here and nowhere else are its private parts used.

Imported where a database is opened, never by a process that only appends to segments.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, TypeVar
from urllib.parse import quote

from persistqueue import SQLiteQueue

from lotus_durable.disk import DatabaseDamaged
from lotus_durable.errors import QueueDamaged

from .files import FILE_MODE, regular_file_status, sync_path

_T = TypeVar("_T")
_PAGE = 500  # rows
_MOST_UNREADABLE = 1000
"""Rows that are tried one by one behind a page that cannot be read."""
LOCK_TIMEOUT = 10.0  # seconds; shorter ones lose commits to "database is locked" (measured)


class Bytes:
    """The serializer: rows are bytes already, never pickle."""

    dumps = loads = staticmethod(bytes)


class EventTable(SQLiteQueue):
    """One table of one database; the connection is in autocommit mode.

    Without what does not hold when several processes share it, and costs the more the longer the backlog.

    Args:
        path: of the database.
        name: of the table.
        timeout: seconds to wait for a lock.
        alone: nobody else may use the database meanwhile. It can be read so on a disk that has no room at all: what
            several processes share is a file that SQLite makes anew when none has the database open.
    """

    def __init__(self, path: str, name: str, timeout: float = LOCK_TIMEOUT, *, alone: bool = False) -> None:
        folder, file = os.path.split(path)
        self._alone = alone
        try:
            super().__init__(folder, name=name, timeout=timeout, serializer=Bytes, db_file_name=file)
            self._insertion: str = self._sql_insert
        except BaseException:
            with contextlib.suppress(AttributeError):  # a signal handler raised before it had a connection
                self.close()
            raise

    @property
    def connection(self) -> sqlite3.Connection:
        """The one connection it has."""
        connection: sqlite3.Connection = self._conn
        return connection

    def put(self, item: bytes, block: bool = True) -> int:  # noqa: FBT001, FBT002, ARG002  # persist-queue's signature
        """Insert a row, and return its number.

        Without persist-queue's locks, which its own get() would wait for: a signal handler that raises while one is
        taken leaves it taken for ever, and with it every later put.
        """
        return int(self.connection.execute(self._insertion, (item, time.time())).lastrowid or 0)

    def _new_db_connection(self, path: str, multithreading: bool, timeout: float) -> sqlite3.Connection:  # noqa: FBT001, ARG002
        # In autocommit mode, and for whichever thread has it at the moment.
        connection = sqlite3.connect(
            f"{path}/{self.db_file_name}", timeout=timeout, check_same_thread=False, isolation_level=None
        )
        try:
            if self._alone:
                connection.execute("PRAGMA locking_mode=EXCLUSIVE")
            if not connection.execute("PRAGMA page_count").fetchone()[0]:
                # So that it gives back the room of deleted rows: all that lies in the directory counts as used. Of one
                # that is there already this would write.
                connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
            # Some builds of SQLite (Debian's) would else write zeros over what is deleted.
            for pragma in ("secure_delete=OFF", "journal_mode=WAL"):
                connection.execute(f"PRAGMA {pragma}")
        except BaseException:
            connection.close()
            raise
        return connection

    def _count(self) -> int:
        # For qsize(), which is per-process arithmetic; it would read the whole table at each opening.
        return 0

    def __del__(self) -> None:
        """Close nothing: :meth:`close` does."""


def give_back(connection: sqlite3.Connection, pages: int) -> int:
    """Take up to this many free pages off the file, and return how many; it is no smaller before the next checkpoint.

    None of a database that a tool has written anew without what :class:`EventTable` sets before the first page.
    """
    before = free_pages(connection)
    connection.executescript(f"PRAGMA incremental_vacuum({pages})")  # by execute() it is one page
    return before - free_pages(connection)


def free_pages(connection: sqlite3.Connection) -> int:
    """Return how many pages of the file are free."""
    return int(connection.execute("PRAGMA freelist_count").fetchone()[0])


def read_pages(
    page: Callable[[int, int], list[tuple[Any, ...]]], report: Callable[[QueueDamaged], None], after: int = 0
) -> Iterator[tuple[Any, ...]]:
    """Give the rows of a database, page by page; where a page cannot be read, the next one behind it that can.

    Args:
        page: returns up to so many rows behind an id, each beginning with its own. It asks for rows from the next id on
            (``>= ? + 1``): by what comes behind this one (``> ?``) SQLite would look for that in its own page, which
            cannot be read.
        report: told of what cannot be read.
        after: the id behind which to begin.
    """
    missed = singly = 0
    while True:
        try:
            rows = in_order(page(after + missed, 1 if singly else _PAGE), after + missed)
        except DatabaseDamaged as error:
            if not singly:
                report(QueueDamaged(f"{error}; from row {after + 1} on"))
            missed += bool(singly)
            singly = _PAGE
            if missed > _MOST_UNREADABLE:
                return
            continue
        except OSError as error:
            report(QueueDamaged(f"from row {after + 1} on: {error}"))
            return
        if not rows:
            return
        yield from rows
        after, missed, singly = rows[-1][0], 0, max(0, singly - 1)


def in_order(rows: list[tuple[Any, ...]], after: int) -> list[tuple[Any, ...]]:
    """Return rows behind an id, if each is behind the one before: who pages by the last one would never end else.

    Raises:
        DatabaseDamaged: (an OSError) they come out of order, as from a page of which a power cut has left a part.
    """
    if any(id_ <= before for before, id_ in pairwise([after, *(row[0] for row in rows)])):
        raise DatabaseDamaged("rows come out of order")
    return rows


@contextlib.contextmanager
def mapped_errors(path: str) -> Iterator[None]:
    """Let SQLite's errors come out as the disk's.

    Raises:
        OSError: the database cannot be opened, read or written.
        DatabaseDamaged: (an OSError) it is damaged beyond SQLite's understanding.
    """
    try:
        yield
    except sqlite3.Error as error:
        text = f"{os.path.basename(path)}: {error}"
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise DatabaseDamaged(text) from error
        raise OSError(_ERRNO.get(code, errno.EIO), text) from error


_ERRNO = {
    sqlite3.SQLITE_FULL: errno.ENOSPC, sqlite3.SQLITE_BUSY: errno.EAGAIN, sqlite3.SQLITE_LOCKED: errno.EAGAIN,
}  # fmt: skip


def read_only(path: str) -> sqlite3.Connection:
    """Return a connection that changes nothing, not even when it closes.

    On a disk that is mounted to be read only, one that was rescued, say, SQLite cannot make the file that those who
    share a database share; nobody changes it there, so it is read without.
    """
    how = "mode=ro"
    with contextlib.suppress(OSError):
        if os.statvfs(path).f_flag & os.ST_RDONLY and not os.path.exists(f"{path}-shm"):
            how += "&vfs=unix-none" if os.path.exists(log_of(path)) else "&immutable=1"
    connection = sqlite3.connect(f"file:{quote(os.fsencode(path))}?{how}", uri=True, timeout=LOCK_TIMEOUT)
    if how.endswith("none"):
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")  # its log is read by what is in our memory then
    return connection


def fetched(path: str, statement: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
    """Return what one statement finds, from any process; nothing where there is no database, or one being made.

    Raises:
        OSError: the disk refuses.
        DatabaseDamaged: (an OSError) it cannot be read.
    """
    return asked(path, lambda connection: connection.execute(statement, parameters).fetchall()) or []


def asked(path: str, work: Callable[[sqlite3.Connection], _T]) -> _T | None:
    """Return what ``work`` finds, as :func:`fetched` does; None where that gives nothing.

    The connection is closed on return: an open cursor would keep the flusher from writing its log back.
    """
    if not os.path.lexists(path):
        return None
    refuse_odd(path)
    with mapped_errors(path), contextlib.closing(read_only(path)) as connection:
        try:
            return work(connection)
        except sqlite3.OperationalError as error:
            # Its tables are there once it has a version: what makes the books gives them that last.
            is_lacking = error.sqlite_errorcode == sqlite3.SQLITE_ERROR
            if not is_lacking or connection.execute("PRAGMA user_version").fetchone()[0]:
                raise
            return None


def copy_database(source: sqlite3.Connection, path: str) -> None:
    """Write all of an open database to a new one, synced.

    Raises:
        OSError: the disk refuses, or the source cannot be read.
    """
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE))
    with mapped_errors(path), contextlib.closing(sqlite3.connect(path)) as target:
        source.backup(target)
    sync_path(path)


def refuse_odd(path: str) -> None:
    """Refuse what is no file, or has a log that is none: to open a pipe waits for ever, and SQLite would follow a link.

    Raises:
        DatabaseDamaged: (an OSError) so it is.
    """
    for each in (path, log_of(path), f"{path}-shm"):
        with contextlib.suppress(FileNotFoundError):
            if regular_file_status(each) is None:
                raise DatabaseDamaged(f"{each} is no regular file")


def log_of(path: str) -> str:
    """Return where the write-ahead log of a database is."""
    return f"{path}-wal"
