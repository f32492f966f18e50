"""A backup of a queue that is in use: what it holds is consistent, though nobody is asked to wait.

Segments come first, then ``queue.db``, and the books last. So the books are never older than the events: what they
count as settled is not sent again, and what was not settled by then is in the copy.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from contextlib import closing
from tempfile import mkdtemp

from lotus_durable.errors import ConfigurationError
from lotus_durable.queue.directory import DIRECTORY_MODE, QueueDirectory
from lotus_durable.queue.files import FILE_MODE, TEMPORARY, open_to_read, regular_file_status, sync_path
from lotus_durable.queue.heartbeat import HeartbeatFile, Progress, read_progress
from lotus_durable.queue.rows import delete_rows
from lotus_durable.queue.table import copy_database, mapped_errors, read_only, refuse_odd
from lotus_durable.values import NamedTuple

from . import named
from .pending import read_known


class BackedUp(NamedTuple):
    """What is in a backup."""

    files: int
    bytes: int


def back_up(directory: QueueDirectory, target: str) -> BackedUp:
    """Copy a queue; the copy is there as a whole, or not at all.

    Raises:
        ConfigurationError: the target exists, or is in the queue directory.
    """
    target = os.path.abspath(target)
    if os.path.lexists(target):
        raise ConfigurationError(f"{target} exists: a backup is made in a new directory")
    if os.path.realpath(target).startswith(f"{os.path.realpath(directory.root)}/"):
        raise ConfigurationError(f"{target} is in the queue directory: a backup is made elsewhere")
    with named(target):
        unfinished = mkdtemp(TEMPORARY, f"{os.path.basename(target)}.", os.path.dirname(target))
    copy = QueueDirectory(unfinished)
    try:
        for folder in (copy.journal, copy.quarantine):
            os.mkdir(folder, DIRECTORY_MODE)
        _copy_folder(directory.journal, copy.journal)
        progress = read_progress(directory)  # never ahead of the books
        for source, to in ((directory.queue_db, copy.queue_db), (directory.books, copy.books)):
            if os.path.lexists(source):
                _copy_database(source, to)
        # Those settled between the two copies: they would be sent again.
        delete_rows(copy, read_known(copy, lambda _: None).cursor)
        # What has another name since, or is new: the books may say that it took the place of what was copied.
        _copy_folder(directory.journal, copy.journal)
        _copy_folder(directory.quarantine, copy.quarantine)
        # What was delivered lately after the books: it must not be behind them.
        for source, to in ((directory.identity, copy.identity), (directory.delivered, copy.delivered)):
            _copy(source, to)
        if progress != Progress():  # somebody has flushed; who that is, the original's process, is not in it
            with closing(HeartbeatFile(copy)) as heartbeat:
                heartbeat.write(None, progress)
        sizes = [os.stat(f"{folder}/{name}").st_size for folder, _, names in os.walk(unfinished) for name in names]
        for folder in (copy.journal, copy.quarantine, unfinished):
            sync_path(folder)
        os.rename(unfinished, target)
        sync_path(os.path.dirname(target))
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return BackedUp(len(sizes), sum(sizes))


def _copy_folder(source: str, target: str) -> None:
    """Copy what is there and not in the target."""
    for name in sorted(os.listdir(source) if os.path.isdir(source) else ()):
        if not os.path.exists(f"{target}/{name}") and not name.endswith((".new", ".tmp")):
            _copy(f"{source}/{name}", f"{target}/{name}")


def _copy(source: str, target: str) -> None:
    """Copy a file, synced, if one is there, and a regular one."""
    with contextlib.suppress(FileNotFoundError):  # of the journal: it was settled meanwhile
        if regular_file_status(source) is None:
            return
        with (
            open(open_to_read(source), "rb") as original,
            open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE), "wb") as copy,
        ):
            shutil.copyfileobj(original, copy, 1 << 20)
            copy.flush()
            os.fsync(copy.fileno())


def _copy_database(source: str, target: str) -> None:
    refuse_odd(source)
    with mapped_errors(source), closing(read_only(source)) as original:
        copy_database(original, target)
