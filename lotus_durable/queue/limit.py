"""How full a queue and its disk are, and how much a process may append before it looks again."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import sys
from collections.abc import Generator
from itertools import islice

from lotus_durable.clock import monotonic
from lotus_durable.errors import QueueFull
from lotus_durable.values import NamedTuple

from .directory import QueueDirectory
from .files import regular_file_status

_SMALLEST_SHARE = 4096
"""Of the limit, the part that a process may always take, as long as it is there. 200 processes with one such part each
take 5 % of the limit together."""
_UNSEEN = 10
"""Of the limit, the part that all processes together may append while the others do not see it."""
_DOUBLINGS = 12
"""A process takes a smallest part first, and each time twice as much: at its first look the others may be about to
begin, too, and it cannot know how many they are."""

_KEPT_FREE = 8 * 1024 * 1024
_KEPT_SHARE = 8
"""Bytes of the disk, and the part of a small one, that events leave free: settling needs room. On a disk that the queue
has filled to the last byte no refused event could be settled, and nothing behind it delivered."""
_SHARES_OF_DISK = 32
"""Of the room on the disk, the part that one process takes until it looks again."""

_REFUSED_FOR = 0.05  # seconds
_REFUSED_SHARE = 20
"""A refusal holds for a moment, and for this many times as long as the look took: refusing costs nothing then."""

_FEW_FILES = 256
"""So many are looked at for the first event of a process."""
_LEAST_BYTES_PER_NAME = 20
"""What a directory's size says of the number of names in it, at the most: tmpfs counts 20 bytes for each, ext4 and XFS
more. Where the size says nothing (it is less than what was seen), all files are looked at."""


class QueueLimit:
    """The limit of one queue, as one process keeps it; shared by its threads.

    A look costs about one ``stat`` for each segment, so there is none per event: a look allows so many bytes. All that
    lies in the directory counts.
    """

    def __init__(self, directory: QueueDirectory, max_queue_bytes: int) -> None:
        self._directory = directory
        self.max_queue_bytes = max_queue_bytes
        self._looks = 0
        self._refused_until = -math.inf
        self._refused_size = 0

    def grant(self, size: int, now: float, *, is_accepted: bool = False) -> int:
        """Return how many bytes, ``size`` or more, the caller may append to its segment before it asks again.

        The limit is none any more for an event that was accepted before, and waited in memory.

        Raises:
            QueueFull: the queue is over its limit.
            OSError: the disk is nearly full, or cannot be asked.
        """
        if now < self._refused_until and size >= self._refused_size and not is_accepted:
            raise self._refusal()
        on_disk = free_on_disk(self._directory.root)
        if on_disk < size:
            raise OSError(errno.ENOSPC, "no space but what settling events needs", self._directory.root)
        if is_accepted:
            return size
        started = monotonic()
        used, segments = self._look(size)
        left = self.max_queue_bytes - used
        if left < size:
            took = monotonic() - started
            self._refused_until = now + max(_REFUSED_FOR, _REFUSED_SHARE * took)
            self._refused_size = size
            raise self._refusal()
        smallest = self.max_queue_bytes // _SMALLEST_SHARE
        share = min(smallest << self._looks, left // segments, self.max_queue_bytes // (_UNSEEN * segments))
        self._looks = min(self._looks + 1, _DOUBLINGS)
        return max(size, min(max(share, smallest), left, on_disk // _SHARES_OF_DISK))

    def _refusal(self) -> QueueFull:
        return QueueFull(
            f"event not accepted: the queue in {self._directory.root} is over max_queue_bytes "
            f"({self.max_queue_bytes} bytes); is delivery working?"
        )

    def _look(self, size: int) -> tuple[int, int]:
        """Return how many bytes the queue has, and how many segments."""
        others = bytes_in(self._directory.root)[0] + bytes_in(self._directory.quarantine)[0]
        if not self._looks:
            used, segments = _estimate(self._directory.journal)
            if others + used + size <= self.max_queue_bytes:
                return others + used, max(1, segments)
        used, segments = bytes_in(self._directory.journal)
        return others + used, max(1, segments)


def bytes_in(folder: str) -> tuple[int, int]:
    """Return the bytes and the number of the files in a folder."""
    sizes = list(_sizes(folder))
    return sum(sizes), len(sizes)


def _estimate(folder: str) -> tuple[int, int]:
    """Return about how many bytes are in a folder, and rather too many as the number of the files.

    So that 50,000 segments, left by as many short-lived processes while nobody flushes, slow nobody's first event. Not
    for later ones: the files that are being written, which are small yet, may be the first that are met.
    """
    with contextlib.closing(_sizes(folder)) as sizes:
        few = list(islice(sizes, _FEW_FILES))
    if len(few) < _FEW_FILES:
        return sum(few), len(few)
    at_most = os.stat(folder).st_size // _LEAST_BYTES_PER_NAME
    return bytes_in(folder) if at_most < len(few) else (sum(few) * at_most // len(few), at_most)


def _sizes(folder: str) -> Generator[int, None, None]:
    """Give the size of each file that is there."""
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                status = regular_file_status(entry.path)
                if status is not None:
                    yield status.st_size


def free_on_disk(path: str) -> int:
    """Return how many bytes events may still take of the disk.

    Raises:
        OSError: the disk cannot be asked.
    """
    try:
        disk = os.statvfs(path)
    except FileNotFoundError:
        return sys.maxsize  # it is made with the first segment
    if not disk.f_blocks:
        return sys.maxsize  # some file systems do not tell: the writes will
    kept = min(_KEPT_FREE, disk.f_blocks * disk.f_frsize // _KEPT_SHARE)
    return disk.f_bavail * disk.f_frsize - kept


class Condition(NamedTuple):
    """Bytes and files, now."""

    used_bytes: int
    """All that lies in the directory; what is above ``max_queue_bytes`` is refused."""
    disk_left: int
    """Bytes that events may still take of the disk."""
    files_left: int
    """Files that can still be made on it; very many where the file system sets no limit."""
    quarantine_files: int
    quarantine_bytes: int


def condition(directory: QueueDirectory) -> Condition:
    """Look how much space a queue has left.

    Raises:
        OSError: the directory cannot be read.
    """
    folders = [bytes_in(each) for each in (directory.root, directory.journal, directory.quarantine)]
    disk = os.statvfs(directory.root)
    return Condition(
        used_bytes=sum(size for size, _ in folders),
        disk_left=max(0, free_on_disk(directory.root)),
        files_left=disk.f_favail if disk.f_files else sys.maxsize,
        quarantine_files=folders[2][1],
        quarantine_bytes=folders[2][0],
    )
