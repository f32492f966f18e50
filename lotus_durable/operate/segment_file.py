"""Writing a segment as a whole: nobody reads it before it is published, and a kill before that leaves no segment."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from typing import Self

from lotus_durable.queue.directory import QueueDirectory, segment_name, unfinished_name
from lotus_durable.queue.files import FILE_MODE, sync_path, write_rest
from lotus_durable.queue.format import Header, encode_frame, new_header
from lotus_durable.queue.protocol import Cursor
from lotus_durable.queue.reader import BEGINNING

_BUFFER = 1 << 20


class NewSegment:
    """One new segment of a queue. There is no file before something is written, and none after :meth:`discard`.

    What writes raises ``OSError`` where the disk refuses.

    Args:
        directory: of the queue.
        key: the fingerprint of the API key that its events are for.

    Attributes:
        name: that it has once it is published.
        header: what it says about itself.
        events: how many are in it.
        size: bytes.
    """

    def __init__(self, directory: QueueDirectory, key: bytes) -> None:
        header = new_header(time.time_ns(), key)
        self.header: Header = header
        self.name: str = segment_name(header.created_ns, header.pid, header.marker)
        self.events: int = 0
        self.size: int = 0
        self._journal = directory.journal
        self._unfinished = f"{directory.journal}/{unfinished_name(self.name)}"
        self._descriptor = -1
        self._buffer = bytearray(self.header.encode())

    def add(self, record: bytes) -> None:
        """Append one event."""
        self._buffer += encode_frame(self.header.marker, self.events, record)
        self.events += 1
        if len(self._buffer) >= _BUFFER:
            self._write()

    def take_id(self, segment_id: bytes) -> None:
        """Have another id from now on; before it is finished."""
        self._write()
        self.header = self.header._replace(id=segment_id)
        os.pwrite(self._descriptor, self.header.encode(), 0)

    def finish(self) -> None:
        """Make it survive a power cut; it is not published yet."""
        self._write()
        os.fsync(self._descriptor)
        sync_path(self._journal)

    def publish(self) -> None:
        """Have the flusher read it, whatever happens from now on."""
        os.rename(self._unfinished, f"{self._journal}/{self.name}")
        sync_path(self._journal)
        self._close()

    def discard(self) -> None:
        """Remove it, whatever happens: Ctrl-C may come at any line. Once it is published it has another name."""
        with contextlib.suppress(OSError):
            os.unlink(self._unfinished)
        if self._descriptor >= 0:
            self._close()

    def _write(self) -> None:
        if self._descriptor < 0:
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
            self._descriptor = os.open(self._unfinished, flags, FILE_MODE)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # else it looks like what a crash has left
        write_rest(self._descriptor, bytes(self._buffer), self.size)
        self.size += len(self._buffer)
        self._buffer.clear()

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # a child that was forked meanwhile has a copy
        os.close(descriptor)


class NewSegments:
    """New segments for events of several keys, a segment for each key; none is left behind that was not published."""

    def __init__(self, directory: QueueDirectory) -> None:
        self._directory = directory
        self._segments: dict[bytes, NewSegment] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for segment in self._segments.values():
            segment.discard()

    @property
    def events(self) -> int:
        """How many are in them."""
        return sum(segment.events for segment in self._segments.values())

    def add(self, key: bytes, record: bytes) -> None:
        """Append one event that is for the API key with this fingerprint."""
        if key not in self._segments:
            self._segments[key] = NewSegment(self._directory, key)
        self._segments[key].add(record)

    def finish(self) -> dict[bytes, Cursor]:
        """Make them survive a power cut, and return what the books have to know before they are published."""
        for segment in self._segments.values():
            segment.finish()
        return {segment.header.id: Cursor(segment.name, *BEGINNING) for segment in self._segments.values()}

    def publish(self) -> None:
        """Have the flusher read them, whatever happens from now on."""
        for segment in self._segments.values():
            segment.publish()
