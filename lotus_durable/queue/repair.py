"""The file of the books when something happened to it: it was damaged, or removed or replaced.

- *removed or replaced while open*: each commit into the open database still succeeds. So before anything is deleted
  because of a commit, :meth:`.Books.make_safe` compares database and log with the files at their paths. If they
  differ, the open database is written to its path; what lay there is kept in the quarantine.
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
import sqlite3
import time

from lotus_durable.disk import is_file

from .contents import Known
from .database import BooksDatabase
from .directory import QueueDirectory, make_directory
from .files import FolderPlace, sync_path
from .stats import QueueStats
from .table import copy_database, mapped_errors

_PARTS = ("", "-wal", "-shm")
_NEW = ".new"
_UNFINISHED = ".new.tmp"


def finish_renaming(path: str) -> bool:
    """Go on where a kill came: new books that are finished take their place, unfinished ones are thrown away.

    Finished ones hold all that was known, and what lies in the place of the books may already lack its log. Return
    whether there were any.
    """
    _remove(path + _UNFINISHED)
    if is_finished := is_file(path + _NEW):
        _put_in_place(path, "replaced")
    return is_finished


def write_back(database: BooksDatabase, folder: FolderPlace) -> str | None:
    """Write an open database to where its path leads; return where what lay there is kept, if something did."""
    unfinished = database.path + _UNFINISHED
    _remove(unfinished)
    copy_database(database.connection, unfinished)
    _finish(database.path, folder)
    database.abandon()
    return _put_in_place(database.path, "replaced")


def replace(path: str, known: Known, folder: FolderPlace) -> tuple[str | None, int]:
    """Begin new books in the place of damaged ones; return where these are kept, and how many rows of them are lost."""
    unfinished = path + _UNFINISHED
    _remove(unfinished)
    BooksDatabase(unfinished).abandon()
    with mapped_errors(path), contextlib.closing(sqlite3.connect(unfinished)) as connection:
        lost = known.enter(connection, path)
    _finish(path, folder)
    return _put_in_place(path, "damaged"), lost


def words_of_what_is_gone(path: str, last: QueueStats, now: QueueStats, *, is_new: bool) -> str | None:
    """Say what was in books that were removed, or replaced by older ones, when nobody had them open; None: nothing.

    By what the last heartbeat counted, and what is in the books now.
    """
    if (last.parked, last.dead_lettered) == (now.parked, now.dead_lettered):
        return None
    what = "are gone, and new ones were begun" if is_new else "are older than the last count"
    held = "" if is_new else f", now {now.parked} and {now.dead_lettered}"
    return (
        f"the books {path} {what}; in the former ones, at the last count, parked events: {last.parked}, dead letters: "
        f"{last.dead_lettered}{held}; those whose segments are gone too are lost"
    )


def _finish(path: str, folder: FolderPlace) -> None:
    """Give new books the name of finished ones: from now on they are the books, whoever opens these next."""
    sync_path(path + _UNFINISHED)
    folder.check()
    os.rename(path + _UNFINISHED, path + _NEW)
    sync_path(folder.path)


def _put_in_place(path: str, what: str) -> str | None:
    """Rename finished books into place; return where what lay there is kept, if something did."""
    folder, name = os.path.split(path)
    quarantine = QueueDirectory(folder).quarantine
    make_directory(quarantine)
    kept = f"{quarantine}/{name}.{what}-{time.time_ns()}"
    for part in _PARTS:
        with contextlib.suppress(FileNotFoundError):
            os.rename(path + part, kept + part)
    sync_path(quarantine)
    os.rename(path + _NEW, path)
    sync_path(folder)
    return kept if os.path.exists(kept) else None


def _remove(path: str) -> None:
    for part in _PARTS:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path + part)
