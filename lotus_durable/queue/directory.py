"""The queue directory: where things are in it, and whether it is safe to use.

::

    queue_dir/              0700
      identity              written once: the format and the id of this queue
      journal/*.seg         the segments
      journal/*.new         a segment being created, never read
      books.db              what became of the events; only the flusher writes it
      delivered             the ids delivered lately, where the server must not get one again
      queue.db              what was appended with backend="sqlite"
      quarantine/           damaged bytes, kept for an operator
      kept/                 segments that are settled, with keep_delivered
      flusher.lock          held by the flusher
      starting              held while a flusher is being started
      requests              what other processes ask of the flusher
      heartbeat             what the flusher is doing
      flusher.log           what the flusher has to say while nobody tracks

A segment that the flusher has *released* has another name, and the same writer: see :meth:`QueueDirectory.let_go`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat

from lotus_durable.disk import is_folder, is_there
from lotus_durable.errors import QueueDirectoryError

from .files import TEMPORARY, regular_file_status, sync_path

DIRECTORY_MODE = 0o700
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP)
_A_PERSONS = (
    errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG,
)  # fmt: skip
"""What a disk says that only a person can change."""
QUEUE_DB = "queue.db"
"""Stands for what was appended through SQLite where segments are named; its position is (row, number of rows)."""

_SEGMENT = ".seg"
_RELEASED = ".released.seg"
_UNFINISHED = ".new"
_DIGITS_OF_MARKER = 8
_HEXADECIMAL = frozenset("0123456789abcdef")


class QueueDirectory:
    """Paths inside one queue directory, each made once; creates nothing until :meth:`prepare`.

    They are ``str``: they are used often, and a process that tracks does not import pathlib (see ``values.py``).
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root: str = os.fspath(root)
        self.identity: str = f"{self.root}/identity"
        self.journal: str = f"{self.root}/journal"
        self.books: str = f"{self.root}/books.db"
        self.delivered: str = f"{self.root}/delivered"
        self.queue_db: str = f"{self.root}/{QUEUE_DB}"
        self.quarantine: str = f"{self.root}/quarantine"
        self.kept: str = f"{self.root}/kept"
        self.flusher_lock: str = f"{self.root}/flusher.lock"
        self.starting: str = f"{self.root}/starting"
        self.requests: str = f"{self.root}/requests"
        self.heartbeat: str = f"{self.root}/heartbeat"
        self.log: str = f"{self.root}/flusher.log"

    def __repr__(self) -> str:
        return f"QueueDirectory({self.root!r})"

    def prepare(self) -> None:
        """Create what is missing and refuse what is unsafe.

        Raises:
            QueueDirectoryError: others can write to the directory, it belongs to somebody else, or it is not a
                directory.
            OSError: the disk refuses (full, read-only, no permission to create).
        """
        try:
            _make_directories(self.root)
            self.check()
            self._refuse_odd_files()
            missing = [folder for folder in (self.journal, self.quarantine) if not is_folder(folder)]
            for folder in missing:
                make_directory(folder)
            if missing:
                sync_path(self.root)
            refuse_without_locks(self.journal)
        except (FileExistsError, NotADirectoryError) as error:
            raise QueueDirectoryError(f"queue_dir {self.root}: {error.filename} is not a directory") from None

    def check(self) -> None:
        """Refuse a directory that somebody else could tamper with, or that has such a folder in it.

        Raises:
            QueueDirectoryError: see :meth:`prepare`.
            OSError: it does not exist or cannot be looked at.
        """
        _check(self.root)
        for folder in (self.journal, self.quarantine, self.kept):
            with contextlib.suppress(FileNotFoundError):
                if stat.S_ISLNK(os.lstat(folder).st_mode):
                    raise QueueDirectoryError(f"queue_dir: {folder} is a symbolic link: none is followed in there")
                _check(folder)

    def _refuse_odd_files(self) -> None:
        """Refuse what is no file in the place of one of ours: opening a pipe there would wait for ever.

        Not of the two databases: events are kept and delivered without them, and the flusher says what is wrong.
        """
        for path in (self.identity, self.flusher_lock, self.starting, self.requests, self.heartbeat, self.log):
            with contextlib.suppress(FileNotFoundError):
                if regular_file_status(path) is None:
                    raise QueueDirectoryError(f"queue_dir: {path} is no regular file: remove it")

    def segments(self) -> list[str]:
        """Return the names of all segments, oldest first; empty when there is no journal yet.

        A segment that is released during a listing can be missing from it. It is released once only, so it is in the
        next listing at the latest, and in both together none is missing.
        """
        names = {*_names(self.journal, _SEGMENT), *_names(self.journal, _SEGMENT)}
        return sorted(names - {original_name(name) for name in names if name.endswith(_RELEASED)})

    def has(self, name: str) -> bool:
        """Whether a segment lies here, by the name its writer gave it; or ``queue.db``."""
        if name == QUEUE_DB:
            return is_there(self.queue_db)
        return any(is_there(f"{self.journal}/{each}") for each in (name, released_name(name)))

    def unfinished(self) -> list[str]:
        """Return the names of segments whose creation did not finish (yet)."""
        return sorted(_names(self.journal, _UNFINISHED))

    def temporary_files(self) -> list[str]:
        """Return the files that :func:`~.files.create_atomically` did not come to rename (yet)."""
        return sorted(f"{self.root}/{name}" for name in _names(self.root, TEMPORARY))

    def let_go(self, name: str) -> str:
        """Have the writer of a segment go on in another one, and return the name the segment has from now on.

        For the flusher. The writer finds that the path it knows no longer leads to its segment: at its next event, or
        at its end. Until then it may still append to what now has the new name.

        Raises:
            OSError: the disk refuses (also when the segment does not exist).
        """
        released = released_name(name)
        if released != name:
            os.rename(f"{self.journal}/{name}", f"{self.journal}/{released}")
        return released


def refuse_without_locks(folder: str) -> None:
    """Refuse a file system that has none: they tell whether a writer lives, and who flushes.

    Asked of a folder that nobody locks.

    Raises:
        QueueDirectoryError: there are none.
        OSError: the disk refuses.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    except BlockingIOError:
        return  # somebody has one
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        raise QueueDirectoryError(
            f"queue_dir: the file system of {folder} has no locks (flock: {error.strerror}): use a local disk that has"
        ) from None
    finally:
        os.close(descriptor)


def is_kind(name: str, suffix: str) -> bool:
    """Whether a name is that of a file of ours; the books and a log can hold each of them."""
    return name.endswith(suffix) and name.isprintable()


def _names(folder: str, suffix: str) -> list[str]:
    try:
        return [name for name in os.listdir(folder) if is_kind(name, suffix)]
    except FileNotFoundError:
        return []


def _make_directories(path: str) -> None:
    """Create what is missing of ``path``, each with our mode: ``makedirs`` leaves that of parents to the umask."""
    if not is_folder(path):
        parent = os.path.dirname(path) or "."
        _make_directories(parent)
        make_directory(path)
        # Else a power cut could take all of a new queue. A parent that we may not read is its owner's to sync.
        with contextlib.suppress(PermissionError):
            sync_path(parent)


def make_directory(path: str) -> None:
    """Create a folder unless somebody else does at the same time.

    Raises:
        FileExistsError: it is no folder that is there.
        OSError: the disk refuses.
    """
    try:
        os.mkdir(path, DIRECTORY_MODE)
    except FileExistsError:
        if not is_folder(path):
            raise


def _check(path: str) -> None:
    status = os.stat(path)
    if not stat.S_ISDIR(status.st_mode):
        raise QueueDirectoryError(f"queue_dir: {path} is not a directory")
    if status.st_uid != os.geteuid():
        raise QueueDirectoryError(
            f"queue_dir: {path} belongs to user {status.st_uid}, this process runs as user {os.geteuid()}: "
            "run it as the owner, or give this program a directory of its own"
        )
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise QueueDirectoryError(
            f"queue_dir: {path} can be written by others (mode {stat.S_IMODE(status.st_mode):04o}): "
            f"run chmod 700 {path}"
        )


def segment_name(created_ns: int, pid: int, marker: bytes) -> str:
    """Return a name that sorts by creation time and that no other process can choose."""
    return f"{created_ns:020d}-{pid}-{marker.hex()}{_SEGMENT}"


def released_name(name: str) -> str:
    """Return the name that a segment has once it is released; it sorts where the other one does."""
    return name if name.endswith(_RELEASED) else name.removesuffix(_SEGMENT) + _RELEASED


def original_name(name: str) -> str:
    """Return the name that a segment's writer gave it: what it is known by, released or not."""
    return name.removesuffix(_RELEASED) + _SEGMENT if name.endswith(_RELEASED) else name


def marker_in_name(name: str) -> bytes | None:
    """Return the marker that :func:`segment_name` put there; None when the name is not of its making."""
    _, _, marker = original_name(name).removesuffix(_SEGMENT).rpartition("-")
    is_marker = name.endswith(_SEGMENT) and len(marker) == _DIGITS_OF_MARKER and marker.startswith("c1")
    return bytes.fromhex(marker) if is_marker and set(marker) <= _HEXADECIMAL else None


def unfinished_name(segment: str) -> str:
    """Return the name a segment has until its header is written and its lock is held."""
    return segment.removesuffix(_SEGMENT) + _UNFINISHED


def reason(error: Exception) -> str:
    """Return why the disk refuses, by the name an operator can look up: ``ENOSPC: No space left on device``."""
    if not isinstance(error, OSError):
        return str(error)
    return f"{errno.errorcode.get(error.errno or 0, type(error).__name__)}: {error.strerror or error}"


def raise_if_misconfigured(root: str, error: Exception) -> None:
    """Raise what to tell where a queue directory cannot be used and waiting does not mend it.

    Raises:
        QueueDirectoryError: so it is.
    """
    if isinstance(error, QueueDirectoryError):
        raise error
    if isinstance(error, OSError) and error.errno in _A_PERSONS:
        raise QueueDirectoryError(
            f"queue_dir {root} cannot be used by user {os.geteuid()}: {error.strerror}; make it this user's, or set "
            "another one (lotus_durable.queue_dir or LOTUS_QUEUE_DIR)"
        ) from error
