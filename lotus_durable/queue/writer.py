"""Writing one segment: create, append, sync, seal."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import threading
import time
from pathlib import Path

from .directory import FILE_MODE, QueueDirectory, segment_name, sync_directory, unfinished_name
from .format import HEADER_SIZE, encode_frame, new_header

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC


class SegmentWriter:
    """The only writer of one segment; belongs to the process that created it.

    The segment stays locked (``flock``) while its writer lives and has not sealed it: that lock, not a pid, is how
    the leader knows that more may come. :meth:`append` and :meth:`seal` are for one thread at a time;
    :meth:`sync_through` may be called by many.

    Attributes:
        size: bytes of the segment that count.
        limit: bytes above which the segment takes no further frame; 0 once it is condemned.

    Raises:
        OSError: the disk refuses; nothing is left behind but perhaps an unfinished file that is never read, or an
            empty segment.
    """

    def __init__(self, directory: QueueDirectory, *, limit: int, sync: bool) -> None:
        header = new_header(time.time_ns())
        self.path = directory.journal / segment_name(header.created_ns, header.pid, header.marker)
        self.size = HEADER_SIZE
        self.limit = limit
        self._marker = header.marker
        self._sequence = 0
        # Reentrant: a signal handler that tracks may interrupt its own thread inside the sync.
        self._sync_lock = threading.RLock()
        self._synced = 0
        self._sync_failed = False
        self._descriptor = _create(directory.journal / unfinished_name(self.path.name), self.path, header.encode())
        if sync:
            try:
                self.sync_through(self.size)
                sync_directory(directory.journal)
            except BaseException:
                self.seal()
                raise

    def __repr__(self) -> str:
        return f"<SegmentWriter {self.path.name} frames={self._sequence} size={self.size}>"

    def append(self, record: bytes) -> int:
        """Append one frame with one write and return the segment's size after it.

        Raises:
            OSError: the disk refuses; the segment holds what it held before, or it is condemned.
        """
        sequence = self._sequence
        try:
            frame = encode_frame(self._marker, sequence, record)
            written = os.write(self._descriptor, frame)
            if written != len(frame):
                # tmpfs and others take what fits and report no error.
                raise OSError(errno.ENOSPC, f"short write ({written} of {len(frame)} bytes)", str(self.path))
            self._sequence = sequence + 1
            self.size = size = self.size + written
        except BaseException as error:
            if isinstance(error, OSError) and self._sequence == sequence:
                self._cut_back()
            else:
                # A signal handler raised: nobody knows what was written, and no sequence number may be used twice.
                self.condemn()
            raise
        return size

    def condemn(self) -> None:
        """Take no further frame; what is there stays."""
        self.limit = 0

    def is_deleted(self) -> bool:
        """Whether somebody has deleted the segment while it is being written: whatever goes into it is lost."""
        return os.fstat(self._descriptor).st_nlink == 0

    def sync_through(self, size: int) -> None:
        """Return when the first ``size`` bytes survive a power cut; threads that wait here share one sync.

        Raises:
            OSError: the disk refuses. The segment is condemned: after a failed sync the kernel may have dropped the
                dirty pages, and a second sync of the same file would report a success that means nothing.
        """
        with self._sync_lock:
            if self._synced >= size:
                return
            if self._sync_failed:
                raise OSError(errno.EIO, "an earlier sync of this segment failed", str(self.path))
            covered = self.size
            try:
                os.fdatasync(self._descriptor)
            except OSError:
                self._sync_failed = True
                self.condemn()
                raise
            self._synced = max(self._synced, covered)

    def seal(self) -> None:
        """Append no more and let go of the lock; the segment is the leader's to delete once it is settled.

        Threads that still wait in :meth:`sync_through` must have been served: sync before sealing.
        """
        with self._sync_lock:
            self.condemn()
            if self._descriptor >= 0:
                # Unlocks for every process that shares this open file: a child forked without hooks may still hold it.
                with contextlib.suppress(OSError):
                    fcntl.flock(self._descriptor, fcntl.LOCK_UN)
                self.abandon()

    def discard(self) -> None:
        """Delete the segment, to which nothing was appended."""
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)
        self.seal()

    def abandon(self) -> None:
        """Close the descriptor without unlocking: in a child, the segment is still its parent's."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def _cut_back(self) -> None:
        """Undo a partial write; if even that fails the segment is condemned and its tail torn."""
        try:
            os.ftruncate(self._descriptor, self.size)
        except OSError:
            self.condemn()


def _create(unfinished: Path, path: Path, header: bytes) -> int:
    """Create, lock, write the header, and only then give the file the name that readers look for.

    A reader therefore never sees a segment without a header, and never one that looks abandoned by its writer.
    """
    descriptor = os.open(unfinished, _CREATE, FILE_MODE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.write(descriptor, header) != len(header):
            raise OSError(errno.ENOSPC, "short write of a segment header", str(unfinished))
        os.rename(unfinished, path)
    except BaseException:
        os.close(descriptor)
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise
    return descriptor


def is_abandoned(descriptor: int) -> bool:
    """Whether no writer holds this segment any more: it was sealed, or its process is gone."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    # The caller's own descriptor now holds the lock until it closes it; nobody else ever wants it again.
    return True
