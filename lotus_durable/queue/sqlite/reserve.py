"""Space kept free for the leader: on a full disk, to settle takes some before it gives any back."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from lotus_durable.queue.directory import FILE_MODE

SIZE = 5 << 20
"""Bytes: what a checkpoint (SQLite makes one every 1,000 pages) may add to the database, and a settlement."""


class SpaceReserve:
    """A file that holds nothing but blocks of the disk."""

    def __init__(self, store: Path) -> None:
        self._path = store / "reserve"

    def fill(self) -> None:
        """Take the space, if the disk has it."""
        with contextlib.suppress(OSError):
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
            try:
                os.posix_fallocate(descriptor, 0, SIZE)
            except OSError:
                self.release()
            finally:
                os.close(descriptor)

    def exists(self) -> bool:
        """Whether there is any."""
        return self._path.exists()

    def release(self) -> bool:
        """Give the space back; return whether there was any."""
        try:
            self._path.unlink()
        except OSError:
            return False
        return True
