"""The journal: the default queue. Appends go to segments of each process's own, the leader reads them all."""

from __future__ import annotations

import contextlib
import errno
import logging
import time
from collections.abc import Callable

from lotus_durable.errors import DiskRefused, LotusError, QueueDirectoryError, QueueFull

from .appender import Appender
from .buffer import MemoryBuffer
from .census import take_census
from .consumer import JournalConsumer
from .destination import OtherDestination
from .directory import QueueDirectory
from .protocol import Census
from .store import Store
from .sync import JournalSync

logger = logging.getLogger("lotus_durable")

_WARNING_INTERVAL = 60.0  # seconds
_WRITTEN_BACK_PER_APPEND = 64
"""Events; more than one, so that the buffer empties, and few enough that no caller waits for all of it."""


class JournalQueue:
    """See :class:`~.protocol.EventQueue`.

    An append that the disk refuses goes to a bounded memory buffer, is reported, and is written as soon as the disk
    takes it: before the events of later appends, or by :meth:`write_back`.
    """

    def __init__(
        self,
        directory: QueueDirectory,
        *,
        segment_bytes: int,
        max_queue_bytes: int,
        power: bool,
        sync_interval: float,
        report: Callable[[LotusError], None],
    ) -> None:
        self._directory = directory
        self._buffer = MemoryBuffer()
        self._appender = Appender(
            directory, report, segment_bytes=segment_bytes, max_queue_bytes=max_queue_bytes, power=power
        )
        self._store = Store(directory.store)
        self._sync_interval = sync_interval
        self._report = report
        self._next_warning = 0.0

    def __repr__(self) -> str:
        return f"<JournalQueue {self._directory.root}>"

    @property
    def directory(self) -> QueueDirectory:
        """Where it is."""
        return self._directory

    def append(self, record: bytes) -> None:
        """Accept an event; see :class:`~.protocol.EventQueue`."""
        if self._buffer.records:
            self._append_behind_others(record)
            return
        try:
            self._appender.append(record)
        except OSError as error:
            self._append_in_trouble(record, error)

    def write_back(self) -> int:
        """Write buffered events for as long as the disk takes them; return how many still wait.

        Also the time to notice what happened to this process's segments behind its back.
        """
        self._appender.review()
        with contextlib.suppress(OSError, QueueDirectoryError, QueueFull):
            self._write_back(len(self._buffer))
        return len(self._buffer)

    def census(self) -> Census:
        """Count; see :class:`~.protocol.EventQueue`."""
        return take_census(self._directory)

    def background_sync(self, report: Callable[[LotusError], None]) -> JournalSync:
        """Return the leader's sync; see :class:`~.protocol.EventQueue`."""
        return JournalSync(self._directory, report)

    def consumer(self) -> JournalConsumer:
        """Return the leader's side; see :class:`~.protocol.EventQueue`."""
        self._directory.prepare()
        return JournalConsumer(self._directory, self._store, self._report, sync_interval=self._sync_interval)

    def close(self) -> None:
        """Write back, and seal this process's segments."""
        left = self.write_back()
        if left:
            error = DiskRefused(f"{left} accepted events are lost: the disk takes no writes and this process ends")
            logger.error("%s", error)
            self._report(error)
        self._appender.close()

    def buffered(self) -> int:
        """Return how many events wait in memory; see :class:`~.protocol.EventQueue`."""
        return len(self._buffer)

    def before_fork(self) -> None:
        """Wait until no SQLite connection is open and no segment half open; see :class:`~.protocol.EventQueue`."""
        self._store.in_use.acquire()
        self._appender.in_change.acquire()

    def after_fork_in_parent(self) -> None:
        """Go on; see :class:`~.protocol.EventQueue`."""
        for lock in (self._appender.in_change, self._store.in_use):
            # Nothing to release when the queue came to be in the middle of the fork.
            with contextlib.suppress(RuntimeError):
                lock.release()

    def abandon(self) -> bool:
        """Drop what a forked child inherited; see :class:`~.protocol.EventQueue`."""
        self._appender.abandon()
        self._buffer.clear()
        return not self._store.is_open

    def _append(self, record: bytes) -> None:
        try:
            self._appender.append(record)
        except FileNotFoundError:
            # Not created yet, or deleted while we run.
            self._directory.prepare()
            self._appender.append(record)

    def _append_in_trouble(self, record: bytes, error: Exception) -> None:
        if isinstance(error, FileNotFoundError):
            try:
                self._append(record)
            except OtherDestination:
                raise  # accepted, it would go to the wrong server or nowhere
            except (OSError, QueueDirectoryError) as again:
                error = again
            else:
                return
        self._keep_in_memory(record, error)

    def _append_behind_others(self, record: bytes) -> None:
        """Write back some of what waits, oldest first, and the new record only when nothing older is left."""
        try:
            self._write_back(_WRITTEN_BACK_PER_APPEND)
            if not self._buffer.records:
                self._append(record)
                return
        except (OSError, QueueDirectoryError) as error:
            self._keep_in_memory(record, error)
        else:
            self._buffer.add(record)

    def _write_back(self, limit: int) -> None:
        for _ in range(limit):
            record = self._buffer.take()
            if record is None:
                break
            try:
                self._append(record)
            except BaseException:
                # Whatever it is (a signal handler may raise), the event was accepted.
                self._buffer.put_back(record)
                raise

    def _keep_in_memory(self, record: bytes, error: Exception) -> None:
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
            f"{self._directory.root} takes no writes ({reason}); "
            f"{len(self._buffer)} accepted events wait in memory and would be lost with this process"
        )
        logger.warning("%s", refusal)
        self._report(refusal)
