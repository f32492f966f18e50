"""The format of a segment: bytes in, bytes out, no I/O.

Layout (all integers little-endian)::

    segment = header frame*
    header  = magic 8s | version u16 | size u16 | marker 4s | pid u32 | created_ns u64 | crc32 u32      32 bytes
    frame   = marker 4s | crc32 u32 | length u32 | sequence u32 | record                               16 + length bytes

- ``marker`` is drawn at random for each segment and opens each of its frames, so that a reader that has lost its
  way finds the next frame by searching, and a record cannot forge one: its author never sees the marker. The first
  byte is 0xC1, which neither MessagePack nor UTF-8 uses. The segment's name carries the marker too, so that a damaged
  header costs no event.
- the header's ``crc32`` covers the 28 bytes before it, in every version, so that a newer one can be told from damage; a
  frame's covers its length, its sequence and its record.
- ``sequence`` counts the frames of a segment from 0 without gaps. The last frame therefore tells how many the segment
  holds without reading the others, and a gap tells how many events a damaged stretch held.

Invariants:

- one writer per segment, the process that created it, appending each frame with a single write. A killed writer can
  only leave an incomplete frame at the end, a *torn tail*, and that event was never acknowledged.
- bytes are never changed once written; a writer may cut back (truncate) a frame it could not write whole.
- anything else that does not parse is *damage*: it is skipped up to the next frame whose checksum holds, kept aside
  and counted. Damage never hides what follows it.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from zlib import crc32

MAGIC = b"LOTUSQ\r\n"
VERSION = 1
MARKER_SIZE = 4

_HEADER = struct.Struct("<8sHH4sIQ")
_CRC = struct.Struct("<I")
HEADER_SIZE = _HEADER.size + _CRC.size

_FRAME = struct.Struct("<4sIII")
FRAME_HEADER_SIZE = _FRAME.size
# Bound once: each append packs both.
_pack_frame_start = struct.Struct("<4sI").pack
_pack_frame_body = struct.Struct("<II").pack

MAX_RECORD_SIZE = 1 << 24
"""Bytes; a length above it cannot have been written by us, so it is damage and not a frame still to come."""


class UnknownFormat(ValueError):
    """A header that is whole but of another program or a newer version."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a segment says about itself."""

    marker: bytes
    pid: int
    created_ns: int

    def encode(self) -> bytes:
        """Return the 32 bytes that open a segment."""
        fields = _HEADER.pack(MAGIC, VERSION, HEADER_SIZE, self.marker, self.pid, self.created_ns)
        return fields + _CRC.pack(crc32(fields))


def new_header(created_ns: int) -> Header:
    """Return a header for a segment of this process, with a marker of its own."""
    return Header(b"\xc1" + os.urandom(MARKER_SIZE - 1), os.getpid(), created_ns)


def decode_header(data: bytes) -> Header | None:
    """Return the header, or None when it is damaged.

    Raises:
        UnknownFormat: the header is whole but not of this version.
    """
    if len(data) < HEADER_SIZE:
        return None
    magic, version, _size, marker, pid, created_ns = _HEADER.unpack_from(data)
    (checksum,) = _CRC.unpack_from(data, _HEADER.size)
    if crc32(data[: _HEADER.size]) != checksum:
        return None
    if magic != MAGIC or version != VERSION:
        raise UnknownFormat(f"segment format {magic!r} version {version}; this program reads version {VERSION}")
    return Header(marker, pid, created_ns)


def encode_frame(marker: bytes, sequence: int, record: bytes) -> bytes:
    """Return the frame of ``record``, to be written with one write."""
    body = _pack_frame_body(len(record), sequence) + record
    return _pack_frame_start(marker, crc32(body)) + body


class Stop(Enum):
    """Why no further frame can be read from a buffer."""

    END = "end"
    """The buffer ends after a whole frame."""
    INCOMPLETE = "incomplete"
    """The buffer ends inside a frame: more may come, or it is a torn tail."""
    DAMAGED = "damaged"
    """The bytes here are no frame."""


Frame = tuple[int, int, bytes]
"""Sequence, offset after the frame in the buffer, record."""


def frames(data: bytes, marker: bytes, start: int = 0) -> Iterator[Frame]:
    """Yield the frames of ``data`` from ``start`` on, for as long as they are whole and their checksums hold.

    Ask :func:`classify` about the offset after the last frame why it ended there.
    """
    unpack = _FRAME.unpack_from
    offset, size = start, len(data)
    while offset + FRAME_HEADER_SIZE <= size:
        found, checksum, length, sequence = unpack(data, offset)
        end = offset + FRAME_HEADER_SIZE + length
        if found != marker or length > MAX_RECORD_SIZE or end > size:
            return
        body = data[offset + 8 : end]
        if crc32(body) != checksum:
            return
        yield sequence, end, body[8:]
        offset = end


def classify(data: bytes, marker: bytes, offset: int = 0) -> Stop:
    """Say why :func:`frames` stopped at ``offset``."""
    remaining = len(data) - offset
    if remaining == 0:
        return Stop.END
    if data[offset : offset + MARKER_SIZE] != marker[:remaining]:
        return Stop.DAMAGED
    if remaining < FRAME_HEADER_SIZE:
        return Stop.INCOMPLETE
    size = frame_size(data, offset)
    return Stop.INCOMPLETE if remaining < size <= FRAME_HEADER_SIZE + MAX_RECORD_SIZE else Stop.DAMAGED


def frame_size(data: bytes, offset: int = 0) -> int:
    """Return how many bytes the frame at ``offset`` says it has; its header must be there."""
    length: int = _FRAME.unpack_from(data, offset)[2]
    return FRAME_HEADER_SIZE + length


def find_frame(data: bytes, marker: bytes, least: int = 0) -> tuple[int, int] | None:
    """Return offset and sequence of the first whole frame whose sequence is ``least`` or more, or None."""
    offset = data.find(marker)
    while offset != -1:
        for sequence, _, _ in islice(frames(data, marker, offset), 1):
            if sequence >= least:
                return offset, sequence
        offset = data.find(marker, offset + 1)
    return None


def find_last_frame(data: bytes, marker: bytes) -> Frame | None:
    """Return the last whole frame in ``data``, wherever it begins, or None."""
    offset = data.rfind(marker)
    while offset != -1:
        for frame in frames(data, marker, offset):
            return frame
        offset = data.rfind(marker, 0, offset + MARKER_SIZE - 1)
    return None


def count_events_in_tail(data: bytes, marker: bytes, expected: int) -> int:
    """Count the damaged frames in ``data``, the end of a segment in which no frame is whole any more.

    A frame is taken for one when its marker or its sequence (``expected`` is the first one's) is still right and it is
    all there; a torn one at the end does not count.
    """
    offset, count = 0, 0
    while offset + FRAME_HEADER_SIZE <= len(data):
        found, checksum, length, sequence = _FRAME.unpack_from(data, offset)
        if found == marker or sequence == expected + count:
            record = data[offset + FRAME_HEADER_SIZE :]
            if length <= len(record):
                offset, count = offset + FRAME_HEADER_SIZE + length, count + 1
                continue
            if crc32(_pack_frame_body(len(record), sequence) + record) == checksum:
                return count + 1  # only its length is wrong: it is whole with the length it really has
        offset, count = _next_credible_frame(data, marker, expected, offset, count)
    return count


def _next_credible_frame(data: bytes, marker: bytes, expected: int, start: int, count: int) -> tuple[int, int]:
    """Return the next marker whose sequence leaves room for the frames before it, and how many those are."""
    offset = data.find(marker, start + 1)
    while offset != -1 and offset + FRAME_HEADER_SIZE <= len(data):
        before: int = _FRAME.unpack_from(data, offset)[3] - expected
        if count <= before <= count + (offset - start) // FRAME_HEADER_SIZE:
            return offset, before
        offset = data.find(marker, offset + 1)
    return len(data), count
