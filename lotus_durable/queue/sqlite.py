"""Appending through SQLite (``backend="sqlite"``): a put into persist-queue's table in ``queue.db``.

For people who trust SQLite's record more than they need speed. No caller waits for a lock: an event goes to a segment
if the database cannot take it at once (it is locked by another process, full, damaged, or in the middle of a put that a
signal handler has interrupted).

SQLite keeps what it knows about its locks in the memory of the process. A forked child has a copy of that, but not the
locks. What it writes or closes, also through a second connection to the same file, destroys acknowledged puts of others
(measured; ``integrity_check`` still says ok). So a process whose parent had a connection open at the fork never uses
SQLite, and neither do its children. And only :meth:`SqliteAppender.close` closes a connection, never the end of the
interpreter, which a child reaches too.

SQLite's descriptors have low numbers, which the application's next file gets when somebody closes what is not his. So
before each put they are compared with what they were; where one is another file's by now, SQLite writes and closes
nothing more in this process.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import math
import os
import sqlite3

from lotus_durable.descriptors import open_numbers, place_of
from lotus_durable.disk import DiskErrorsSuppressed, is_of_the_disk, is_there
from lotus_durable.errors import LotusError, QueueDamaged
from lotus_durable.fork import this_process

from .appender import Appender, Mark
from .directory import QUEUE_DB
from .files import FILE_MODE
from .format import Header, new_header
from .rows import KEY_SIZE, TABLE, ensure_id
from .table import EventTable

_RETRY_INTERVAL = 1.0
"""Seconds until the next try of a database that could not be opened."""
_CARRIED_AT_ONCE = 10_000  # rows
_NOBODY = (-1, -1)

_opened_by: list[tuple[int, int]] = []
"""For each connection that is open, the process that opened it (:func:`~lotus_durable.fork.this_process`); a forked
child has a copy."""


class SqliteAppender(Appender):
    """An appender that tries SQLite first; what was put there needs no :meth:`sync`."""

    _writes_first = False
    _table: EventTable | None = None
    _in_use = False
    _allowance = 0
    _retry_at = -math.inf
    _last_put: list[tuple[int, bytes]]

    def append(self, record: bytes, now: float, *, was_accepted: bool = False) -> Mark | None:
        """Append one event; see :meth:`.Appender.append`."""
        if self._is_free():
            self._in_use = True
            try:
                if self._is_ready(len(record), now, was_accepted=was_accepted) and self._put(record):
                    return None
            finally:
                self._in_use = False
        return super().append(record, now, was_accepted=was_accepted)

    def check(self) -> None:
        """Compare database and segment with what their paths lead to, now; see :meth:`.Appender.check`."""
        if self._is_free():
            self._check_database()
        super().check()

    def close(self) -> None:
        """Let go of the database and seal the segment; raises nothing."""
        if self._is_free():
            with contextlib.suppress(LotusError), DiskErrorsSuppressed():
                self._check_database()
            if self._table is not None:
                self._let_go()
        super().close()

    def abandon(self) -> None:
        """In a forked child: database and segments are the parent's, and are not touched."""
        self._table = None
        self._in_use = False
        super().abandon()

    def _is_free(self) -> bool:
        """Whether SQLite may be used now: by this process, by nobody else in it, and through what it has opened.

        Not by one that descends from a process that had a connection open at the fork.
        """
        if self._in_use or any(each != this_process() for each in _opened_by):
            return False
        if self._table is None or all(place_of(number) == place for number, place in self._held.items()):
            return True
        _opened_by.append(_NOBODY)
        self._table = None  # not closed: that would close what others have opened
        what = f"somebody has closed descriptors of {self._directory.queue_db} in process {os.getpid()}"
        self._report(QueueDamaged(f"{what}; no event is lost, it appends to segments from now on"))
        return False

    def _is_ready(self, size: int, now: float, *, was_accepted: bool) -> bool:
        """Whether there is a database where the path leads.

        Raises:
            QueueFull: the queue is over ``max_queue_bytes``.
            OSError: the disk is nearly full.
        """
        self._check_database()
        if self._table is None and now >= self._retry_at:
            self._open(now)
        if self._table is None:
            return False
        self._allowance -= size
        if self._allowance < 0:
            self._allowance = self._queue_limit.grant(size, now, is_accepted=was_accepted) - size
        return True

    def _put(self, record: bytes) -> bool:
        assert self._table is not None
        try:
            row = self._table.put(self._key + record)
        except sqlite3.Error:
            return False  # locked, full, or damaged, which the flusher tells
        self._last_put = [(row, record)]
        self._sealed[QUEUE_DB] = row + 1
        return True

    def _open(self, now: float) -> None:
        """Open the database, or leave it for the next try."""
        self._retry_at = now + _RETRY_INTERVAL
        path = self._directory.queue_db
        if not is_there(path):
            self._directory.prepare()
            # With its mode; and by no descriptor: another thread may have it open already when that is closed, which
            # would give up SQLite's locks.
            with contextlib.suppress(FileExistsError):
                os.mknod(path, FILE_MODE)
        self._identify()
        # From before the first moment on: a child must not believe too little.
        _opened_by.append(this_process())
        table = kept = None
        others = self._leading_to_it()
        try:
            self._place = place_of(path)
            table = EventTable(path, TABLE, timeout=0)
            # A reference that no interpreter's end gives back: also not that of a child, which must not close it.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(table))
            kept = table
            table.connection.execute(f"PRAGMA synchronous={'FULL' if self._power else 'NORMAL'}")
            ensure_id(table.connection)
            if self._place is None or place_of(path) != self._place:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            self._held = self._own(others)
            self._last_put = []
            self._table = kept  # last: a signal handler may raise at any moment
        except BaseException as error:
            if kept is None and table is not None:
                table.close()
            self._table = kept
            self._let_go()
            if not isinstance(error, sqlite3.Error) and not is_of_the_disk(error):
                raise

    def _leading_to_it(self) -> dict[int, tuple[int, int]]:
        """Return the descriptors of this process that lead to the database, and what they lead to."""
        path = self._directory.queue_db
        files = [place_of(each) for each in (path, f"{path}-wal", f"{path}-shm")]
        found = {number: place_of(number) for number in open_numbers()}
        return {number: place for number, place in found.items() if place is not None and place in files}

    def _own(self, others: dict[int, tuple[int, int]]) -> dict[int, tuple[int, int]]:
        """Return the descriptors that stay open for as long as this connection does, and what they lead to.

        Its number of the database may be one that SQLite has kept of an earlier connection. It closes none of these
        while any connection of this process holds a lock, which each does once it has read; the one of ``-shm`` is
        common to all. Only the log's is each connection's own. ``others`` led to it before it was opened.

        Raises:
            sqlite3.OperationalError: another thread has opened it meanwhile, and nobody can tell whose is whose.
        """
        log = place_of(f"{self._directory.queue_db}-wal")
        own = {
            number: place
            for number, place in self._leading_to_it().items()
            if place != log or others.get(number) != place
        }
        if log is not None and list(own.values()).count(log) != 1:
            raise sqlite3.OperationalError("the database was opened twice at once in this process")
        return own

    def _check_database(self) -> None:
        """Go on where the path leads, and carry over what nobody finds any more."""
        if self._table is None or place_of(self._directory.queue_db) == self._place:
            return
        source, rows = self._stranded()
        for start in range(0, len(rows), _CARRIED_AT_ONCE):
            self._carry_over(source, rows[start : start + _CARRIED_AT_ONCE])
        self._let_go()
        self._sealed.pop(QUEUE_DB, None)
        self._retry_at = -math.inf
        what = f"{self._directory.queue_db} was deleted, moved or replaced while in use"
        self._report(QueueDamaged(f"{what}; {len(rows)} events were written anew"))

    def _stranded(self) -> tuple[Header, list[tuple[int, bytes]]]:
        """Return where the rows to carry over are, and these.

        Of a deleted database that is all that are left, else what was put last, behind the last check. Each process
        that has it open does so; the flusher takes each row once, by the id that the database has now: a flusher gives
        another one to an older database. Rows of one that cannot be read may be taken twice.
        """
        assert self._table is not None
        source, connection = new_header(0, self._key), self._table.connection
        with contextlib.suppress(sqlite3.Error):
            source = source._replace(id=ensure_id(connection))
            if any(place == self._place and os.fstat(number).st_nlink == 0 for number, place in self._held.items()):
                rows = connection.execute("SELECT _id, data FROM queue_pending ORDER BY _id").fetchall()
                return source, [(row, data[KEY_SIZE:]) for row, data in rows]
        return source, self._last_put

    def _let_go(self) -> None:
        table, self._table = self._table, None
        if table is not None:
            with contextlib.suppress(sqlite3.Error):
                table.close()
            ctypes.pythonapi.Py_DecRef(ctypes.py_object(table))
        _opened_by.remove(this_process())
