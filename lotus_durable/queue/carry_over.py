"""After somebody has moved, deleted or cut off a segment in use: the frames that only its writer can still reach."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from functools import partial

from lotus_durable.disk import DiskErrorsSuppressed
from lotus_durable.values import NamedTuple

from .creation import create_segment
from .directory import QueueDirectory, released_name
from .files import open_to_read, sync_data
from .format import (
    FRAME_HEADER_SIZE,
    HEADER_SIZE,
    Header,
    encode_carried,
    encode_frame,
    find_frame,
    frames,
    new_header,
)
from .reader import count_frames
from .writer import SegmentWriter

Placed = tuple[int, bytes]
"""Where a frame is in its segment, and its record."""


class Stranded(NamedTuple):
    """What became of a segment that is no longer as its writer left it."""

    frames: list[Placed]
    """What readers do not find and the writer still has: where it was, and what."""
    destroyed: int
    """How many events nobody can find any more, unless the flusher had read them already."""
    what: str
    """What somebody has done, for the operator; empty when it was the flusher, which has released the segment."""


def find_stranded(writer: SegmentWriter, *, sync: bool) -> Stranded:
    """Find what is to be carried over from a segment that is not sound.

    Args:
        writer: of the segment.
        sync: whether what stays where it is must survive a power cut.
    """
    status = writer.own_status()
    for path in (writer.path, released_name(writer.path)):
        if writer.is_at(path):
            # Released meanwhile, or deleted when nothing shows any more that somebody writes it.
            with contextlib.suppress(FileNotFoundError):
                return _missing_at(path, writer, _what_happened(writer, status), sync=sync)
    if status is None:
        # It may have been deleted or moved. Of what readers had not read before, nothing else is known.
        return Stranded(_kept_frames(writer), writer.trusted_sequence, "{} is gone, and so is its descriptor")
    if status.st_nlink == 0:
        before = _frames_before_trust(writer)
        lost = writer.trusted_sequence - len(before)
        return Stranded([*before, *_kept_frames(writer)], lost, "{} was deleted while in use")
    return Stranded(_kept_frames(writer), 0, "{} was moved away while in use, and keeps what it holds")


def _what_happened(writer: SegmentWriter, status: os.stat_result | None) -> str:
    if status is None:
        return "the descriptor of {} was closed or replaced"
    if status.st_size < writer.last_end:
        return "{} was cut off"
    if status.st_size > writer.last_end and not writer.is_broken:
        return "something was appended to {}"
    return ""


def _kept_frames(writer: SegmentWriter) -> list[Placed]:
    """Return what was appended since the last good check; not what it cut back, which its callers append again."""
    offset = writer.kept_from
    found: list[Placed] = []
    for record in writer.kept:
        end = offset + FRAME_HEADER_SIZE + len(record)
        if end <= writer.last_end:
            found.append((offset, record))
        offset = end
    return found


def _missing_at(path: str, writer: SegmentWriter, what: str, *, sync: bool) -> Stranded:
    """Compare what the segment holds with what its writer has appended to it lately."""
    descriptor = open_to_read(path)
    try:
        there = os.pread(descriptor, writer.end - writer.kept_from, writer.kept_from)
        size = min(os.fstat(descriptor).st_size, writer.kept_from)
        read = partial(os.pread, descriptor)
        before = count_frames(read, writer.header.marker, size) if size < writer.kept_from else None
        if sync:
            is_safe = False
            with DiskErrorsSuppressed():
                sync_data(descriptor)
                is_safe = True
            there = there if is_safe else b""  # none of it can be relied on
    finally:
        os.close(descriptor)
    missing: list[Placed] = []
    for number, (offset, record) in enumerate(_kept_frames(writer), writer.trusted_sequence):
        frame = encode_frame(writer.header.marker, number, record)
        if not there.startswith(frame, offset - writer.kept_from):
            missing.append((offset, record))
    return Stranded(missing, 0 if before is None else writer.trusted_sequence - before, what)


def _frames_before_trust(writer: SegmentWriter) -> list[Placed]:
    """Read through the descriptor what was appended before the last good check; also what is behind damage."""
    data = os.pread(writer.descriptor, writer.kept_from - HEADER_SIZE, HEADER_SIZE)
    marker = writer.header.marker
    found: list[Placed] = []
    offset = least = 0
    while (place := find_frame(data[offset:], marker, least)) is not None:
        offset += place[0]
        for sequence, end, record, _ in frames(data, marker, offset):
            if sequence < least:
                break
            found.append((HEADER_SIZE + offset, record))
            offset, least = end, sequence + 1
    return found


def write_carried(directory: QueueDirectory, source: Header, stranded: list[Placed], *, sync: bool) -> tuple[str, int]:
    """Write a segment of carried frames, sealed from the beginning; return its name and its end.

    Args:
        directory: where the path of new segments leads.
        source: of the segment that the frames were in. The new one is for the same API key.
        stranded: where each was in the source, and what it held.
        sync: whether they must survive a power cut.

    Raises:
        OSError: the disk refuses; nothing of it is there.
    """
    header = new_header(time.time_ns(), source.key)
    content = bytearray(header.encode())
    for sequence, (offset, record) in enumerate(stranded):
        content += encode_carried(header.marker, sequence, record, (source.id, offset))
    path, descriptor = create_segment(directory, header, bytes(content), sync=sync)
    # A child forked meanwhile shares this open file, and with it the lock.
    with DiskErrorsSuppressed():
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)
    return os.path.basename(path), len(content)
