"""The queue directory: where things are in it, and whether it is safe to use.

::

    queue_dir/              0700
      journal/*.seg         the segments
      journal/*.new         a segment being created, never read
      journal/*.failed      tells a segment's writer to move on to a new one
      store/                parked events and dead letters
      quarantine/           damaged bytes, kept for an operator
      requests/             what other processes ask of the leader
      state, state.recent   the cursor and the counters; the leader writes them
      backend               whose directory it is: the journal's, or SQLite's
      leader.lock           held by the leader
      leader.json           the leader's heartbeat
      flusher.lock          held by a `lotus-durable flusher`; names it
      servers.json          which generation of the server a host is
      destination.json      which server the events are for
      keys.json             fingerprints of the API keys that were used, and when the server refused one
      leader.challenge      asks a leader whose key is refused to let another process try
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from lotus_durable.errors import QueueDirectoryError

DIRECTORY_MODE = 0o700
FILE_MODE = 0o600

_SEGMENT = ".seg"
_UNFINISHED = ".new"
_FAILED = ".failed"
_TEMPORARY = ".tmp"
_MARKER_IN_NAME = re.compile(r"-(c1[0-9a-f]{6})\.seg$")


@dataclass(frozen=True, slots=True)
class QueueDirectory:
    """Paths inside one queue directory; creates nothing until :meth:`prepare`."""

    root: Path
    host: str | None = None
    """The server that what is written here is for, if that is known; see :mod:`.destination`."""

    @property
    def journal(self) -> Path:
        return self.root / "journal"

    @property
    def store(self) -> Path:
        return self.root / "store"

    @property
    def quarantine(self) -> Path:
        return self.root / "quarantine"

    @property
    def requests(self) -> Path:
        return self.root / "requests"

    @property
    def state(self) -> Path:
        return self.root / "state"

    @property
    def recent_state(self) -> Path:
        return self.root / "state.recent"

    @property
    def backend(self) -> Path:
        return self.root / "backend"

    @property
    def leader_lock(self) -> Path:
        return self.root / "leader.lock"

    @property
    def heartbeat(self) -> Path:
        return self.root / "leader.json"

    @property
    def flusher_lock(self) -> Path:
        return self.root / "flusher.lock"

    @property
    def servers(self) -> Path:
        return self.root / "servers.json"

    @property
    def destination(self) -> Path:
        return self.root / "destination.json"

    @property
    def keys(self) -> Path:
        return self.root / "keys.json"

    @property
    def challenge(self) -> Path:
        return self.root / "leader.challenge"

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
            missing = [folder for folder in self._folders() if not folder.is_dir()]
            for folder in missing:
                folder.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
            if missing:
                sync_directory(self.root)
        except (FileExistsError, NotADirectoryError) as error:
            raise QueueDirectoryError(f"queue_dir {self.root}: {error.filename} is not a directory") from None

    def check(self) -> None:
        """Refuse a directory that somebody else could tamper with, or that has such a folder in it.

        Raises:
            QueueDirectoryError: see :meth:`prepare`.
            OSError: it does not exist or cannot be looked at.
        """
        _check(self.root)
        for folder in self._folders():
            with contextlib.suppress(FileNotFoundError):
                _check(folder)

    def _folders(self) -> tuple[Path, ...]:
        return self.journal, self.store, self.quarantine, self.requests

    def segments(self) -> list[str]:
        """Return the names of all segments, oldest first; empty when there is no journal yet."""
        return self._names(_SEGMENT)

    def unfinished(self) -> list[str]:
        """Return the names of segments whose creation did not finish (yet)."""
        return self._names(_UNFINISHED)

    def failed_marks(self) -> list[str]:
        """Return the names of the marks that tell writers to move on."""
        return self._names(_FAILED)

    def temporary_files(self) -> list[Path]:
        """Return the files that :func:`write_atomically` did not come to rename (yet)."""
        return sorted(self.root.glob(f"*{_TEMPORARY}"))

    def _names(self, suffix: str) -> list[str]:
        try:
            return sorted(name for name in os.listdir(self.journal) if name.endswith(suffix))
        except FileNotFoundError:
            return []


def _make_directories(path: Path) -> None:
    """Create what is missing of ``path``, each with our mode: ``mkdir`` leaves that of parents to the umask."""
    if not path.is_dir():
        _make_directories(path.parent)
        path.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
        # Else a power cut could take all of a new queue. A parent that we may not read is its owner's to sync.
        with contextlib.suppress(PermissionError):
            sync_directory(path.parent)


def _check(path: Path) -> None:
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


def marker_in_name(name: str) -> bytes | None:
    """Return the marker that :func:`segment_name` put there; None when the name is not of its making."""
    marker = _MARKER_IN_NAME.search(name)
    return bytes.fromhex(marker[1]) if marker else None


def unfinished_name(segment: str) -> str:
    """Return the name a segment has until its header is written and its lock is held."""
    return segment.removesuffix(_SEGMENT) + _UNFINISHED


def failed_mark(segment: str) -> str:
    """Return the name of the mark that tells a segment's writer to move on to a new one: it could not be synced."""
    return segment + _FAILED


def write_atomically(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Replace ``path`` by ``data``: readers see the old or the new; if ``durable``, so they do after a power cut.

    Raises:
        OSError: the disk refuses; the old file is untouched.
    """
    # Random too: processes in different containers may have the same pid.
    temporary = path.with_name(f"{path.name}.{os.getpid()}-{os.urandom(4).hex()}{_TEMPORARY}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
        try:
            write_whole(descriptor, data)
            if durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    if durable:
        sync_directory(path.parent)


def create_file(path: Path) -> None:
    """Make sure that there is a file, empty and of our mode if it is new.

    An existing one is never opened and closed here: of a database that this process has open, that would drop the
    locks (POSIX gives up all of a process's locks on a file with any of its descriptors).

    Raises:
        OSError: the disk refuses.
    """
    if path.exists():
        return
    temporary = path.with_name(f"{path.name}.{os.getpid()}-{os.urandom(4).hex()}{_TEMPORARY}")
    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE))
    try:
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_whole(descriptor: int, data: bytes) -> None:
    """Write all of ``data``, however little of it each write takes.

    Raises:
        OSError: the disk refuses.
    """
    while data:
        data = data[os.write(descriptor, data) :]


def sync_directory(path: Path) -> None:
    """Make the names in ``path`` survive a power cut.

    Raises:
        OSError: the disk refuses.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
