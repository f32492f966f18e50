"""One flusher for each queue: a lock, held for as long as the process lives. It is not the leader lock.

Two flushers would do no harm, as only the leader uploads. But the second one is a mistake: of whoever started it, who
should hear of it, or of a service manager, which should not count it as running.
"""

from __future__ import annotations

import fcntl
import os
import socket
import time

from lotus_durable.errors import ConfigurationError
from lotus_durable.queue.directory import FILE_MODE, QueueDirectory

_ATTEMPTS = 20
_PAUSE = 0.01  # seconds between two attempts to read who holds it


class FlusherLock:
    """The lock on one queue directory. Whether somebody holds it is told by the lock, never by the pid in it."""

    def __init__(self, directory: QueueDirectory) -> None:
        self._directory = directory
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """Try once, without waiting.

        Raises:
            OSError: the lock file cannot be used.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self._directory.flusher_lock, flags, FILE_MODE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        except BlockingIOError:
            os.close(descriptor)
            return False
        except OSError:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        return True

    def holder(self) -> str:
        """Say who holds it: ``process 17 on web1``. In another container that pid means something else."""
        for _ in range(_ATTEMPTS):
            text = self._directory.flusher_lock.read_text(errors="replace").strip()
            if text:
                return text
            time.sleep(_PAUSE)  # it has the lock, and is just about to write its name
        return "another process"

    def refuse(self) -> ConfigurationError:
        """Return the error of a second flusher."""
        return ConfigurationError(
            f"a flusher for the queue in {self._directory.root} runs already: {self.holder()}; stop that one first, "
            "or start this one with --standby to take over when it ends"
        )

    def release(self) -> None:
        """Let another flusher start."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
