"""Writing one segment: create, append, cut back, sync, seal."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from _thread import RLock, get_ident  # those of threading, which imports more

from lotus_durable.clock import monotonic
from lotus_durable.descriptors import moved_up, place_of
from lotus_durable.disk import DiskErrorsSuppressed, is_of_the_disk

from .directory import QueueDirectory, refuse_without_locks, segment_name, unfinished_name
from .files import FILE_MODE, sync_data, sync_path, write_rest
from .format import HEADER_SIZE, Header, encode_frame, new_header

_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_SYNC_SHARE = 0.1
"""Of the time of the last sync, what lies between two looks whether another thread's is over."""
_SYNC_LOOKS = 30


class SegmentWriter:
    """The only writer of one segment; belongs to the process that created it.

    The segment stays locked (``flock``) while its writer lives and has not sealed it: that lock, not a pid, is how
    the flusher knows that more may come. :meth:`append` and :meth:`seal` are for one thread at a time;
    :meth:`sync_through` may be called by many.

    It writes at the end that it knows, and never in append mode: a socket, a pipe or a terminal that got the number of
    its descriptor, because somebody closed what is not his, refuses that.

    Attributes:
        descriptor: of the segment; -1 once it was let go.
        marker: of the segment, which opens each frame.
        end: bytes of the segment that count.
        stop_at: a frame that would end after it is not appended before somebody has looked at limits.
        kept: what was appended since :meth:`trust` was last called, and ``kept_from``, where that begins.
        is_broken: it takes no further frame.

    Raises:
        OSError: the disk refuses; nothing is left behind but perhaps an unfinished file that is never read, or an
            empty segment.
    """

    def __init__(self, directory: QueueDirectory, key: bytes, *, sync: bool) -> None:
        self.header: Header = new_header(time.time_ns(), key)
        self.end: int = HEADER_SIZE
        self.kept_from: int = HEADER_SIZE
        self.stop_at: int = 0
        self.sequence: int = 0
        self.trusted_sequence: int = 0
        self.kept: list[bytes] = []
        self.is_broken: bool = False
        self.marker: bytes = self.header.marker
        # Reentrant: a signal handler that tracks may interrupt its own thread inside the sync.
        self._sync_lock = RLock()
        self._synced = HEADER_SIZE
        self._syncing = 0  # the thread that does
        self._is_waited_for = False  # it, by another thread
        self._was_waited_for = False  # the one before
        self._sync_seconds = 0.0
        self._sync_failed = False
        self.path: str
        self.descriptor: int
        self.path, self.descriptor = create_segment(directory, self.header, self.header.encode(), sync=sync)
        self.name: str = os.path.basename(self.path)
        self._place = place_of(self.descriptor)

    def __repr__(self) -> str:
        return f"<SegmentWriter {self.name} frames={self.sequence} end={self.end}>"

    def append(self, record: bytes) -> None:
        """Append one frame with one write.

        Raises:
            OSError: the disk refuses; the segment holds what it held before, or it is broken.
        """
        sequence = self.sequence
        frame = encode_frame(self.marker, sequence, record)
        size, end = len(frame), self.end
        try:
            self.kept.append(record)
            written = os.pwrite(self.descriptor, frame, end)
            if written != size:
                write_rest(self.descriptor, frame, end, written)
            self.sequence = sequence + 1
            self.end = end + size
        except BaseException as error:
            self.undo(error, sequence, size)
            raise

    def undo(self, error: BaseException, sequence: int, size: int) -> None:
        """Undo an append that an error has ended, of a frame of this sequence and this many bytes."""
        if is_of_the_disk(error) and self.sequence == sequence:
            self._cut_off(size)
        else:
            # A signal handler raised: nobody knows what was written, and no sequence number may be used twice.
            self.break_off()

    def _cut_off(self, size: int) -> None:
        """Undo a partial write; where that cannot be, the segment is broken and its tail torn."""
        status = self.own_status()
        if status is not None and status.st_size > self.end:
            if status.st_size >= self.end + size:
                # The frame is whole, so the error was not the disk's. Somebody may have read it already: it must stay.
                self.break_off()
                return
            try:
                os.ftruncate(self.descriptor, self.end)
            except OSError:
                self.break_off()
        self.kept.pop()

    def break_off(self) -> None:
        """Take no further frame; what is there stays."""
        self.is_broken = True
        self.stop_at = 0

    def trust(self) -> None:
        """Forget what was appended: it is where readers find it."""
        self.kept.clear()
        self.kept_from = self.end
        self.trusted_sequence = self.sequence

    @property
    def last_end(self) -> int:
        """Where the segment ends: once it was cut back to what was synced, before ``end``."""
        return min(self.end, self._synced) if self._sync_failed else self.end

    # Whose is what it holds

    def own_status(self) -> os.stat_result | None:
        """Return what the descriptor says of the segment; None when the descriptor is somebody else's by now."""
        try:
            status = os.fstat(self.descriptor)
        except OSError as error:  # DiskErrorsSuppressed costs more than what it is about, here and below
            if not is_of_the_disk(error):
                raise
            return None
        return status if (status.st_dev, status.st_ino) == self._place else None

    def is_sound(self) -> bool:
        """Whether descriptor and path lead to the segment, and that has the size that it was left with.

        What follows the end of one that takes no further frame is no concern of the writer's.
        """
        try:
            own, there = os.fstat(self.descriptor), os.stat(self.path)
        except OSError as error:
            if not is_of_the_disk(error):
                raise
            return False
        if not (own.st_dev, own.st_ino) == self._place == (there.st_dev, there.st_ino):
            return False
        size, end = own.st_size, self.last_end
        return size == end or (size > end and self.is_broken)

    def is_at(self, path: str) -> bool:
        """Whether ``path`` leads to the segment."""
        return place_of(path) == self._place

    # Power cuts

    def sync_through(self, end: int) -> None:
        """Return when the first ``end`` bytes survive a power cut; threads that wait here share one sync.

        Raises:
            OSError: the disk refuses. The segment is broken, and holds what was synced before and nothing more: after
                a failed sync the kernel may have dropped the dirty pages, and a second sync of the same file would
                report a success that means nothing.
        """
        if self._syncing or self._was_waited_for:  # of one thread alone there is never a trace of others
            self._wait_for_others(end)
        with self._sync_lock:
            if self._synced >= end:
                return
            if not self._sync_failed:
                covered = self.end
                began = monotonic()
                try:
                    self._syncing = get_ident()
                    sync_data(self.descriptor)
                    self._was_waited_for, self._is_waited_for = self._is_waited_for, False
                    # A signal handler may have synced and sealed the segment meanwhile: that is as good.
                    if self._synced < end and self.own_status() is None:
                        raise OSError(errno.EBADF, "somebody closed the descriptor of this segment", self.path)
                except OSError:
                    self._cut_back_to_synced()
                    raise
                finally:
                    self._syncing = 0
                self._sync_seconds = monotonic() - began
                self._synced = max(self._synced, covered)
            if self._synced < end:
                # Once more: a frame that another thread was writing came to lie behind the cut.
                self._cut_back_to_synced()
                raise OSError(errno.EIO, "an earlier sync of this segment failed", self.path)

    def _wait_for_others(self, end: int) -> None:
        """Wait while another thread syncs, but not for the lock.

        Or those that its sync was enough for would wait for the next one, too. Who is to sync next, after one that was
        waited for, waits a moment more: the others are about to append again, and share that one. Else the first of
        them would sync for itself, and all others wait for the one after that.
        """
        has_waited = False
        for _ in range(_SYNC_LOOKS):  # and then it waits for the lock: a signal handler may have kept that from being 0
            if self._synced >= end or self._syncing in (0, get_ident()):
                break
            self._is_waited_for = True
            time.sleep(self._sync_seconds * _SYNC_SHARE)
            has_waited = True
        if (has_waited or self._was_waited_for) and self._synced < end:
            time.sleep(self._sync_seconds * _SYNC_SHARE)

    def _cut_back_to_synced(self) -> None:
        self.break_off()
        self._sync_failed = True
        with DiskErrorsSuppressed():
            if self.own_status() is not None:
                os.ftruncate(self.descriptor, self._synced)

    def seal(self) -> None:
        """Append no more and let go of the lock; the segment is the flusher's to delete once it is settled.

        Threads that still wait in :meth:`sync_through` must have been served: sync before sealing.
        """
        with self._sync_lock:
            self.break_off()
            if self.own_status() is not None:
                # Unlocks for every process that shares this open file: a child forked without hooks may still hold it.
                with DiskErrorsSuppressed():
                    fcntl.flock(self.descriptor, fcntl.LOCK_UN)
            self.abandon()

    def abandon(self) -> None:
        """Close the descriptor without unlocking: in a child, the segment is still its parent's."""
        if self.own_status() is not None:
            with DiskErrorsSuppressed():
                os.close(self.descriptor)
        self.descriptor = -1


def create_segment(directory: QueueDirectory, header: Header, content: bytes, *, sync: bool) -> tuple[str, int]:
    """Create, lock, write, and only then give the file the name that readers look for; return path and descriptor.

    A reader therefore never sees a segment without a header, and never one that looks abandoned by its writer.
    ``content``, that header and perhaps frames, survives a power cut with ``sync``.

    Raises:
        OSError: the disk refuses; nothing of it is there, but perhaps an unfinished file that is never read.
    """
    name = segment_name(header.created_ns, header.pid, header.marker)
    path, unfinished = f"{directory.journal}/{name}", f"{directory.journal}/{unfinished_name(name)}"
    descriptor = moved_up(os.open(unfinished, _CREATE, FILE_MODE))
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            refuse_without_locks(directory.journal)  # a reason that a person can do something about, if it is that
            raise
        write_rest(descriptor, content)
        if sync:
            sync_data(descriptor)
        os.rename(unfinished, path)
        if sync:
            sync_path(directory.journal)
    except BaseException:
        os.close(descriptor)
        for file in (unfinished, path):
            with DiskErrorsSuppressed():
                os.unlink(file)
        raise
    return path, descriptor


def is_abandoned(descriptor: int) -> bool:
    """Whether no writer holds this segment any more: it was sealed, or its process is gone."""
    with DiskErrorsSuppressed():
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)  # two that ask at once do not see each other
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        return True
    return False
