"""What becomes of an event that the disk refuses: it waits in memory, it is said, and it is written when it can be."""

from __future__ import annotations

import contextlib
import errno
import logging
import time
from collections.abc import Callable
from pathlib import Path

from lotus_durable.errors import DiskRefused, LotusError, QueueDirectoryError, QueueFull
from lotus_durable.log import counted

from .buffer import MemoryBuffer

logger = logging.getLogger("lotus_durable")

_WARNING_INTERVAL = 60.0  # seconds
_WRITTEN_BACK_PER_APPEND = 64
"""Events; more than one, so that the buffer empties, and few enough that no caller waits for all of it."""


class MemoryFallback:
    """The memory buffer of one queue in one process, and the way back out of it.

    Args:
        root: the queue directory, for messages.
        write: writes one record; raises OSError or QueueDirectoryError when the disk refuses, QueueFull.
        report: told of trouble, once a minute.

    Attributes:
        records: what waits, oldest first; each append looks whether there is any.
    """

    def __init__(self, root: Path, write: Callable[[bytes], None], report: Callable[[LotusError], None]) -> None:
        self._root = root
        self._write = write
        self._report = report
        self._buffer = MemoryBuffer()
        self.records = self._buffer.records
        self._next_warning = 0.0
        self._is_closed = False

    def append_behind_others(self, record: bytes) -> None:
        """Write back some of what waits, oldest first, and the new record only when nothing older is left.

        Raises:
            QueueFull: it was not accepted.
        """
        try:
            self._write_back(_WRITTEN_BACK_PER_APPEND)
            if not self.records:
                self._write(record)
                return
        except (OSError, QueueDirectoryError) as error:
            self.keep(record, error)
        else:
            self._buffer.add(record)

    def keep(self, record: bytes, error: Exception) -> None:
        """Keep a record that could not be written, and say why.

        Raises:
            QueueFull: the buffer is full; it was not accepted.
        """
        self._is_closed = False  # it is used again: whoever does closes it again
        self._buffer.add(record)
        now = time.monotonic()
        if now < self._next_warning:
            return
        self._next_warning = now + _WARNING_INTERVAL
        reason = str(error)
        if isinstance(error, OSError):
            name = errno.errorcode.get(error.errno or 0, type(error).__name__)
            reason = f"{name}: {error.strerror or error}"
        refusal = DiskRefused(
            f"{self._root} takes no writes ({reason}); "
            f"in memory, and lost if this process ends: {counted(len(self._buffer), 'accepted event')}"
        )
        logger.warning("%s", refusal)
        self._report(refusal)

    def write_back(self) -> int:
        """Write for as long as the disk takes it; return how many still wait."""
        with contextlib.suppress(OSError, QueueDirectoryError, QueueFull):
            self._write_back(len(self._buffer))
        return len(self._buffer)

    def close(self) -> None:
        """Write back for the last time; what is left is lost with the process, and that is said."""
        self._is_closed = True
        self.write_back()
        self._give_up()

    def buffered(self) -> int:
        """Return how many wait."""
        return len(self._buffer)

    def clear(self) -> None:
        """Forget everything: in a forked child, it is the parent's."""
        self._buffer.clear()

    def _give_up(self) -> None:
        lost = self._buffer.drop()
        if lost:
            error = DiskRefused(
                f"{counted(lost, 'accepted event')} lost: the disk takes no writes, and this process leaves the queue"
            )
            logger.error("%s", error)
            self._report(error)

    def _write_back(self, limit: int) -> None:
        for _ in range(limit):
            record = self._buffer.take()
            if record is None:
                break
            try:
                self._write(record)
            except BaseException:
                # Whatever it is (a signal handler may raise), the event was accepted.
                self._buffer.put_back(record)
                if self._is_closed:  # meanwhile: nobody else will tell
                    self._give_up()
                raise
            self._buffer.written()
