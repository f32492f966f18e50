"""Space on the disk that is the books' already, so that a disk filled by others stops no settlement.

Three things are made ready while there is room (measured: without any one of them commits end on a full disk):

- the write-ahead log is stretched to a size that it never outgrows: it is written back (a checkpoint) after three
  fifths of it, and no transaction takes more than a quarter. It stays when the books are closed;
- the database holds free pages, for the refused events of one segment and for the cursors;
- the database never grows by itself (``max_page_count``), but only in :meth:`Reserve.grow`, which has the disk give the
  blocks first. A page that was committed into the log and for which the file has no room would stop every checkpoint,
  and so in the end every commit.

Copy-on-write file systems cannot reserve: there all of this is in vain.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterable
from math import ceil

PAGE = 4096
_USABLE = PAGE - 4  # bytes of an overflow page
_ROW = 50  # bytes that a row takes besides its own, and its page
_FRAME = PAGE + 24  # a page in the log
_LOG = 1024
_FREE = 512
_LEAST = 64
_SHARE = 20
"""Of a small disk, the part that log and free pages each take. Events leave an eighth of it free (:mod:`.room`), and
these two, with what there is besides, must find room in that."""
_PLENTY = 8  # times as much as is taken for a large segment must be free
_SEGMENT = 16 * 1024 * 1024


class Reserve:
    """The space of one open database.

    Args:
        connection: in autocommit mode.
        descriptor: of the database, for reading and writing; opened before SQLite opened it and closed after.
        log: the path of the write-ahead log.
    """

    def __init__(self, connection: sqlite3.Connection, descriptor: int, log: str) -> None:
        self._connection = connection
        self._descriptor = descriptor
        self._log = log
        disk = os.fstatvfs(descriptor)
        share = disk.f_blocks * disk.f_frsize // _SHARE // _FRAME or _LOG  # some file systems do not tell
        self._frames = max(_LEAST, min(_LOG, share))
        self._size = max(_LEAST, min(_FREE, share))
        self._known_free = 0
        self.most = self._frames // 4
        """Pages of one transaction, at the most."""
        self.kept = max(16, self._size // 16)
        """The last free pages: they are the cursors', never a refused event's."""
        connection.execute(f"PRAGMA wal_autocheckpoint={self._frames * 3 // 5}")
        self.freeze()

    def prepare(self) -> None:
        """Make ready what is missing.

        Raises:
            OSError, sqlite3.OperationalError: the disk is full; what there is must do.
        """
        free = self.free()
        if free < self._size // 2:
            self.grow(self._size - free)
        if os.stat(self._log).st_size < self._frames * _FRAME:
            # In the same pages twice: each transaction is in the log by itself.
            self.checkpoint()
            connection = self._connection
            connection.execute("PRAGMA wal_autocheckpoint=0")
            try:
                for _ in range(-(-self._frames // self._size)):
                    self._pad(self.free())
                    connection.execute("DELETE FROM padding")
            finally:
                connection.execute(f"PRAGMA wal_autocheckpoint={self._frames * 3 // 5}")
                self.checkpoint()

    def expect(self, size: int) -> None:
        """Have free pages for the refused events of a segment of ``size`` bytes, where the disk has plenty of room.

        Raises:
            OSError, sqlite3.OperationalError: the disk is full; what there is must do.
        """
        wanted = min(size, _SEGMENT) * 3 // 2 // PAGE + self.kept  # a row is larger than its frame
        missing = wanted - self.free()
        if missing > 0:
            disk = os.fstatvfs(self._descriptor)
            if missing * PAGE < disk.f_bavail * disk.f_frsize // _PLENTY:
                self.grow(missing)

    def free(self) -> int:
        """Return how many pages are free."""
        return int(self._connection.execute("PRAGMA freelist_count").fetchone()[0])

    def ensure(self, pages: int) -> None:
        """Have this many free pages beside those that are kept.

        Raises:
            OSError: the disk is full.
            sqlite3.OperationalError: so it is.
        """
        self._known_free -= pages
        if self._known_free >= self.kept:
            return
        free = self.free()
        if free < pages + self.kept:
            try:
                self.grow(max(pages + self.kept - free, self._size // 2))
            except (OSError, sqlite3.OperationalError):
                if (missing := pages + self.kept - self.free()) > 0:
                    self.grow(missing)
            free = self.free()
        self._known_free = free - pages

    def grow(self, pages: int) -> None:
        """Add free pages, for which the file has its blocks.

        Raises:
            OSError: the disk is full.
            sqlite3.OperationalError: so it is.
        """
        left = pages + self.free()  # what is free is taken first, and is free again in the end
        try:
            while left > 0:
                step = min(left, self._size // 2)
                self.checkpoint()
                new = max(0, step - self.free())
                if new:
                    os.posix_fallocate(self._descriptor, self._count() * PAGE, (new + 1) * PAGE)
                    self._connection.execute(f"PRAGMA max_page_count={self._count() + new + 1}")
                self._pad(step)
                left -= step
        finally:
            try:
                self._connection.execute("DELETE FROM padding")
            finally:
                self.freeze()
                self.checkpoint()

    def freeze(self) -> None:
        """Let the database grow no further."""
        self._connection.execute(f"PRAGMA max_page_count={self._count()}")

    def checkpoint(self) -> None:
        """Write the log back, so that it begins anew; readers that are in the middle of it keep it from that.

        Raises:
            sqlite3.OperationalError: the disk refuses.
        """
        self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def _count(self) -> int:
        return int(self._connection.execute("PRAGMA page_count").fetchone()[0])

    def _pad(self, pages: int) -> None:
        if pages > 1:
            self._connection.execute("INSERT INTO padding VALUES (zeroblob(?))", ((pages - 1) * _USABLE,))


def pages_for(rows: Iterable[bytes]) -> int:
    """Return how many pages these rows take at the most: as many to a page as have room, and none is split for nothing.

    What has no room in a page goes on in pages of its own.
    """
    pages = 4.0
    for row in rows:
        size = len(row) + _ROW
        pages += 1 / (PAGE // size) if size <= PAGE else 1 + size / _USABLE
    return ceil(pages)


def is_full(error: BaseException) -> bool:
    """Whether it says that the disk, or the database, is full."""
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
