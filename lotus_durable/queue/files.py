"""Creating files as a whole or not at all, and making data and names survive a power cut."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator

from lotus_durable.descriptors import place_of
from lotus_durable.disk import DiskErrorsSuppressed

FILE_MODE = 0o600
TEMPORARY = ".tmp"
"""The end of the name of a file that is still being written."""

_NO_HARD_LINKS = {errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS}
"""What file systems without hard links answer (FAT, shared folders of virtual machines, Android)."""
_REMOVAL_TAKES = 0.4  # seconds


def create_atomically(path: str, data: bytes) -> bool:
    """Create ``path`` with ``data`` unless it exists; return whether it was created.

    Readers see nothing or all of it, also after a power cut, and of processes that try at once one succeeds. Without
    hard links the last of those that try in one and the same moment wins, and each believes that it has.
    """
    # Random too: processes in different containers may have the same pid.
    temporary = f"{path}.{os.getpid()}-{os.urandom(4).hex()}{TEMPORARY}"
    try:
        write_synced(temporary, data, os.O_EXCL)
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            if os.path.lexists(path):
                return False
            os.rename(temporary, path)
    finally:
        with DiskErrorsSuppressed():
            os.unlink(temporary)
    sync_path(os.path.dirname(path))
    return True


def open_to_read(path: str) -> int:
    """Return a descriptor of a file. It follows no link, and waits for nobody: a pipe may lie in a file's place.

    Raises:
        OSError: it is not there, or not to be read.
    """
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)


@contextlib.contextmanager
def opened_to_read(path: str) -> Iterator[int]:
    """Have a file open for the length of a block; as :func:`open_to_read`."""
    descriptor = open_to_read(path)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def regular_file_status(path: str) -> os.stat_result | None:
    """Return the status of a file; None where what is there is none: a directory, a link, a pipe, a device.

    Raises:
        OSError: nothing is there, or it cannot be looked at.
    """
    status = os.lstat(path)
    return status if stat.S_ISREG(status.st_mode) else None


def write_synced(path: str, data: bytes, how: int = os.O_TRUNC) -> None:
    """Write a file, its owner's, which survives a power cut if its name does. It follows no link and waits for nobody.

    In the place of what it holds (``O_TRUNC``), behind that (``O_APPEND``), or where there is none (``O_EXCL``).

    Raises:
        OSError: the disk refuses, or it is no file.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | how
    descriptor = os.open(path, flags, FILE_MODE)
    try:
        write_rest(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_rest(descriptor: int, data: bytes, at: int = 0, written: int = 0) -> None:
    """Write ``data`` from its byte ``written`` on, however little of it each write takes; all of it begins ``at``.

    Raises:
        OSError: the disk refuses; it may do so by taking nothing (tmpfs takes what fits, and reports no error).
    """
    while written < len(data):
        more = os.pwrite(descriptor, data[written:], at + written)
        if more == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written += more


_HAS_FDATASYNC = hasattr(os, "fdatasync")
_FULL_SYNC: int | None = getattr(fcntl, "F_FULLFSYNC", None)
"""On macOS fsync leaves data in the cache of the drive; this does not."""


def sync_data(descriptor: int) -> None:
    """Make a file's data survive a power cut."""
    if _HAS_FDATASYNC:
        os.fdatasync(descriptor)
    elif _FULL_SYNC is not None:
        fcntl.fcntl(descriptor, _FULL_SYNC)
    else:
        os.fsync(descriptor)


def sync_path(path: str) -> None:
    """Make what is in a file, or the names in a directory, survive a power cut.

    Not a file that SQLite has open in this process: closing it here would give up SQLite's locks.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class FolderPlace:
    """A folder, and where its path leads now: another one that is found there later may be another queue's."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._place = place_of(path)

    def check(self) -> None:
        """See that the path still leads there.

        Raises:
            FileNotFoundError: it was removed, moved or replaced.
        """
        if place_of(self.path) != self._place:
            raise FileNotFoundError(errno.ENOENT, "the directory was removed, moved or replaced", self.path)

    def outlast_removal(self) -> None:
        """Wait for who may be removing all of it, which is done in a moment: nothing may be made in it meanwhile.

        Raises:
            FileNotFoundError: see :meth:`check`.
        """
        time.sleep(_REMOVAL_TAKES)
        self.check()


def sync_file_system(path: str) -> bool:
    """Make everything on the file system of a directory survive a power cut; return whether that was done."""
    try:
        import ctypes  # a quarter of a megabyte, which most flushers never need

        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return bool(ctypes.CDLL(None).syncfs(descriptor) == 0)
        finally:
            os.close(descriptor)
    except (OSError, ImportError, AttributeError):
        return False
