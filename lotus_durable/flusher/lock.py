"""The flusher's lock: who holds it flushes. It ends with its process and never expires.

It is three locks, taken and released together: filelock's on the lock file; one on the same file that others can see
without taking it (:mod:`.locks`); and one on the directory itself, which is still there when somebody deletes the lock
file. The one that others see lies on the heartbeat too, where that can be: a look opens one file then, and not two. It
is let go of first, so it never shows a flusher that the lock file does not.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os

from filelock import BaseFileLock, FileLock, Timeout

from lotus_durable import fork
from lotus_durable.descriptors import place_of
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.files import FILE_MODE
from lotus_durable.queue.requests import newest

from . import locks

logger: logging.Logger = logging.getLogger("lotus_durable")


class FlusherLock:
    """The lock of one queue, for one process."""

    def __init__(self, directory: QueueDirectory) -> None:
        self._directory = directory
        # thread_local=False: one thread takes it, another may let it go.
        self._lock: BaseFileLock = FileLock(directory.flusher_lock, thread_local=False, mode=FILE_MODE)
        self._own: list[int] = []  # the directory's descriptor first
        self._process = fork.this_process()
        fork.register(self)
        self._identities: dict[str, tuple[int, int]] = {}
        self.requests_before: int = 0
        """The number of the last request before this process took the lock: what came later is for it to hear."""
        self.refusal: str | None = None
        """Why the lock cannot even be tried for, if so. That somebody else holds it is no refusal."""

    def acquire(self) -> bool:
        """Try once, without waiting; return whether this process holds it now."""
        requests_before = newest(self._directory)
        is_taken = False
        try:
            is_taken = self._take()
        except OSError as error:
            # PermissionError, EROFS, EMFILE, ELOOP come out of filelock as they are: not held, try again.
            refusal = f"the flusher's lock cannot be taken: {error}"
            if refusal != self.refusal:
                self.refusal = refusal
                logger.warning("%s", refusal)
            return False
        finally:
            if not is_taken:
                self.release()
        if is_taken:
            self.requests_before = requests_before
            self.refusal = None
        return is_taken

    def is_held(self) -> bool:
        """Whether lock file and directory are still where the path leads: if not, there may be another flusher."""
        return bool(self._identities) and all(place_of(path) == own for path, own in self._identities.items())

    def release(self) -> None:
        """Let somebody else flush. What an interruption leaves of it is done when nobody has this object any more."""
        if self._process != fork.this_process():
            return  # a child that was forked past all hooks: it would unlock for its parent
        self._identities = {}
        while len(self._own) > 1:
            self._close()
        self._lock.release()
        while self._own:
            self._close()

    __del__ = release

    def abandon(self) -> None:
        """Close, in a forked child, what would keep the lock while the child lives; filelock sees to its own."""
        if self._process == fork.this_process():
            return
        self._process = fork.this_process()
        self._identities = {}
        own, self._own = self._own, []
        for descriptor in own:
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def _take(self) -> bool:
        """Take all of it; return whether that was done."""
        root = self._directory.root
        folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)  # filelock would make it, with another mode
        self._own.append(folder)
        if not _flocked(folder):
            return False
        try:
            self._lock.acquire(timeout=0, blocking=False)
        except Timeout:
            return False
        shown = self._opened(self._directory.flusher_lock)
        if locks.HAS_OWN and not locks.try_hold(shown):
            return False
        with contextlib.suppress(OSError):  # it only spares a look the opening of a second file
            beat = self._opened(self._directory.heartbeat, os.O_CREAT)
            if locks.HAS_OWN:
                locks.try_hold(beat)
        self._identities = {
            root: place_of(folder) or (0, 0),
            self._directory.flusher_lock: place_of(shown) or (0, 0),
        }
        return self.is_held()  # unless deleted or replaced in this very moment

    def _opened(self, path: str, flags: int = 0) -> int:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | flags, FILE_MODE)
        self._own.append(descriptor)
        return descriptor

    def _close(self) -> None:
        """Unlock first: a child that was forked past all hooks keeps a copy of the descriptor, and with it the lock."""
        with contextlib.suppress(OSError):
            locks.let_go(self._own[-1])
        with contextlib.suppress(OSError):
            os.close(self._own.pop())


def _flocked(descriptor: int) -> bool:
    try:
        return locks.try_flock(descriptor)
    except OSError as error:
        # NFS wants a descriptor for writing, which a directory has none of: the lock file alone decides there.
        if error.errno != errno.EBADF:
            raise
    return True
