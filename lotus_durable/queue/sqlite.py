"""Appending through SQLite (``backend="sqlite"``): a put into persist-queue's table in ``queue.db``.

For people who trust SQLite's record more than they need speed. What it cannot take at once (it is locked by another
process, full, damaged, or in the middle of a put that a signal handler has interrupted) goes to a segment: no caller
waits for a lock.

SQLite keeps what it knows about locks in the memory of the process. A forked child has a copy of that, but not the
locks: what it writes or closes through it, or through a second connection to the same file, loses the acknowledged puts
of others (measured, and ``integrity_check`` still says ok). So a process whose parent had a connection open when it was
forked never uses SQLite, nor do its children; and no connection is closed by the interpreter's end, which a child has
too, but only by :meth:`SqliteAppender.close`.

SQLite's descriptors have low numbers, which the application's next file gets when somebody closes what is not his. So
before each put they are compared with what they were; where one is another file's by now, SQLite writes and closes
nothing more in this process.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import sqlite3
import time
from collections.abc import Callable

from lotus_durable.descriptors import open_numbers, place_of
from lotus_durable.errors import LotusError, QueueDamaged

from .appender import SEGMENT_BYTES, Appender, Mark
from .carry_over import write_carried
from .directory import QueueDirectory
from .files import create_file
from .format import Header
from .room import Room
from .rows import KEY_SIZE, TABLE, ensure_id
from .stats import QUEUE_DB
from .table import EventTable

_TRUST = 0.05
"""Seconds for which the database is taken to be where its path leads."""
_RETRY_INTERVAL = 1.0
"""Seconds until the next try of a database that could not be opened."""
_CARRIED_AT_ONCE = 10_000  # rows
_O_PATH: int | None = getattr(os, "O_PATH", None)
_NOBODY = -1


class _Process:
    """What this process knows of its connections, all appenders' together; a forked child has a copy."""

    def __init__(self) -> None:
        self.connections = 0
        self.pid = 0
        """The process that opened them."""

    def has_inherited(self) -> bool:
        """Whether this process must not use SQLite: one that it descends from had a connection open at the fork."""
        return self.connections > 0 and self.pid != os.getpid()


_process = _Process()


class SqliteAppender:
    """One lane's way to disk; see :class:`.Appender`, whose arguments and methods it has."""

    def __init__(
        self,
        directory: QueueDirectory,
        room: Room,
        *,
        key: Callable[[], bytes],
        power: bool,
        report: Callable[[LotusError], None],
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        self._directory = directory
        self._room = room
        self._key = key
        self._power = power
        self._report = report
        self._segments = Appender(directory, room, key=key, power=power, report=report, segment_bytes=segment_bytes)
        self._table: EventTable | None = None
        self._descriptor = -1
        self._place = (0, 0)
        self._held: dict[int, tuple[int, int]] = {}
        self._own_id = self._own_key = b""
        self._in_use = False
        self._allowance = 0
        self._checked_at = math.inf
        self._retry_at = -math.inf
        self._kept: list[tuple[int, bytes]] = []
        self._last_row = 0

    def __repr__(self) -> str:
        return f"<SqliteAppender {self._directory.queue_db}>"

    def append(self, record: bytes, now: float, *, is_accepted: bool = False) -> Mark | None:
        """Append one event; see :meth:`.Appender.append`. What was put into SQLite needs no :meth:`sync`."""
        if self._is_free():
            self._in_use = True
            try:
                if self._is_ready(len(record), now, is_accepted=is_accepted) and self._put(record):
                    return None
            finally:
                self._in_use = False
        return self._segments.append(record, now, is_accepted=is_accepted)

    def append_again(self, record: bytes, now: float, mark: Mark) -> Mark:
        """Append an event whose sync has failed; see :meth:`.Appender.append_again`."""
        return self._segments.append_again(record, now, mark)

    @staticmethod
    def sync(mark: Mark) -> None:
        """Return when an event that went to a segment survives a power cut; see :meth:`.Appender.sync`."""
        Appender.sync(mark)

    def check(self) -> None:
        """Compare database and segment with what their paths lead to, now; see :meth:`.Appender.check`."""
        if self._is_free():
            self._check(time.monotonic())
        self._segments.check()

    def written(self) -> dict[str, int]:
        """Return how far this appender has written what may not be settled; see :meth:`.Appender.written`."""
        written = self._segments.written()
        if self._last_row:
            written[QUEUE_DB] = self._last_row + 1
        return written

    def close(self) -> None:
        """Let go of the database and seal the segment; raises nothing."""
        if self._is_free():
            with contextlib.suppress(OSError, LotusError):
                self._check(time.monotonic())
            if self._table is not None:
                self._let_go()
        self._segments.close()

    def abandon(self) -> None:
        """In a forked child: database and segments are the parent's, and are not touched."""
        if self._table is not None:
            _process.pid = _NOBODY  # also where the child has its parent's number, in a namespace of its own
        self._close_descriptor()
        self._table = None
        self._in_use = False
        self._kept.clear()
        self._last_row = 0
        self._segments.abandon()

    def _is_free(self) -> bool:
        """Whether SQLite may be used now: by this process, by nobody else in it, and through what it has opened."""
        if self._in_use or _process.has_inherited():
            return False
        if self._table is None or all(place_of(number) == place for number, place in self._held.items()):
            return True
        _process.pid = _NOBODY
        self._table, self._descriptor = None, -1  # not closed: that would close what others have opened
        what = f"somebody has closed descriptors of {self._directory.queue_db} in process {os.getpid()}"
        self._report(QueueDamaged(f"{what}; no event is lost, it appends to segments from now on"))
        return False

    def _is_ready(self, size: int, now: float, *, is_accepted: bool) -> bool:
        """Whether there is a database where the path leads.

        Raises:
            QueueFull: the queue is over ``max_queue_bytes``.
            OSError: the disk is nearly full.
        """
        if self._table is not None and not 0.0 <= now - self._checked_at < _TRUST:
            self._check(now)
        if self._table is None:
            if now < self._retry_at:
                return False
            self._open(now)
            if self._table is None:
                return False
        self._allowance -= size
        if self._allowance < 0:
            try:
                self._allowance = self._room.grant(size, now, is_accepted=is_accepted) - size
            except FileNotFoundError:
                return False  # the directory is gone: a segment's appender makes it anew
        return True

    def _put(self, record: bytes) -> bool:
        assert self._table is not None
        try:
            self._last_row = self._table.put(self._own_key + record)
        except sqlite3.Error:
            return False  # locked, full, or damaged, which the flusher tells
        self._kept.append((self._last_row, record))
        return True

    def _open(self, now: float) -> None:
        """Open the database, or leave it for the next try."""
        self._retry_at = now + _RETRY_INTERVAL
        path = self._directory.queue_db
        if not os.path.exists(path):
            self._directory.prepare()
            create_file(path)
        self._own_key = self._key()
        # From before the first moment on: a child must not believe too little.
        _process.pid = os.getpid()
        _process.connections += 1
        table = None
        others = open_numbers()
        try:
            before = self._place = _identity(path)
            table = EventTable(path, TABLE, timeout=0)
            _keep_for_ever(table)
            table.connection.execute(f"PRAGMA synchronous={'FULL' if self._power else 'NORMAL'}")
            self._own_id = ensure_id(table.connection)
            if _O_PATH is not None:
                # Closing such a descriptor gives up none of SQLite's locks, as any other one of this file would.
                self._descriptor = os.open(path, _O_PATH | os.O_CLOEXEC)
            if _identity(path) != before:
                raise FileNotFoundError(path)
        except (sqlite3.Error, OSError):
            self._table = table
            self._let_go()
        else:
            self._table, self._held = table, self._opened_since(others)
            self._checked_at, self._last_row = now, 0

    def _opened_since(self, others: set[int]) -> dict[int, tuple[int, int]]:
        """Return the descriptors through which SQLite writes, and what they lead to."""
        path = self._directory.queue_db
        files = [place_of(each) for each in (path, f"{path}-wal", f"{path}-shm")]
        found = {number: place_of(number) for number in open_numbers() - others}
        return {number: place for number, place in found.items() if place is not None and place in files}

    def _check(self, now: float) -> None:
        """Go on where the path leads, and carry over what nobody finds any more."""
        if self._table is None:
            return
        with contextlib.suppress(FileNotFoundError):
            if _identity(self._directory.queue_db) == self._place:
                self._kept.clear()
                self._checked_at = now
                return
        rows = self._stranded()
        for start in range(0, len(rows), _CARRIED_AT_ONCE):
            if not os.path.isdir(self._directory.journal):
                self._directory.prepare()
            header = Header(b"", os.getpid(), 0, self._own_id, self._key())
            write_carried(self._directory, header, list(rows[start : start + _CARRIED_AT_ONCE]), sync=self._power)
        self._let_go()
        self._retry_at = -math.inf
        what = f"{self._directory.queue_db} was deleted, moved or replaced while in use"
        self._report(QueueDamaged(f"{what}; {len(rows)} events were written anew"))

    def _stranded(self) -> list[tuple[int, bytes]]:
        """Return the rows to carry over: of a deleted database all that are left, else what was put since the check.

        Each process that has it open does so; the flusher takes each row once.
        """
        assert self._table is not None
        if self._descriptor >= 0 and os.fstat(self._descriptor).st_nlink == 0:
            with contextlib.suppress(sqlite3.Error):
                rows = self._table.connection.execute("SELECT _id, data FROM queue_pending ORDER BY _id").fetchall()
                return [(row, data[KEY_SIZE:]) for row, data in rows]
        return self._kept

    def _let_go(self) -> None:
        table, self._table = self._table, None
        if table is not None:
            with contextlib.suppress(sqlite3.Error):
                table.close()
            _give_back(table)
        self._close_descriptor()
        _process.connections -= 1
        self._kept.clear()
        self._last_row = 0

    def _close_descriptor(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0 and place_of(descriptor) == self._place:
            with contextlib.suppress(OSError):
                os.close(descriptor)


def _keep_for_ever(table: EventTable) -> None:
    """Take a reference that no interpreter's end gives back: also not that of a child, which must not close it."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(table))


def _give_back(table: EventTable) -> None:
    """Undo :func:`_keep_for_ever`, in the process that called it."""
    ctypes.pythonapi.Py_DecRef(ctypes.py_object(table))


def _identity(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino
