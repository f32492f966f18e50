"""Delivered segments that are kept for a while (``keep_delivered``), so that Lotus can be asked whether it has them.

A file is ``kept/<when it was settled, seconds since the epoch>-<name>.seg``. The oldest are deleted when they are too
old, or when all together are too large. Here the wall clock decides: at worst something is kept too long, or too short.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from hashlib import blake2b

from lotus_durable.clock import monotonic
from lotus_durable.values import NamedTuple

from .directory import QueueDirectory, make_directory
from .files import write_synced

_EXPIRE_INTERVAL = 10.0
_UNDELIVERED = "undelivered"
_SIZE = 16


class KeptFile(NamedTuple):
    """One file that is kept."""

    path: str
    settled_at: float
    """Seconds since the epoch."""
    size: int


class KeptSegments:
    """What one flusher keeps: so many seconds (0: not at all), and so many bytes together."""

    def __init__(self, directory: QueueDirectory, seconds: float, most_bytes: int) -> None:
        self._directory = directory
        self._seconds = seconds
        self._most_bytes = most_bytes
        self._expired_at = float("-inf")

    def take(self, path: str) -> None:
        """Take a settled segment out of the journal: rename it aside, or delete it.

        Raises:
            FileNotFoundError: it is gone.
            OSError: the disk refuses.
        """
        if not self._seconds:
            os.unlink(path)
            return
        folder = self._directory.kept
        make_directory(folder)
        os.rename(path, f"{folder}/{int(time.time())}-{os.path.basename(path)}")

    def expire(self) -> None:
        """Delete what is too old, and the oldest of what is too much; now and then."""
        now = monotonic()
        if 0 <= now - self._expired_at < _EXPIRE_INTERVAL:
            return
        self._expired_at = now
        left = self._most_bytes
        newest_first = sorted(kept_files(self._directory), key=lambda file: file.settled_at, reverse=True)
        for file in newest_first:
            left -= file.size
            if left < 0 or time.time() - file.settled_at > self._seconds:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(file.path)
        if not newest_first:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{self._directory.kept}/{_UNDELIVERED}")


def kept_files(directory: QueueDirectory) -> Iterator[KeptFile]:
    """Give what is kept."""
    with contextlib.suppress(FileNotFoundError), os.scandir(directory.kept) as entries:
        for entry in entries:
            when = entry.name.partition("-")[0]
            with contextlib.suppress(FileNotFoundError):
                if when.isdecimal() and entry.is_file(follow_symlinks=False) and entry.name.endswith(".seg"):
                    yield KeptFile(entry.path, float(when), entry.stat(follow_symlinks=False).st_size)


def note_undelivered(directory: QueueDirectory, ids: Iterable[str]) -> None:
    """Note events that were thrown away: they are in segments that are kept, and nobody is to put them back."""
    if os.path.isdir(directory.kept):
        write_synced(f"{directory.kept}/{_UNDELIVERED}", b"".join(map(_digest, ids)), os.O_APPEND)


def undelivered(directory: QueueDirectory, ids: Iterable[str]) -> set[str]:
    """Return those of these events that were thrown away while segments are kept."""
    data = b""
    with contextlib.suppress(FileNotFoundError), open(f"{directory.kept}/{_UNDELIVERED}", "rb") as file:
        data = file.read()
    digests = {data[start : start + _SIZE] for start in range(0, len(data), _SIZE)}
    return {each for each in ids if _digest(each) in digests}


def _digest(idempotency_id: str) -> bytes:
    return blake2b(idempotency_id.encode(), digest_size=_SIZE).digest()
