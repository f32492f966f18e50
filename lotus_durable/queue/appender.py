"""The hot path of the queue: append a record to a segment of this process's own."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

from lotus_durable.errors import LotusError, QueueDamaged, QueueFull

from .backend import BackendName, require_backend
from .census import pending_bytes
from .destination import check_destination
from .directory import QueueDirectory, failed_mark
from .format import FRAME_HEADER_SIZE, HEADER_SIZE, MAX_RECORD_SIZE
from .writer import SegmentWriter

_CHECKS_PER_LIMIT = 64
"""How many times the queue's size is looked at while it fills from empty to its limit, at the least."""

_KEPT_FREE = 8 * 1024 * 1024
_KEPT_SHARE = 8
"""Bytes of the disk, and the part of a small one, that events leave free: settling needs room, for SQLite above all. On
a disk that the queue has filled to the last byte no refused event could be settled, and nothing behind it delivered."""
_SHARES = 32
"""Of the room on the disk, the part that one process takes until it looks again."""


class Appender:
    """Appends to segments of this process; takes no lock that another thread could hold in mid-append.

    An append takes a writer out of the pool and puts it back, so concurrent threads, and a signal handler that
    interrupts its own thread here, each find (or open) a segment that is theirs alone for the moment. In practice
    the interpreter lock makes it one segment nearly always.
    """

    def __init__(
        self,
        directory: QueueDirectory,
        report: Callable[[LotusError], None],
        *,
        segment_bytes: int,
        max_queue_bytes: int,
        power: bool,
        backend: BackendName = "journal",
    ) -> None:
        self._directory = directory
        self._backend = backend
        self._report = report
        self._limit = segment_bytes - FRAME_HEADER_SIZE
        self._max_queue_bytes = max_queue_bytes
        self._power = power
        self._idle: list[SegmentWriter] = []
        self._open: set[SegmentWriter] = set()  # idle or in use
        # Held while a segment is opened or closed, so that a fork can wait until all that are open are known.
        # Reentrant, for signal handlers.
        self.in_change = threading.RLock()
        self._allowance = 0

    def append(self, record: bytes) -> None:
        """Append one frame.

        Raises:
            QueueFull: the queue is over ``max_queue_bytes``.
            QueueDirectoryError: the directory is unsafe, so nothing is written to it.
            OtherDestination: (a QueueDirectoryError) the queue was given to another server meanwhile.
            OtherBackend: (a QueueDirectoryError) the directory holds the events of another backend.
            OSError: the disk refuses; the event was not written, or (power) perhaps not durably.
        """
        size = len(record)
        self._allowance -= size
        if self._allowance < 0:
            self._look_for_room(size)
        try:
            writer = self._idle.pop()  # atomic, and so is the append below
        except IndexError:
            writer = self._new_writer()
        if writer.size + size > writer.limit:
            writer = self._replaced(writer)
        try:
            end = writer.append(record)
        finally:
            # Back even when condemned: the next taker seals it.
            self._idle.append(writer)
        if self._power:
            writer.sync_through(end)

    def review(self) -> None:
        """Go on in new segments where the leader asks for it, or where somebody deleted those in use."""
        for writer in tuple(self._open):
            with contextlib.suppress(OSError):  # sealed by another thread meanwhile
                if writer.is_deleted():
                    writer.condemn()
                    self._report(
                        QueueDamaged(f"segment {writer.path} was deleted while in use; unsettled events in it are lost")
                    )
                elif os.path.exists(self._directory.journal / failed_mark(writer.path.name)):
                    writer.condemn()

    def close(self) -> None:
        """Seal the segments of this process; raises nothing."""
        while self._idle:
            self._seal(self._idle.pop())

    def abandon(self) -> None:
        """In a forked child: the segments are the parent's."""
        for writer in self._open:
            writer.abandon()
        self._open.clear()
        self._idle.clear()

    def _new_writer(self) -> SegmentWriter:
        with self.in_change:
            # It may have become unsafe, or have been so when the process started: what it holds is for its owner only.
            self._directory.check()
            writer = SegmentWriter(self._directory, limit=self._limit, sync=self._power)
            try:
                # Only now: who changes whose directory it is sees the segment, or we see the change.
                require_backend(self._directory, self._backend)
                check_destination(self._directory)
            except BaseException:
                writer.discard()
                raise
            self._open.add(writer)
        return writer

    def _replaced(self, writer: SegmentWriter) -> SegmentWriter:
        """Rotate: seal a segment that is full or condemned, and return the next."""
        if writer.limit and writer.size == HEADER_SIZE:
            return writer  # one record that is larger than a segment should be
        self._seal(writer)
        return self._new_writer()

    def _seal(self, writer: SegmentWriter) -> None:
        try:
            if self._power:
                # Threads that wait for a sync of this segment are served before it closes; if it fails they know.
                with contextlib.suppress(OSError):
                    writer.sync_through(writer.size)
        finally:
            with self.in_change:
                writer.seal()
                self._open.discard(writer)

    def _look_for_room(self, size: int) -> None:
        """Compare the queue with its limit, and allow a share of what is left until the next look."""
        if size > MAX_RECORD_SIZE:
            raise ValueError(f"a record of {size} bytes; {MAX_RECORD_SIZE} is the most")
        room = self._max_queue_bytes - pending_bytes(self._directory)
        if room < size:
            raise QueueFull(
                f"event not accepted: the queue in {self._directory.root} is over max_queue_bytes "
                f"({self._max_queue_bytes} bytes); is delivery working?"
            )
        on_disk = _room_on_disk(self._directory.root)
        if on_disk < size:
            raise OSError(errno.ENOSPC, "no space but what settling events needs", os.fspath(self._directory.root))
        self.review()
        # Several processes share what is left, so nobody takes more than a small part of it unseen.
        self._allowance = min(
            self._max_queue_bytes // _CHECKS_PER_LIMIT, room // 4, on_disk // _SHARES, MAX_RECORD_SIZE
        )


def _room_on_disk(path: Path) -> int:
    """Return how many bytes events may still take of the disk.

    Raises:
        OSError: the directory is not there, or the disk cannot be asked.
    """
    disk = os.statvfs(path)
    if not disk.f_blocks:
        return MAX_RECORD_SIZE * _SHARES  # some file systems do not tell: the writes will
    kept = min(_KEPT_FREE, disk.f_blocks * disk.f_frsize // _KEPT_SHARE)
    return disk.f_bavail * disk.f_frsize - kept
