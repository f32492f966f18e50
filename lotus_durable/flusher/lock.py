"""Who flushes: the holder of the flusher's lock. Not a lease: it ends with the process, and does not expire.

Three locks, taken and let go of together: filelock's on the lock file; one on the same file that can be looked at
without being taken (:mod:`.locks`); and one on the directory itself, which is still there when somebody deletes the
lock file, or both of its kinds.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
from collections.abc import Callable
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from lotus_durable import fork
from lotus_durable.queue.directory import FILE_MODE, QueueDirectory

from . import locks

logger = logging.getLogger("lotus_durable")


class FlusherLock:
    """The lock of one queue, for one process."""

    def __init__(self, directory: QueueDirectory) -> None:
        self._directory = directory
        # thread_local=False: one thread takes it, another may let it go.
        self._lock: BaseFileLock = FileLock(directory.flusher_lock, thread_local=False, mode=FILE_MODE)
        self._held = contextlib.ExitStack()
        self._identities: dict[Path, tuple[int, int]] = {}
        self._descriptors: tuple[int, ...] = ()
        self._unlocks: list[Callable[[], None]] = []
        self._owner = 0
        fork.register(self)
        self.refusal: str | None = None
        """Why the lock cannot even be tried for, if so. That somebody else holds it is no refusal."""

    def acquire(self) -> bool:
        """Try once, without waiting; return whether this process holds it now."""
        try:
            with contextlib.ExitStack() as stack:
                if not self._take(stack):
                    return False
                self._held = stack.pop_all()
        except OSError as error:
            # PermissionError, EROFS, EMFILE, ELOOP come out of filelock as they are: not held, try again.
            refusal = f"the flusher's lock cannot be taken: {error}"
            if refusal != self.refusal:
                self.refusal = refusal
                logger.warning("%s", refusal)
            return False
        self.refusal = None
        return True

    def is_held(self) -> bool:
        """Whether lock file and directory are still where the path leads: if not, there may be another flusher."""
        return bool(self._identities) and all(_identity(path) == own for path, own in self._identities.items())

    def release(self) -> None:
        """Let somebody else flush: also where a process forked meanwhile has copies of what is held."""
        self._identities = {}
        self._owner = 0
        with contextlib.suppress(OSError):
            for unlock in self._unlocks:
                unlock()
        self._unlocks.clear()
        self._held.close()

    def abandon(self) -> None:
        """Close, in a forked child, what is its parent's, without unlocking; filelock does so by itself."""
        if self._owner not in (0, os.getpid()):
            self._owner = 0
            self._identities = {}
            self._unlocks.clear()
            self._held.pop_all()
            for descriptor in self._descriptors:
                with contextlib.suppress(OSError):
                    os.close(descriptor)

    def _take(self, stack: contextlib.ExitStack) -> bool:
        """Take all of it or nothing.

        Raises:
            OSError: a lock cannot be tried for.
        """
        root = self._directory.root
        folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)  # filelock would make it, with another mode
        stack.callback(os.close, folder)
        if not _flocked(folder):
            return False
        try:
            self._lock.acquire(timeout=0, blocking=False)
        except Timeout:
            return False
        stack.callback(self._lock.release)
        shown = os.open(self._directory.flusher_lock, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        stack.callback(os.close, shown)
        if locks.HAS_OWN and not locks.try_hold(shown):
            return False
        self._identities = {
            root: _identity(folder) or (0, 0),
            self._directory.flusher_lock: _identity(shown) or (0, 0),
        }
        self._descriptors = folder, shown
        self._unlocks = [lambda: fcntl.flock(folder, fcntl.LOCK_UN), lambda: locks.let_go(shown)]
        self._owner = os.getpid()
        return self.is_held()  # unless deleted or replaced in this very moment


def _flocked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        # NFS wants a descriptor for writing, which a directory has none of: the lock file alone decides there.
        if error.errno != errno.EBADF:
            raise
    return True


def _identity(path: Path | int) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
