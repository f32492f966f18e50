"""The journal: the default queue. Appends go to segments of each process's own, the leader reads them all."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from lotus_durable.errors import LotusError, QueueDirectoryError

from .appender import Appender
from .backend import OtherBackend, claim_backend
from .books import Store
from .census import take_census
from .consumer import JournalConsumer
from .destination import OtherDestination, is_being_written
from .directory import QueueDirectory
from .fallback import MemoryFallback
from .protocol import Census
from .sync import JournalSync


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
        self._fallback = MemoryFallback(directory.root, self._append, report)
        self._waiting = self._fallback.records
        self._appender = Appender(
            directory, report, segment_bytes=segment_bytes, max_queue_bytes=max_queue_bytes, power=power
        )
        self._store = Store(directory.store)
        self._sync_interval = sync_interval
        self._report = report

    def __repr__(self) -> str:
        return f"<JournalQueue {self._directory.root}>"

    @property
    def directory(self) -> QueueDirectory:
        """Where it is."""
        return self._directory

    def append(self, record: bytes) -> None:
        """Accept an event; see :class:`~.protocol.EventQueue`."""
        if self._waiting:
            self._fallback.append_behind_others(record)
            return
        try:
            self._appender.append(record)
        except (OtherDestination, OtherBackend):
            raise  # accepted, it would go to the wrong server or nowhere
        except (OSError, QueueDirectoryError) as error:
            self._append_in_trouble(record, error)

    def write_back(self) -> int:
        """Write buffered events for as long as the disk takes them; return how many still wait.

        Also the time to notice what happened to this process's segments behind its back.
        """
        self._appender.review()
        return self._fallback.write_back()

    def prepare(self) -> None:
        """Create what is missing; see :class:`~.protocol.EventQueue`."""
        self._directory.prepare()
        claim_backend(self._directory, "journal")

    def is_being_written(self) -> bool:
        """Whether a process may append; see :class:`~.protocol.EventQueue`."""
        return is_being_written(self._directory)

    def census(self) -> Census:
        """Count; see :class:`~.protocol.EventQueue`."""
        return take_census(self._directory)

    def background_sync(self, report: Callable[[LotusError], None]) -> JournalSync:
        """Return the leader's sync; see :class:`~.protocol.EventQueue`."""
        return JournalSync(self._directory, report)

    def consumer(self) -> JournalConsumer:
        """Return the leader's side; see :class:`~.protocol.EventQueue`."""
        self.prepare()
        return JournalConsumer(self._directory, self._store, self._report, sync_interval=self._sync_interval)

    def close(self) -> None:
        """Write back, and seal this process's segments."""
        self._appender.review()
        self._fallback.close()
        self._appender.close()

    def buffered(self) -> int:
        """Return how many events wait in memory; see :class:`~.protocol.EventQueue`."""
        return self._fallback.buffered()

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
        self._fallback.clear()
        return not self._store.is_open

    def _append(self, record: bytes) -> None:
        try:
            self._appender.append(record)
        except FileNotFoundError:
            # Not created yet, or deleted while we run.
            self.prepare()
            self._appender.append(record)

    def _append_in_trouble(self, record: bytes, error: Exception) -> None:
        if isinstance(error, FileNotFoundError):
            try:
                self._append(record)
            except (OtherDestination, OtherBackend):
                raise
            except (OSError, QueueDirectoryError) as again:
                error = again
            else:
                return
        self._fallback.keep(record, error)
