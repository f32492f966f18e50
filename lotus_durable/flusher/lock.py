"""Who uploads: the holder of the leader lock. Not a lease: it ends with the process, and does not expire."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from lotus_durable.queue.directory import QueueDirectory

logger = logging.getLogger("lotus_durable")


class Leadership:
    """One process's claim to lead; belongs to the process that made it (a forked child makes its own)."""

    def __init__(self, path: Path, *, inherited: int | None = None) -> None:
        self._path = path
        self._inherited = inherited  # a descriptor that came with the lock held: given by the process's starter
        self._lock: BaseFileLock | None = None
        self._identity: tuple[int, int] | None = None
        self.refusal: str | None = None
        """Why the lock cannot even be tried for, if so. That somebody else holds it is no refusal."""

    def acquire(self) -> bool:
        """Try once, without waiting; return whether this process leads now."""
        try:
            if self._inherited is None and not self._try():
                return False
        except OSError as error:
            # PermissionError, EROFS, EMFILE, ELOOP come out of filelock as they are: not elected, try again.
            self._refused(f"the leader lock cannot be taken: {error}")
            return False
        self._identity = _identity(self._path)
        if self._identity is None:  # deleted in this very moment
            self.release()
            return False
        if self._inherited is not None and self._identity != _identity(self._inherited):
            self.release()
            return self.acquire()  # the file was replaced: what we hold is another one's lock
        return True

    def is_held(self) -> bool:
        """Whether the lock file on disk is still the one we hold: if it was deleted, there may be two leaders."""
        return self._identity is not None and _identity(self._path) == self._identity

    def release(self) -> None:
        """Let somebody else lead."""
        self._identity = None
        inherited, self._inherited = self._inherited, None
        if inherited is not None:
            os.close(inherited)
        if self._lock is not None:
            self._lock.release()

    def _try(self) -> bool:
        """Ask for the lock.

        Raises:
            OSError: the lock file cannot be used.
        """
        os.stat(self._path.parent)  # filelock would create the directory, with a mode that we refuse
        if self._lock is None:
            # In the candidate's thread: an exception that a signal handler raises in the main thread, in the middle of
            # filelock, would leave a lock of its own held. thread_local=False: one thread is elected, another may
            # release.
            self._lock = FileLock(self._path, thread_local=False, mode=0o600)
        try:
            self._lock.acquire(timeout=0, blocking=False)
        except Timeout:
            self.refusal = None
            return False
        self.refusal = None
        return True

    def _refused(self, refusal: str) -> None:
        if refusal != self.refusal:
            self.refusal = refusal
            logger.warning("this process does not upload: %s", refusal)


def nobody_leads(directory: QueueDirectory) -> bool | None:
    """Whether the leader lock is free at this moment; None when that cannot be found out."""
    leadership = Leadership(directory.leader_lock)
    try:
        try:
            return leadership._try()  # not acquire(): that logs a refusal
        finally:
            leadership.release()
    except OSError:
        return None


def _identity(path: Path | int) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
