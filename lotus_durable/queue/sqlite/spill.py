"""The spill: segments of a journal, in the same directory, for what a process cannot put into the database.

That is a process that inherited its parent's connection (:mod:`.connection`), and a signal handler that tracks in the
middle of a put of its own thread. Their events are as safe there as in the journal backend; the leader copies them.

A transaction holds both the copied rows and how far the segment is copied, so a leader that is killed at any moment
leaves each event in one place. A segment is deleted when it is copied to its end, its writer is gone, and the copy is
synced. A migration from the journal is the same: its segments become a spill, read from the journal's cursor on.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import replace

from lotus_durable.errors import LotusError, QueueDamaged
from lotus_durable.queue.books import StoredEvent
from lotus_durable.queue.directory import QueueDirectory, failed_mark, sync_directory
from lotus_durable.queue.format import UnknownFormat
from lotus_durable.queue.quarantine import keep_aside
from lotus_durable.queue.reader import START, Position, SegmentReader, Stretch

from . import tables
from .connection import Database, sync

_STRETCH = 500  # events in one transaction

Fence = Callable[[tables.Counters], None]
"""Raises LeadershipLost when these counters show that somebody else leads."""


class SpillReader:
    """Copies the spill into the database; the leader's.

    Raises:
        OSError: the disk refuses.
    """

    def __init__(
        self, directory: QueueDirectory, database: Database, report: Callable[[LotusError], None], fence: Fence
    ) -> None:
        self._directory = directory
        self._database = database
        self._report = report
        self._fence = fence
        self._unreadable: set[str] = set()

    def copy(self) -> None:
        """Copy what is there now; delete the segments that are done."""
        names = self._directory.segments()
        if not names:
            return
        with self._database.use() as queue:
            copied = tables.read_spilled(queue.reader)
        done = [name for name in names if self._copy_segment(name, copied.get(name, START))]
        if done:
            self._delete(done)

    def _copy_segment(self, name: str, position: Position) -> bool:
        """Copy one segment; return whether nothing more can come."""
        try:
            with contextlib.closing(SegmentReader(self._directory.journal / name, position)) as reader:
                # A writer that is faster than we are must not keep us here for ever.
                while reader.position[0] < max(1, reader.size_at_opening):
                    stretch = reader.read(_STRETCH)
                    if stretch is None:
                        break
                    self._take_in(name, stretch)
                self._unreadable.discard(name)
                return reader.finished()
        except FileNotFoundError:
            return False
        except UnknownFormat as error:
            if name not in self._unreadable:
                self._unreadable.add(name)
                self._report(QueueDamaged(f"segment {name} is left alone: {error}"))
            return False

    def _take_in(self, name: str, stretch: Stretch) -> None:
        lost = 0
        if stretch.damage is not None:
            keep_aside(self._directory, stretch.damage, self._report)
            lost = stretch.damage.events
        now = time.time()
        with self._database.transaction() as connection:
            counters = tables.read_counters(connection)
            self._fence(counters)
            insert = "INSERT INTO queue_{} (data, timestamp) VALUES (?, ?)"
            connection.executemany(insert.format("pending"), [(record, now) for record in stretch.records])
            if lost:
                dead = StoredEvent(b"", str(stretch.damage), 0, now, now).encode()
                connection.executemany(insert.format("dead"), [(dead, now)] * lost)
            connection.execute("INSERT OR REPLACE INTO spilled VALUES (?, ?, ?)", (name, *stretch.positions[-1]))
            tables.write_counters(
                connection,
                replace(
                    counters,
                    spilled=counters.spilled + len(stretch.records) + lost,
                    base=counters.base + lost,
                    dead=counters.dead + lost,
                ),
            )

    def _delete(self, names: list[str]) -> None:
        sync(self._database.path)
        for name in names:
            for file in (name, failed_mark(name)):
                (self._directory.journal / file).unlink(missing_ok=True)
        # Or a power cut could bring one back when the database has forgotten it.
        sync_directory(self._directory.journal)
        with self._database.transaction() as connection:
            connection.executemany("DELETE FROM spilled WHERE segment = ?", ((name,) for name in names))
