"""The queue of the SQLite backend: persist-queue's SQLiteQueue, shared by processes, behind the queue's protocol."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

from lotus_durable.errors import LotusError, QueueDamaged, QueueDirectoryError, QueueFull
from lotus_durable.queue.appender import Appender
from lotus_durable.queue.backend import OtherBackend, claim_backend, require_backend
from lotus_durable.queue.books import StoreDamaged
from lotus_durable.queue.destination import OtherDestination, check_destination, is_being_written
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.fallback import MemoryFallback
from lotus_durable.queue.protocol import Census

from . import tables
from .census import take_census
from .connection import Database, inherited_connection, is_open_elsewhere
from .consumer import SqliteConsumer
from .sync import SqliteSync

_CHECKS_PER_LIMIT = 64
"""How many times the queue's size is looked at while it fills from empty to its limit, at the least."""


class SqliteQueue:
    """See :class:`~..protocol.EventQueue`.

    An append is one put, which waits while another process commits. What cannot be put goes to the spill
    (:mod:`.spill`), and what the disk refuses to the memory buffer.
    """

    def __init__(
        self,
        directory: QueueDirectory,
        *,
        segment_bytes: int,
        max_queue_bytes: int,
        power: bool,
        report: Callable[[LotusError], None],
        stays_open: bool = True,
    ) -> None:
        self._directory = directory
        self._max_queue_bytes = max_queue_bytes
        self._power = power
        self._report = report
        self._stays_open = stays_open
        self._spill = Appender(
            directory,
            report,
            segment_bytes=segment_bytes,
            max_queue_bytes=max_queue_bytes,
            power=power,
            backend="sqlite",
        )
        self._fallback = MemoryFallback(directory.root, self._put, report)
        self._waiting = self._fallback.records
        self._pid = 0
        self._start_here()

    def __repr__(self) -> str:
        return f"<SqliteQueue {self._directory.root}>"

    @property
    def directory(self) -> QueueDirectory:
        """Where it is."""
        return self._directory

    def append(self, record: bytes) -> None:
        """Accept an event; see :class:`~..protocol.EventQueue`."""
        if self._pid != os.getpid():
            self.abandon()
        if self._waiting:
            self._fallback.append_behind_others(record)
            return
        try:
            self._put(record)
        except (OtherDestination, OtherBackend):
            raise  # accepted, it would go to the wrong server or nowhere
        except (OSError, QueueDirectoryError) as error:
            self._fallback.keep(record, error)

    def write_back(self) -> int:
        """Write events that wait in memory; see :class:`~..protocol.EventQueue`."""
        self._spill.review()
        return self._fallback.write_back()

    def prepare(self) -> None:
        """Create what is missing; see :class:`~..protocol.EventQueue`."""
        self._directory.prepare()
        claim_backend(self._directory, "sqlite")

    def is_being_written(self) -> bool:
        """Whether a process may append; see :class:`~..protocol.EventQueue`."""
        database = self._here()
        database.close()
        return is_being_written(self._directory) or is_open_elsewhere(database.path)

    def census(self) -> Census:
        """Count; see :class:`~..protocol.EventQueue`.

        Raises:
            InheritedConnection: (an OSError) this process cannot read the database.
        """
        with _told_as_damage():
            return take_census(self._directory, self._here())

    def background_sync(self, report: Callable[[LotusError], None]) -> SqliteSync:
        """Return the leader's sync; see :class:`~..protocol.EventQueue`."""
        return SqliteSync(self._directory, self._here(), report)

    def consumer(self) -> SqliteConsumer:
        """Return the leader's side; see :class:`~..protocol.EventQueue`."""
        self.prepare()
        database = self._here()
        with _told_as_damage():
            try:
                return SqliteConsumer(self._directory, database, self._report)
            except StoreDamaged:
                raise
            except OSError:
                # On a full disk not even the log can be opened: with the space that is kept for us it can.
                if not database.reserve.release():
                    raise
                return SqliteConsumer(self._directory, database, self._report)

    def close(self) -> None:
        """Write back, and let go of files."""
        self._fallback.close()
        self._spill.close()
        self._database.close()

    def buffered(self) -> int:
        """Return how many events wait in memory; see :class:`~..protocol.EventQueue`."""
        return self._fallback.buffered()

    def before_fork(self) -> None:
        """Wait until the connection is free, and close it; see :class:`~..protocol.EventQueue`."""
        self._database.in_use.acquire()
        self._database.close()
        self._spill.in_change.acquire()

    def after_fork_in_parent(self) -> None:
        """Go on; see :class:`~..protocol.EventQueue`."""
        for lock in (self._spill.in_change, self._database.in_use):
            # Nothing to release when the queue came to be in the middle of the fork.
            with contextlib.suppress(RuntimeError):
                lock.release()

    def abandon(self) -> bool:
        """Drop what a forked child inherited; see :class:`~..protocol.EventQueue`."""
        may_use_it = self._database.abandon()
        self._spill.abandon()
        self._fallback.clear()
        self._start_here()
        return may_use_it and not inherited_connection()

    def _start_here(self) -> None:
        """Begin anew in this process; the database's lock, too: another thread may have held it at the fork."""
        self._database = Database(
            self._directory.store,
            power=self._power,
            before_opening=self.prepare,
            after_opening=self._check,
            stays_open=self._stays_open,
        )
        self._allowance = 0
        self._pid = os.getpid()

    def _check(self) -> None:
        """Look whose directory it is, when others can see already that somebody has the database open."""
        require_backend(self._directory, "sqlite")
        check_destination(self._directory)

    def _here(self) -> Database:
        if self._pid != os.getpid():
            self.abandon()
        return self._database

    def _put(self, record: bytes) -> None:
        """Write one record where this process may.

        Raises:
            QueueFull: the queue is over ``max_queue_bytes``.
            QueueDirectoryError: the directory is unsafe, or holds the events of another backend.
            OSError: the disk refuses.
        """
        if self._database.is_in_use_here() or inherited_connection():
            self._put_into_spill(record)
            return
        self._allowance -= len(record)
        if self._allowance < 0:
            self._look_for_room(len(record))
        with self._database.use() as queue:
            queue.put(record)
            is_lost = not self._database.is_in_place()
        if is_lost:
            self._database.close()
            self._report(
                QueueDamaged(f"{self._database.path} was deleted or replaced while in use; unsettled events are lost")
            )
            with self._database.use() as queue:
                queue.put(record)

    def _put_into_spill(self, record: bytes) -> None:
        if not self._directory.backend.exists():
            self.prepare()  # or the first segment would look like a journal's
        try:
            self._spill.append(record)
        except FileNotFoundError:
            self.prepare()
            self._spill.append(record)

    def _look_for_room(self, size: int) -> None:
        """Compare the database with its limit, and allow a share of what is left until the next look."""
        with self._database.use() as queue:
            connection = queue.reader
            counters = tables.read_counters(connection)
            is_empty = tables.last_number(connection, counters) == counters.cursor
            room = self._max_queue_bytes - (0 if is_empty else tables.bytes_in_use(connection))
        if room < size:
            raise QueueFull(
                f"event not accepted: the queue in {self._directory.root} is over max_queue_bytes "
                f"({self._max_queue_bytes} bytes); is delivery working?"
            )
        # Several processes share what is left, so nobody takes more than a small part of it unseen.
        self._allowance = min(self._max_queue_bytes // _CHECKS_PER_LIMIT, room // 4)


@contextlib.contextmanager
def _told_as_damage() -> Iterator[None]:
    """Nothing goes on before somebody has repaired it, or moved it away: that is no mere refusal of the disk."""
    try:
        yield
    except StoreDamaged as error:
        raise QueueDamaged(
            f"{error}; nothing was changed: stop what uses the queue, and repair the database (for example with the "
            ".recover command of sqlite3) or move its files away"
        ) from error
