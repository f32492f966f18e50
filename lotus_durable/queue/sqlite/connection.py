"""One process's connection to the queue's database, which no child ever uses.

SQLite keeps what it knows about locks in the memory of the process. A child has a copy of that, but not the locks: what
it writes, checkpoints or closes through it, or through a second connection to the same file, loses the acknowledged
puts of others (measured, and ``integrity_check`` still says ok). Therefore:

- a fork that runs Python's hooks waits for the connection to be free, and closes it; it is opened again when needed;
- a child of a fork without hooks (uWSGI's) sees by its pid that it has inherited one. It never touches it and opens no
  other: :func:`inherited_connection` stays true in it and in its children, and the queue writes elsewhere;
- a connection is never closed by the interpreter's end or by garbage collection, which a child has too, but only by
  :meth:`Database.close`. For that one reference to it is never given back.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lotus_durable.imports import WAS_CUT, import_for_sqlite, was_cut
from lotus_durable.queue.books import FILE, LOCK_TIMEOUT, OPEN_ATTEMPTS, OPEN_PAUSE, Bytes, mapped_errors
from lotus_durable.queue.directory import create_file

from . import tables
from .reserve import SpaceReserve

if TYPE_CHECKING:
    import sqlite3

    from .pending import PendingQueue

_WHAT = "the queue's database"
_LOOK_TIMEOUT = 0.5  # seconds
_IMPORTED = "lotus_durable.queue.sqlite.pending"
_state = {"inherited": False}


class InheritedConnection(OSError):
    """A process must not use SQLite that was forked past Python's hooks while its parent had the database open."""

    def __init__(self) -> None:
        reason = "was forked while its parent had the queue's database open" if _state["inherited"] else WAS_CUT
        super().__init__(f"this process {reason}, so it cannot read the queue's database")


def inherited_connection() -> bool:
    """Whether this process must not use SQLite: it, or an ancestor, inherited an open connection.

    Or half an import: it must not import SQLite then.
    """
    return _state["inherited"] or was_cut()


class Database:
    """The connection of one process, shared by its threads; opened when it is first used.

    Args:
        store: the folder it is in.
        power: whether each commit is to survive a power cut.
        before_opening: makes sure that the folder is there.
        after_opening: refuses a directory that is not this backend's, when others can see already that it is in use.
        stays_open: False to close it after each use: in a process that forks past all hooks.

    Raises:
        InheritedConnection: (an OSError) from :meth:`use`.
        QueueDirectoryError: from :meth:`use`: what the two callables raise.
        OSError: from :meth:`use`: SQLite's errors, mapped.
        StoreDamaged: (an OSError) from :meth:`use`: damaged beyond SQLite's understanding.
    """

    def __init__(
        self,
        store: Path,
        *,
        power: bool,
        before_opening: Callable[[], None],
        after_opening: Callable[[], None],
        stays_open: bool = True,
    ) -> None:
        self.path = store / FILE
        # Held while the connection is used, so that a fork can wait for it.
        self.in_use = threading.RLock()
        self.is_open = False
        self.reserve = SpaceReserve(store)
        self._power = power
        self._before_opening = before_opening
        self._after_opening = after_opening
        self._stays_open = stays_open
        self._queue: PendingQueue | None = None
        self._user: int | None = None
        self._identity: tuple[int, int] | None = None

    def is_in_use_here(self) -> bool:
        """Whether this very thread is in the middle of using it: we are in a signal handler, then."""
        return self._user == threading.get_ident()

    def is_in_place(self) -> bool:
        """Whether the file that is open is the one that others find: what goes into a deleted one is lost."""
        return _identity(self.path) == self._identity

    @contextlib.contextmanager
    def use(self) -> Iterator[PendingQueue]:
        """Give the open queue to this thread alone."""
        if inherited_connection():
            raise InheritedConnection
        if self._queue is None and _IMPORTED not in sys.modules:
            # Before the lock is taken: a fork waits for imports first, and then for the lock.
            import_for_sqlite()
        with self.in_use, mapped_errors(_WHAT):
            outer, self._user = self._user, threading.get_ident()
            try:
                # Not `or`: persist-queue's have a length, by which every one of ours is empty.
                yield self._open() if self._queue is None else self._queue
            except BaseException:
                self._roll_back()
                raise
            finally:
                self._user = outer
                if not self._stays_open:
                    self.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Give a connection in a write transaction; it is committed at the end, unless it was already."""
        with self.use() as queue:
            connection = queue.writer
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.commit()

    def commit(self, work: Callable[[sqlite3.Connection], object]) -> None:
        """Do ``work`` in a transaction, for the leader: on a full disk with the space that is kept for it.

        Raises:
            OSError: the disk refuses; nothing of it counts.
        """
        try:
            with self.transaction() as connection:
                work(connection)
        except OSError as error:
            if error.errno != errno.ENOSPC or not self.reserve.exists():
                raise
            with self.transaction() as connection:
                self.reserve.release()  # in the transaction: nobody else can put anything there
                work(connection)
            self._shorten_log()
            self.reserve.fill()

    def _shorten_log(self) -> None:
        """Have what is in the log written to the database, whose pages may have become free: that makes space."""
        with contextlib.suppress(OSError), self.use() as queue:
            queue.writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        """Close the connection; the next use opens another."""
        with self.in_use, contextlib.suppress(OSError), mapped_errors(_WHAT):
            queue, self._queue = self._queue, None
            if queue is not None:
                queue.close()
                _give_back(queue)
            self.is_open = False

    def abandon(self) -> bool:
        """In a forked child: note whether a connection was inherited; this object is of no use any more."""
        if self.is_open:
            _state["inherited"] = True
        return not self.is_open

    def _roll_back(self) -> None:
        queue = self._queue
        if queue is not None and queue.writer.in_transaction:
            with contextlib.suppress(Exception):
                queue.writer.rollback()

    def _open(self) -> PendingQueue:
        self._before_opening()
        create_file(self.path)
        self.is_open = True  # from before the first moment on: a child must not believe too little
        queue = None
        try:
            queue = _opened(self.path)
            for connection in (queue.reader, queue.writer):
                connection.execute(f"PRAGMA synchronous={'FULL' if self._power else 'NORMAL'}")
            self._after_opening()
            tables.create(queue.writer)
        except BaseException:
            if queue is not None:
                queue.close()
                _give_back(queue)
            self.is_open = False
            raise
        self._queue = queue
        self._identity = _identity(self.path)
        return queue


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _opened(path: Path) -> PendingQueue:
    import sqlite3

    from .pending import PendingQueue

    attempt = 0
    while True:
        try:
            queue = PendingQueue(
                str(path.parent),
                name=tables.PENDING,
                multithreading=True,
                timeout=LOCK_TIMEOUT,
                auto_commit=False,
                serializer=Bytes,
                db_file_name=path.name,
            )
        except (sqlite3.OperationalError, FileExistsError):
            # Processes that open a new database at once collide now and then (measured).
            attempt += 1
            if attempt == OPEN_ATTEMPTS:
                raise
            time.sleep(OPEN_PAUSE)
        else:
            _keep_for_ever(queue)
            return queue


def _keep_for_ever(queue: PendingQueue) -> None:
    """Take a reference that no interpreter's end gives back: also not that of a child, which must not close it."""
    import ctypes

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(queue))


def _give_back(queue: PendingQueue) -> None:
    import ctypes

    ctypes.pythonapi.Py_DecRef(ctypes.py_object(queue))


def sync(path: Path) -> None:
    """Make what was committed survive a power cut: until a checkpoint, which syncs by itself, it is in the log.

    Raises:
        OSError: the disk refuses.
    """
    with contextlib.suppress(FileNotFoundError):
        # SQLite takes no locks on the log, so closing this descriptor drops none.
        descriptor = os.open(f"{path}-wal", os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)


def is_open_elsewhere(path: Path) -> bool:
    """Whether any connection to the database is open: one of this process's own would be, too.

    Asks SQLite for what it gives only to the one connection there is.

    Raises:
        OSError: the disk refuses.
    """
    import sqlite3

    if not path.exists():
        return False
    connection = sqlite3.connect(path, timeout=_LOOK_TIMEOUT)
    try:
        with mapped_errors(_WHAT):
            return bool(connection.execute("PRAGMA journal_mode=DELETE").fetchone()[0] != "delete")
    except OSError as error:
        if getattr(error.__cause__, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
            return True
        raise
    finally:
        connection.close()
