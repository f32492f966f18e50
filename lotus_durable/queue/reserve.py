"""Disk space that the books take in advance, so that they can be written when the disk is full.

Three things are prepared while there is space (measured: without any one of them commits fail on a full disk):

- the write-ahead log is stretched, by zeros, to a size that it never outgrows: it is written back (a checkpoint) after
  three fifths of it, and no transaction takes more than a quarter. It stays when the books are closed;
- rows of ``padding`` hold pages for refused events, those of one segment. They are deleted when the pages are needed.
  The last free pages are the cursors', and never a refused event's;
- the database never grows by itself (``max_page_count``), but only by such a row, for which the disk gives the blocks
  first. A page that was committed into the log and for which the file has no room would stop every checkpoint, and so
  in the end every commit.

Copy-on-write file systems cannot reserve: there all of this is in vain.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from collections.abc import Iterable
from math import ceil

from .files import write_rest
from .table import free_pages, give_back

PAGE = 4096
_USABLE = PAGE - 4  # bytes of an overflow page
_ROW = 50  # bytes that a row takes besides its own, and its page
_FRAME = PAGE + 24  # a page in the log
_LOG = 1024
_FREE = 512
_LEAST = 64
_SHARE = 20
"""Of a small disk, the part that log and padding each take. Events leave an eighth of it free (:mod:`.limit`), and
these two, with what there is besides, must find room in that."""
_STEP = 16
_PADDING = 489 + _STEP * _USABLE
"""Bytes of a row of padding: so many full pages, and what SQLite keeps of it in the page that leads there. Of 32 pages
it would be so large that malloc, after the first of them, no longer gives its memory back."""
_READERS_TAKE = 1_000  # milliseconds
_PLENTY = 8  # times as much as is taken for a large segment must be free
_SEGMENT = 16 * 1024 * 1024
_SPARE = 1024
"""Free pages beyond those that are wanted, above which they are given back to the disk."""


class Reserve:
    """The space of one open database.

    What takes some raises ``OSError`` or ``sqlite3.OperationalError`` where the disk is full; what there is must do.

    Args:
        connection: in autocommit mode.
        descriptor: of the database, for reading and writing; opened before SQLite opened it and closed after.
        log: the path of the write-ahead log.

    Attributes:
        most: the pages of one transaction, at the most.
    """

    def __init__(self, connection: sqlite3.Connection, descriptor: int, log: str) -> None:
        self._connection = connection
        self._descriptor = descriptor
        self._log = log
        disk = os.fstatvfs(descriptor)
        share = disk.f_blocks * disk.f_frsize // _SHARE // _FRAME or _LOG  # some file systems do not tell
        self._frames = max(_LEAST, min(_LOG, share))
        self._size = max(_LEAST, min(_FREE, share))
        self._kept = max(24, self._size // 16)
        self._wanted = self._size
        self.most: int = self._frames // 4
        connection.execute(f"PRAGMA wal_autocheckpoint={self._frames * 3 // 5}")
        self._freeze()

    def prepare(self) -> None:
        """Make ready what is missing."""
        while self._free() < self._size:
            self._add()
        # What lies behind its last frame is none of the log's, and SQLite writes over it.
        descriptor = os.open(self._log, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            write_rest(descriptor, bytes(self._frames * _FRAME), written=os.fstat(descriptor).st_size)
        finally:
            os.close(descriptor)

    def prepare_for(self, size: int) -> None:
        """Come some milliseconds nearer to room for the refused events of a segment of ``size`` bytes, and no more.

        Not where the disk has no plenty of it.
        """
        self._wanted = self._size + min(size, _SEGMENT) * 3 // 2 // PAGE  # a row is larger than its frame
        self.give_back()
        missing = self._wanted - self._free()
        if missing <= 0:
            return
        disk = os.fstatvfs(self._descriptor)
        if missing * PAGE <= disk.f_bavail * disk.f_frsize // _PLENTY:
            for _ in range(8):
                self._add()

    def give_back(self) -> None:
        """Come some milliseconds nearer to a file without room that nobody needs."""
        # There are seldom so many, and to count all there is takes longer.
        if free_pages(self._connection) - self._kept > _SPARE and self._free() - self._wanted > _SPARE:
            for _ in range(2):
                give_back(self._connection, self.most // 4)  # moving a page changes three
            self._freeze()

    def ensure(self, pages: int) -> None:
        """Have this many free pages beside those that are kept."""
        needed = pages + self._kept
        if free_pages(self._connection) < needed:
            self._release(needed + self._size // 2)  # and some more, so that it is not done each time
            while self._free() < needed:
                self._add()
            self._release(needed)

    def make_space(self) -> None:
        """Do what can be done about a transaction that had no room, in the log or in the database."""
        self._begin_log_anew()
        with contextlib.suppress(OSError, sqlite3.OperationalError):
            self.ensure(self.most)

    def _begin_log_anew(self) -> None:
        """Write the log back, and wait for a moment until nobody reads in it any more: a page is soon read.

        Where readers come one after the other there is always one, and the log never begins anew by itself.
        """
        [[before]] = self._connection.execute("PRAGMA busy_timeout").fetchall()
        self._connection.execute(f"PRAGMA busy_timeout={_READERS_TAKE}")
        try:
            self._connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
        finally:
            self._connection.execute(f"PRAGMA busy_timeout={before}")

    def checkpoint(self) -> None:
        """Write the log back, so that it begins anew; readers that are in the middle of it keep it from that."""
        self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def _release(self, pages: int) -> None:
        """Have this many free pages, if all padding together has them."""
        delete = "DELETE FROM padding WHERE rowid IN (SELECT rowid FROM padding ORDER BY rowid DESC LIMIT ?)"
        while (missing := pages - free_pages(self._connection)) > 0:
            if not self._connection.execute(delete, (ceil(missing / _STEP),)).rowcount:
                break

    def _free(self) -> int:
        rows = int(self._connection.execute("SELECT count(*) FROM padding").fetchone()[0])
        return rows * _STEP + free_pages(self._connection)

    def _count(self) -> int:
        return int(self._connection.execute("PRAGMA page_count").fetchone()[0])

    def _add(self) -> None:
        """Add a row of padding; what is on the list of free pages is taken first."""
        count = self._count()
        new = max(0, _STEP + 3 - free_pages(self._connection))
        if new and hasattr(os, "posix_fallocate"):  # not on macOS: there writing the row has to take the blocks
            os.posix_fallocate(self._descriptor, count * PAGE, new * PAGE)
        self._connection.execute(f"PRAGMA max_page_count={count + new}")
        try:
            self._connection.execute("INSERT INTO padding VALUES (zeroblob(?))", (_PADDING,))
        finally:
            self._freeze()

    def _freeze(self) -> None:
        """Let the database grow no further."""
        self._connection.execute(f"PRAGMA max_page_count={self._count()}")


def pages_for(rows: Iterable[bytes | str]) -> int:
    """Return how many pages these rows take at the most: as many to a page as have room, and none is split for nothing.

    What has no room in a page goes on in pages of its own.
    """
    pages = 8.0
    for row in rows:
        size = len(row) + _ROW
        pages += 1 / (PAGE // size) if size <= PAGE else 1 + size / _USABLE
    return ceil(pages)


def is_full(error: BaseException) -> bool:
    """Whether it says that the disk, or the database, is full."""
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
