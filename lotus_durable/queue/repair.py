"""The books when something happened to their file: it was damaged, or removed or replaced.

- *removed or replaced while open*: each commit into the open database still succeeds. So before anything is deleted
  because of a commit, :meth:`RepairedBooks.make_safe` compares database and log with the files at their paths. If they
  differ, the open database is written to its path; what lay there is kept beside it.
- *removed while nobody had them open*: new books are begun, and it is reported how many parked events and dead letters
  the old ones held.
- *damaged*: new books are begun with what is known of the old ones. If these were open, that is all but the parked
  events and dead letters; else it is what can be read. Parked events and dead letters are taken over where they can be
  read. For each that cannot, by the old count, there is a dead letter without a record, so none of them counts as
  delivered. Events in segments whose cursor could not be read are sent again, with their ids. The damaged file is kept.

New books are made under another name, synced, and given the name of finished ones: whoever opens the books next goes on
from there. So a kill before that leaves the old ones, and one after it the new.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from typing import TypeVar

from lotus_durable.descriptors import place_of
from lotus_durable.disk import DatabaseDamaged, is_file
from lotus_durable.errors import DiskRefused, QueueDamaged

from .books import Books
from .directory import QueueDirectory
from .files import check_place, outlast_removal, sync_path
from .heartbeat import read_progress
from .protocol import Report
from .stats import QueueStats
from .taking_over import take_over

_T = TypeVar("_T")
_PARTS = ("", "-wal", "-shm")
_NEW = ".new"
_UNFINISHED = ".new.tmp"


class RepairedBooks:
    """See :class:`.Books`; those that are open now.

    Attributes:
        is_new: there were no books, or damaged ones.
        is_behind: the last heartbeat had more settled: they are new, or older ones, and know less than what was done.

    Raises:
        OSError: the disk refuses.
        QueueDamaged: a newer version made the books; nothing was changed.
    """

    def __init__(self, directory: QueueDirectory, report: Report) -> None:
        self._root = directory.root
        self._place = place_of(directory.root)
        self._path = directory.books
        self._report = report
        if _finish_renaming(self._path):
            report(QueueDamaged(f"the books {self._path} were written back: a kill came before that was done"))
        books = Books(self._path)
        try:
            books.open()
        except DatabaseDamaged as error:
            books = self._replaced(books, error)
            books.is_new = True  # a flusher has been here, and what it last did is not known for sure
        last = read_progress(directory).counts
        try:
            check_place(self._root, self._place)  # or it is the count of another queue
        except FileNotFoundError:
            books.close()
            raise
        self.is_behind: bool = last.accepted - last.pending > books.counts.accepted
        if self.is_behind:
            self._report_what_is_gone(books, last)
        self._books = books
        self.is_new: bool = books.is_new

    @property
    def books(self) -> Books:
        """The open books, to read what they have in memory."""
        if not self._books.is_open:  # they could not be opened when they had been written back
            self._books = _opened(self._path)
        return self._books

    def do(self, work: Callable[[Books], _T]) -> _T:
        """Do something with the books that reads or writes their file; once more with new ones if they are damaged."""
        try:
            return work(self.books)
        except DatabaseDamaged as error:
            self.begin_anew(error)
            return work(self._books)

    def begin_anew(self, why: DatabaseDamaged) -> None:
        """Set the books aside, and begin new ones with all that can be read of them."""
        self._books = self._replaced(self._books, why)

    def keep_in_place(self) -> None:
        """See that they are where the path leads; else write them back there.

        Raises:
            OSError: the disk refuses.
        """
        if not self.books.database.is_in_place():
            outlast_removal(self._root, self._place)
            self._write_back("they were removed or replaced while in use")

    def make_safe(self) -> None:
        """Return when all that was settled survives a power cut, in the file that the path leads to.

        Raises:
            OSError: the disk refuses; nothing may be deleted.
        """
        self.keep_in_place()
        try:
            self._books.database.sync()
        except OSError as error:
            # The kernel may have dropped what it could not write, and would not say so again.
            self._report(DiskRefused(f"the books could not be synced ({error}); they are written anew"))
            self._write_back(f"the disk failed to sync them: {error}")

    def close(self) -> None:
        """See :meth:`.Books.close`."""
        self._books.close()

    def _report_what_is_gone(self, books: Books, last: QueueStats) -> None:
        """Tell what was in books that were removed, or replaced by older ones, when nobody had them open.

        That is as the last heartbeat counted it.
        """
        now = books.counts
        if (last.parked, last.dead_lettered) == (now.parked, now.dead_lettered):
            return
        what = "are gone, and new ones were begun" if books.is_new else "are older than the last count"
        held = f", now {now.parked} and {now.dead_lettered}" if not books.is_new else ""
        self._report(
            QueueDamaged(
                f"the books {self._path} {what}; in the former ones, at the last count, parked events: {last.parked}, "
                f"dead letters: {last.dead_lettered}{held}; those whose segments are gone too are lost"
            )
        )

    def _write_back(self, why: str) -> None:
        unfinished = self._path + _UNFINISHED
        _remove(unfinished)
        self._books.database.copy_to(unfinished)
        self._finish(unfinished)
        self._books.abandon()
        kept = _put_in_place(self._path, "replaced")
        where = f"; what lay there is kept as {kept}" if kept else ""
        self._report(QueueDamaged(f"the books {self._path} were written back: {why}{where}"))
        self._books = _opened(self._path)

    def _replaced(self, old: Books, error: DatabaseDamaged) -> Books:
        """Begin new books in the place of damaged ones."""
        old.abandon()
        unfinished = self._path + _UNFINISHED
        _remove(unfinished)
        new = Books(unfinished)
        new.open()
        new.abandon()
        lost = take_over(unfinished, old, self._path)
        self._finish(unfinished)
        kept = _put_in_place(self._path, "damaged")
        self._report(
            QueueDamaged(
                f"{error}; new ones were begun, the damaged ones are kept as {kept}; parked events and dead letters "
                f"that could not be read from them: {lost}"
            )
        )
        return _opened(self._path)

    def _finish(self, unfinished: str) -> None:
        """Give new books the name of finished ones: from now on they are the books, whoever opens these next."""
        sync_path(unfinished)
        check_place(self._root, self._place)
        os.rename(unfinished, self._path + _NEW)
        sync_path(self._root)


def _opened(path: str) -> Books:
    _finish_renaming(path)  # the disk may have refused it
    books = Books(path)
    books.open()
    return books


def _finish_renaming(path: str) -> bool:
    """Go on where a kill came: new books that are finished take their place, unfinished ones are thrown away.

    Finished ones hold all that was known, and what lies in the place of the books may already lack its log. Return
    whether there were any.
    """
    _remove(path + _UNFINISHED)
    if is_finished := is_file(path + _NEW):
        _put_in_place(path, "replaced")
    return is_finished


def _put_in_place(path: str, what: str) -> str | None:
    """Rename finished books into place; return where what lay there is kept, if something did."""
    kept = f"{path}.{what}-{time.time_ns()}"
    for part in _PARTS:
        with contextlib.suppress(FileNotFoundError):
            os.rename(path + part, kept + part)
    os.rename(path + _NEW, path)
    sync_path(os.path.dirname(path))
    return kept if os.path.exists(kept) else None


def _remove(path: str) -> None:
    for part in _PARTS:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path + part)
