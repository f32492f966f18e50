"""The open database of the books: one connection, its transactions, its durability, and where its files are.

Commits are not synced (WAL, ``synchronous=NORMAL``): a power cut may undo the last ones, each as a whole.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable
from typing import TypeVar

from lotus_durable.descriptors import place_of
from lotus_durable.errors import QueueDamaged

from .contents import SCHEMA, VERSION
from .files import FILE_MODE, open_to_read, sync_data
from .reserve import Reserve, is_full
from .table import EventTable, log_of, mapped_errors, read_only, refuse_odd

_CACHE = 128
"""KiB of pages in memory. The reserve is written through it, and would fill the 2 MB that SQLite keeps by default."""
_T = TypeVar("_T")


class BooksDatabase:
    """For one thread of the one flusher, which never forks. It is made where there is none.

    What is done with it raises ``OSError`` where the disk refuses (nothing of it counts then), and ``DatabaseDamaged``
    (an OSError) where it does, and will.

    Attributes:
        connection: in autocommit mode.
        is_new: it was made now.

    Raises:
        QueueDamaged: a newer version made it; nothing was changed.
    """

    connection: sqlite3.Connection
    reserve: Reserve

    def __init__(self, path: str) -> None:
        self.path = path
        self.is_new: bool = False
        self._table: EventTable | None = None
        self._log = -1
        refuse_odd(path)
        # First opened and last closed, and never in between: POSIX gives up a process's locks on a file, SQLite's too,
        # with any of its descriptors.
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, FILE_MODE)
        try:
            self.do(self._open)
        except BaseException:
            self.abandon()
            raise

    @property
    def is_open(self) -> bool:
        """Whether it was not let go of."""
        return self._table is not None

    def commit(self, work: Callable[[], _T]) -> _T:
        """Do ``work`` in a transaction; once more, with what can be done about that, if there is no room for it."""
        with mapped_errors(self.path):
            try:
                return self._attempt(work)
            except sqlite3.OperationalError as error:
                if not is_full(error):
                    raise
                self.reserve.make_space()
                return self._attempt(work)

    def do(self, work: Callable[[], _T]) -> _T:
        """Do ``work``; SQLite's errors come out as the disk's."""
        with mapped_errors(self.path):
            return work()

    def sync(self) -> None:
        """Make every commit so far survive a power cut; if it raises, that is not known of any since the last time."""
        sync_data(self._log)

    def is_in_place(self) -> bool:
        """Whether the files are those that the paths lead to."""
        return self._log >= 0 and all(place_of(path) == place for path, place in self._places.items())

    def close(self) -> None:
        """Write the log back and let go of the files; raises nothing.

        The log stays, stretched as it is: on a full disk there would be no room for it at the next opening. SQLite
        deletes it when its last connection closes, unless that one only reads.
        """
        if self._table is not None:
            with contextlib.suppress(sqlite3.Error):
                self.reserve.checkpoint()
            with contextlib.suppress(sqlite3.Error), contextlib.closing(read_only(self.path)) as reader:
                reader.execute("SELECT count(*) FROM padding").fetchone()
                self._table.close()
        self.abandon()

    def abandon(self) -> None:
        """Let go of the files as they are; raises nothing."""
        if self._table is not None:
            with contextlib.suppress(sqlite3.Error):
                self._table.close()
        self._table = None
        descriptors, self._log, self._descriptor = {self._log, self._descriptor} - {-1}, -1, -1
        for descriptor in descriptors:
            os.close(descriptor)

    def _open(self) -> None:
        self._table = EventTable(self.path, "parked")
        self.connection = connection = self._table.connection
        for pragma in ("synchronous=NORMAL", "temp_store=MEMORY", f"cache_size=-{_CACHE}"):
            connection.execute(f"PRAGMA {pragma}")
        [found] = connection.execute("PRAGMA user_version").fetchone()
        if found > VERSION:
            raise QueueDamaged(f"{self.path} is of a newer version of this program; nothing was changed")
        if not found:
            self.is_new = True
            EventTable(self.path, "dead").close()
            # It was made by its path, which may have led elsewhere in that moment: then this is tried again.
            statements = ["SELECT 1 FROM queue_dead", *SCHEMA, f"PRAGMA user_version={VERSION}"]
            self._attempt(lambda: [connection.execute(statement) for statement in statements])
        with contextlib.suppress(FileNotFoundError):  # removed in this moment: then they are not in place
            self._log = open_to_read(log_of(self.path))
        # Of what all share that have them open, too: who makes another one reads what is half written.
        self._places = {
            self.path: place_of(self._descriptor),
            log_of(self.path): place_of(self._log),
            f"{self.path}-shm": place_of(f"{self.path}-shm"),
        }
        self.reserve = Reserve(connection, self._descriptor, log_of(self.path))
        with contextlib.suppress(OSError, sqlite3.OperationalError):
            self.reserve.prepare()

    def _attempt(self, work: Callable[[], _T]) -> _T:
        connection = self.connection
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
