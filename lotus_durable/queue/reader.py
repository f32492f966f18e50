"""Reading one segment: frame by frame, for the flusher; or only its ends, for the counts.

It is one file, so that one place decides what bytes are: frames, still being written, or damage.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from lotus_durable.values import NamedTuple

from .directory import marker_in_name
from .files import open_to_read, opened_to_read
from .format import (
    HEADER_SIZE,
    Header,
    Origin,
    UnknownFormat,
    decode_header,
    events_at_end,
    find_frame,
    find_last_frame,
    frame_size,
    frames,
    is_incomplete,
    read_frames,
)
from .identity import NO_KEY
from .writer import is_abandoned

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_BUFFER_SIZE = 256 * 1024
_GLANCE_SIZE = 4096
_NO_MARKER = b"\xc1\xff\xff\xff"
"""For a segment whose header is damaged and that was renamed: no frame can be told, and all of it is damage."""

Position = tuple[int, int]
"""A place in a segment: the next byte and the next sequence number to read. A plain tuple: one is made per event."""

START: Position = (0, 0)
"""Before the header, which is yet to be looked at."""
BEGINNING: Position = (HEADER_SIZE, 0)
"""Before the first frame."""


class Damage(NamedTuple):
    """A stretch of a segment that holds no whole frame."""

    segment: str
    offset: int
    data: bytes
    """Empty where frames are missing and nothing is left in their place."""
    events: int
    """How many events it held, by the gap in the sequence numbers; at the end of a segment 1 at most: there is none."""
    words: str = ""
    """What it is, where it is of no segment."""

    def __str__(self) -> str:
        size = len(self.data)
        if self.words:
            return f"{self.words} ({size} bytes)"
        return f"damage in segment {self.segment} at byte {self.offset} ({size} bytes, {self.events} events)"


class Chunk(NamedTuple):
    """Consecutive records of one source, or a damaged stretch of it."""

    source: str
    """Empty until it is known."""
    records: Sequence[bytes]
    positions: Sequence[Any]
    """The position after each record. For damage, and for frames that are settled already and need no sending (there
    are no records then), the one position after it. What is one only the source knows."""
    damage: Damage | None = None
    key: bytes = NO_KEY
    """The fingerprint of the API key that the writer of all of it had."""
    in_rows: bool = False
    """It is of ``queue.db``, or what else has records of other keys in between."""
    carried: Mapping[int, Origin] = MappingProxyType({})
    """For each carried record, by its index, where it was before: the id of the segment, and the offset in it."""


class SegmentReader:
    """Reads a segment; memory is one buffer, whatever the segment's size.

    Attributes:
        position: from where it reads on.
        header: what the segment says about itself; None when that is damaged.
        key: the fingerprint of its writer's API key.

    Raises:
        OSError: the disk refuses (also when the segment does not exist).
        UnknownFormat: a newer version wrote it.
    """

    def __init__(self, path: str) -> None:
        self.name: str = os.path.basename(path)
        self.position: Position = START
        self._descriptor = open_to_read(path)
        self._buffer = b""
        self._index = 0  # of self.position in the buffer
        self._abandoned = False
        try:
            self.size_at_opening: int = os.fstat(self._descriptor).st_size
            self.header: Header | None = _read_header(self._descriptor)
        except BaseException:
            self.close()
            raise
        self.key: bytes = NO_KEY if self.header is None else self.header.key
        self._marker = _marker(self.header, self.name)

    def __repr__(self) -> str:
        return f"<SegmentReader {self.name} at {self.position}>"

    def close(self) -> None:
        """Close the file; the reader is of no use afterwards."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def read(self, limit: int) -> Chunk | None:
        """Return up to ``limit`` records, or a damaged stretch, or None when there is nothing more for now."""
        if self.position < BEGINNING and self.header is None:
            data = self._search()[0]
            if not data.rstrip(b"\0"):
                return None  # a power cut can leave an empty file, or one of zeros, that has its name already
            self.position = BEGINNING
            return Chunk("", [], [BEGINNING], Damage(self.name, 0, data[:HEADER_SIZE], 0), self.key)
        self.position = max(BEGINNING, self.position)
        chunk = self._parse(limit)
        if chunk is None and self._fill():
            chunk = self._parse(limit) or self._classify(limit)
        return chunk

    def finished(self) -> bool:
        """Whether everything was read and no writer will add to it; what then follows the position is no event."""
        if not self._is_abandoned():
            return False
        data, found = self._search()
        return found is None and events_at_end(data, self._marker, self.position[0]) is None

    def _parse(self, limit: int) -> Chunk | None:
        """Return the frames in the buffer that continue where the last one ended.

        Up to a missing frame, or one that was there before: that is damage.
        """
        offset, expected = self.position
        base = offset - self._index
        records, positions, carried = read_frames(self._buffer, self._marker, self._index, limit, base, expected)
        if not records:
            return None
        self.position = positions[-1]
        self._index = self.position[0] - base
        return Chunk("", records, positions, key=self.key, carried=carried)

    def _fill(self) -> bool:
        """Read afresh from the position on; return whether anything is there."""
        self._buffer, self._index = os.pread(self._descriptor, _BUFFER_SIZE, self.position[0]), 0
        if len(self._buffer) == _BUFFER_SIZE and is_incomplete(self._buffer, self._marker):
            # One frame larger than the buffer.
            self._buffer = os.pread(self._descriptor, frame_size(self._buffer), self.position[0])
        return bool(self._buffer)

    def _classify(self, limit: int) -> Chunk | None:
        """Decide about bytes that are not the next frame: still being written, nothing, or damage."""
        if not self._is_abandoned() and self._search()[1] is None:
            return None
        # Only now are these bytes final, because their writer is gone or has gone on behind them. They may have
        # changed since the first look: it may have cut back a short write, and written again.
        if not self._fill():
            return None
        return self._parse(limit) or self._skip()

    def _is_abandoned(self) -> bool:
        self._abandoned = self._abandoned or is_abandoned(self._descriptor)
        return self._abandoned

    def _search(self) -> tuple[bytes, tuple[int, int] | None]:
        """Return what lies at the position, and offset and sequence in it of the next frame that counts, if any."""
        size = _BUFFER_SIZE
        while True:
            data = os.pread(self._descriptor, size, self.position[0])
            found = find_frame(data, self._marker, self.position[1])
            if found is not None or len(data) < size:
                return data, found
            size *= 4

    def _skip(self) -> Chunk | None:
        """Step over damage to the next whole frame, or to the end of an abandoned segment."""
        offset, expected = self.position
        data, found = self._search()
        if found is not None:
            start, sequence = found
            damage = Damage(self.name, offset, data[:start], sequence - expected)
        elif self._abandoned and (events := events_at_end(data, self._marker, offset)) is not None:
            damage = Damage(self.name, offset, data, events)
        else:
            return None
        self.position = (offset + len(damage.data), expected + damage.events)
        self._buffer, self._index = b"", 0
        return Chunk("", [], [self.position], damage, self.key)


def header_of(path: str) -> Header | None:
    """Return what a segment says about itself; None when that is damaged.

    Raises:
        OSError: it is gone or cannot be read.
        UnknownFormat: a newer version wrote it.
    """
    with opened_to_read(path) as descriptor:
        return _read_header(descriptor)


def _read_header(descriptor: int) -> Header | None:
    return decode_header(os.pread(descriptor, HEADER_SIZE, 0))


def _is_ours(header: bytes) -> bool:
    try:
        decode_header(header)
    except UnknownFormat:
        return False
    return True


def _marker(header: Header | None, name: str) -> bytes:
    return header.marker if header is not None else marker_in_name(name) or _NO_MARKER


class Glance(NamedTuple):
    """What the ends of a segment tell without reading it."""

    frames: int
    """How many events were appended to it."""
    size: int
    """Bytes."""
    first: bytes | None
    """The record at the asked position, when it is whole."""
    header: Header | None
    """What the segment says about itself; None when that is damaged."""


def glance(path: str, position: Position) -> Glance:
    """Look at the last frame of a segment and at the one at ``position``; the cost does not depend on its size.

    Raises:
        OSError: the segment is gone or cannot be read.
    """
    with opened_to_read(path) as descriptor:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", path)
        size = status.st_size
        beginning = os.pread(descriptor, HEADER_SIZE, 0)
        header = decode_header(beginning, any_version=True)
        marker = _marker(header, os.path.basename(path))
        count = max(position[1], _count_frames(descriptor, marker, size))
        if not count and size > HEADER_SIZE and not _is_ours(beginning):
            count = 1  # at the least
        return Glance(count, size, _record_at(descriptor, marker, position[0], size), header)


def _count_frames(descriptor: int, marker: bytes, size: int) -> int:
    """Return how many frames a segment holds, by the sequence of the last one."""
    window = _GLANCE_SIZE
    while True:
        start = max(HEADER_SIZE, size - window)
        last = find_last_frame(os.pread(descriptor, max(0, size - start), start), marker)
        if last is not None:
            return last[0] + 1
        if start == HEADER_SIZE:
            return 0
        window *= 8


def _record_at(descriptor: int, marker: bytes, offset: int, size: int) -> bytes | None:
    window = _GLANCE_SIZE
    while offset < size:
        data = os.pread(descriptor, window, offset)
        for _, _, record, _ in frames(data, marker):
            return record
        if not is_incomplete(data, marker) or offset + len(data) >= size:
            return None
        window *= 8
    return None
