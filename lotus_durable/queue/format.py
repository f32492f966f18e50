"""The format of a segment: bytes in, bytes out, no I/O.

Layout (all integers little-endian)::

    segment = header frame*
    header  = magic 8s | version u16 | size u16 | marker 4s | pid u32 | created_ns u64 | id 16s | key 8s | crc32 u32
    frame   = marker 4s | crc32 u32 | length u32 | sequence u32 | body                 16 + length bytes
    body    = record                                                                   of a plain frame
    body    = source 16s | offset u64 | record                                         of a carried frame

- ``marker`` is drawn at random for each segment and opens each of its frames, so that a reader that has lost its
  way finds the next frame by searching, and a record cannot forge one: its author never sees the marker. The first
  byte is 0xC1, which neither MessagePack nor UTF-8 uses. The segment's name carries the marker too, so that a damaged
  header costs no event.
- the header has 56 bytes. Its ``crc32`` covers the 52 bytes before it, in every version, so that a newer one can be
  told from damage.
- a frame's ``crc32`` is that of its body, begun with a seed: the sequence times 0x5A5, and in a carried frame plus
  0x9E3779B9, modulo 2**32. So a wrong sequence gives another checksum, and a wrong length one of other bytes. A CRC-32
  takes the exclusive or of its seed and the first four bytes: without the factor the same bit wrong in the sequence and
  in those, or both in each other's place, would go unnoticed.
- ``id`` is drawn at random for each segment and stays with it, whatever its name. ``key`` is the fingerprint of the API
  key that the events are for, zeros when their process had none.
- ``sequence`` counts the frames of a segment from 0 without gaps. The last frame therefore tells how many the segment
  holds without reading the others, and a gap tells how many events a damaged stretch held.
- the highest bit of ``length`` tells a *carried* frame: one that its writer had appended to another segment before, and
  that it could perhaps alone still reach when somebody moved, deleted or cut off that segment. ``source`` is the ``id``
  of that segment and ``offset`` where the frame begins in it: who has read that far in it has had this event.

Invariants:

- one writer per segment, the process that created it, appending each frame with a single write. A killed writer can
  only leave an incomplete frame at the end, a *torn tail*, and that event was never acknowledged.
- no record is empty: a marker and zeros, which a cut can leave, would be a whole frame: the checksum of nothing is 0.
- bytes are never changed once written; a writer may cut back (truncate) a frame it could not write whole, and frames
  that it could not sync and that nobody was told of. To the latter it appends nothing more.
- what a power cut leaves at the end can be zeros, or the beginning of a frame and then zeros from the beginning of a
  disk's sector on: no event either.
- a later version keeps the header and what opens each frame (marker, checksum, length, sequence), and may change the
  body: an earlier program counts such events, leaves them alone and says so.
- anything else that does not parse is *damage*: it is skipped up to the next frame whose checksum holds, kept aside
  and counted. Damage never hides what follows it.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from itertools import islice
from zlib import crc32

from lotus_durable.values import NamedTuple

MAGIC = b"LOTUSQ\r\n"
VERSION = 1
MARKER_SIZE = 4
ID_SIZE = 16

_HEADER = struct.Struct("<8sHH4sIQ16s8s")
_CRC = struct.Struct("<I")
HEADER_SIZE = _HEADER.size + _CRC.size

_FRAME = struct.Struct("<4sIII")
FRAME_HEADER_SIZE = _FRAME.size
_ORIGIN = struct.Struct("<16sQ")
ORIGIN_SIZE = _ORIGIN.size
_CARRIED = 1 << 31
SPREAD = 0x5A5
"""A sequence times this, its lowest 32 bits, begins a checksum. A wrong bit of the sequence is several wrong ones in
the product, and the product of all but the longest segments' sequences is a small integer, which Python multiplies
in no time. No segment has so many frames that it has more bits than 32; a damaged sequence may, and since 3.15 crc32
warns of them."""
_CARRIED_SEED = 0x9E3779B9
_SEED_BITS = 0xFFFFFFFF
pack_frame_header = _FRAME.pack
"""Of marker, checksum, length and sequence; bound once, each append needs it."""

SECTOR = 512
"""Bytes that a disk writes as one, at least; each is as it was before a power cut, or as it was to be."""
MAX_RECORD_SIZE = 1 << 24
"""Bytes; a length above it cannot have been written by us, so it is damage and not a frame still to come."""
_MAX_BODY_SIZE = MAX_RECORD_SIZE + ORIGIN_SIZE


class UnknownFormat(ValueError):
    """A header that is whole but of another program or a newer version."""


class Header(NamedTuple):
    """What a segment says about itself."""

    marker: bytes
    pid: int
    created_ns: int
    id: bytes
    key: bytes

    def encode(self) -> bytes:
        """Return the 56 bytes that open a segment."""
        fields = _HEADER.pack(MAGIC, VERSION, HEADER_SIZE, self.marker, self.pid, self.created_ns, self.id, self.key)
        return fields + _CRC.pack(crc32(fields))


def new_header(created_ns: int, key: bytes) -> Header:
    """Return a header for a segment of this process, with a marker and an id of its own."""
    drawn = os.urandom(MARKER_SIZE - 1 + ID_SIZE)
    return Header(b"\xc1" + drawn[ID_SIZE:], os.getpid(), created_ns, drawn[:ID_SIZE], key)


def decode_header(data: bytes, *, any_version: bool = False) -> Header | None:
    """Return the header in the beginning of a segment, or None when it is damaged; of any version for who only counts.

    Raises:
        UnknownFormat: the header is whole but not of this version.
    """
    if len(data) < HEADER_SIZE:
        return None
    magic, version, _size, marker, pid, created_ns, segment_id, key = _HEADER.unpack_from(data)
    (checksum,) = _CRC.unpack_from(data, _HEADER.size)
    if crc32(data[: _HEADER.size]) != checksum:
        return None
    if (magic != MAGIC or version != VERSION) and not any_version:
        raise UnknownFormat(f"segment format {magic!r} version {version}; this program reads version {VERSION}")
    return Header(marker, pid, created_ns, segment_id, key)


Origin = tuple[bytes, int]
"""Where a carried frame was before: the id of its segment, and the offset of the frame in it."""


def encode_frame(marker: bytes, sequence: int, record: bytes) -> bytes:
    """Return the frame of ``record``, to be written with one write."""
    checksum = crc32(record, sequence * SPREAD & _SEED_BITS)
    return pack_frame_header(marker, checksum, len(record), sequence) + record


def encode_carried(marker: bytes, sequence: int, record: bytes, origin: Origin) -> bytes:
    """Return a frame of ``record`` that tells where it was before."""
    body = _ORIGIN.pack(*origin) + record
    checksum = crc32(body, sequence * SPREAD + _CARRIED_SEED & _SEED_BITS)
    return pack_frame_header(marker, checksum, len(body) | _CARRIED, sequence) + body


Frame = tuple[int, int, bytes, Origin | None]
"""Sequence, offset after the frame in the buffer, record, and of a carried frame where it was before."""


def read_frames(
    data: bytes, marker: bytes, start: int, limit: int, base: int = 0, expected: int | None = None
) -> tuple[list[bytes], list[tuple[int, int]], dict[int, Origin]]:
    """Return the frames of ``data`` from ``start`` on: while they are whole, checksums hold and no number is missing.

    Each event comes through this loop at least once, so it makes nothing that its readers do not need.

    Args:
        data: a part of a segment.
        marker: of the segment.
        start: where in ``data`` the first frame begins.
        limit: how many frames, at the most.
        base: where in the segment ``data`` begins.
        expected: the sequence of the first frame; any if not given.

    Returns:
        The records, the next byte and the next sequence after each, and of the carried ones, by their index, where they
        were before.
    """
    unpack = _FRAME.unpack_from
    records: list[bytes] = []
    positions: list[tuple[int, int]] = []
    carried: dict[int, Origin] = {}
    offset, size = start, len(data)
    for _ in range(limit):
        body_at = offset + FRAME_HEADER_SIZE
        if body_at > size:
            break
        found, checksum, length, sequence = unpack(data, offset)
        seed = sequence * SPREAD
        is_carried = not 0 < length <= MAX_RECORD_SIZE
        if is_carried:
            if not _is_length(length):
                break
            length -= _CARRIED
            seed += _CARRIED_SEED
        offset = body_at + length
        if found != marker or offset > size or (sequence != expected and expected is not None):
            break
        record = data[body_at:offset]
        if crc32(record, seed & _SEED_BITS) != checksum:
            break
        if is_carried:
            carried[len(records)] = _ORIGIN.unpack_from(record)
            record = record[ORIGIN_SIZE:]
        expected = sequence + 1
        records.append(record)
        positions.append((base + offset, expected))
    return records, positions, carried


def frames(data: bytes, marker: bytes, start: int = 0) -> Iterator[Frame]:
    """Yield the frames of ``data`` from ``start`` on, for as long as they are whole and their checksums hold."""
    while True:
        records, positions, carried = read_frames(data, marker, start, 1)
        if not records:
            return
        start, following = positions[0]
        yield following - 1, start, records[0], carried.get(0)


def _is_length(length: int) -> bool:
    """Whether a writer writes such a length."""
    if length & _CARRIED:
        return ORIGIN_SIZE <= length & ~_CARRIED <= _MAX_BODY_SIZE
    return 0 < length <= MAX_RECORD_SIZE


def is_incomplete(data: bytes, marker: bytes) -> bool:
    """Whether ``data``, no whole frame, is the beginning of one: more may come, or it is a torn tail."""
    if not data or data[:MARKER_SIZE] != marker[: len(data)]:
        return False
    return len(data) < FRAME_HEADER_SIZE or (_is_length(_FRAME.unpack_from(data)[2]) and len(data) < frame_size(data))


def frame_size(data: bytes) -> int:
    """Return how many bytes a frame says it has; its header must be there."""
    length: int = _FRAME.unpack_from(data)[2]
    return FRAME_HEADER_SIZE + (length & ~_CARRIED)


def find_frame(data: bytes, marker: bytes, least: int = 0) -> tuple[int, int] | None:
    """Return offset and sequence of the first whole frame whose sequence is ``least`` or more, or None."""
    offset = data.find(marker)
    while offset != -1:
        for sequence, *_ in islice(frames(data, marker, offset), 1):
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


def events_at_end(data: bytes, marker: bytes, offset: int) -> int | None:
    """Return how many acknowledged events ``data``, the end of a segment in which no further frame is whole, can hold.

    None where it is no damage: there is nothing, zeros (a power cut) or the beginning of a frame that was not written
    whole. None of them is in what is too short for a frame, or a frame that was there before. ``data`` begins at this
    offset of the segment.
    """
    written = len(data.rstrip(b"\0"))
    if not written or _is_torn_by_power_cut(data, marker, offset, written):
        return None
    is_torn = is_incomplete(data, marker)
    if is_torn and len(data) >= FRAME_HEADER_SIZE:
        # If the checksum holds for the length that is really there, the frame is whole and only its length is damaged.
        _, checksum, length, sequence = _FRAME.unpack_from(data)
        seed = sequence * SPREAD + (_CARRIED_SEED if length & _CARRIED else 0)
        is_torn = crc32(data[FRAME_HEADER_SIZE:], seed & _SEED_BITS) != checksum
    if is_torn:
        return None
    return int(len(data) >= FRAME_HEADER_SIZE and not any(frames(data, marker)))


def _is_torn_by_power_cut(data: bytes, marker: bytes, offset: int, written: int) -> bool:
    """Whether it is half a frame, and behind its ``written`` bytes zeros where the rest was to be.

    So it is when the file's new size came to the disk, and not all of its sectors did.
    """
    cut = -(-(offset + written) // SECTOR) * SECTOR - offset
    if cut >= len(data) or data[: min(written, MARKER_SIZE)] != marker[:written]:
        return False
    return cut < FRAME_HEADER_SIZE or cut < frame_size(data)
