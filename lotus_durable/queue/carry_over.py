"""After somebody has moved, deleted or cut off a segment in use: the frames that only its writer can still reach."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time

from lotus_durable.disk import DiskErrorsSuppressed

from .directory import QueueDirectory, released_name
from .format import (
    FRAME_HEADER_SIZE,
    HEADER_SIZE,
    Header,
    encode_carried,
    find_frame,
    frames,
    new_header,
)
from .reader import BEGINNING, glance
from .writer import SegmentWriter, create_segment

Placed = tuple[int, bytes]
"""Where a frame is in its segment, and its record."""


def find_stranded(writer: SegmentWriter) -> tuple[list[Placed], int, str]:
    """Find what is to be carried over from a segment that is not sound.

    Returns:
        The frames that readers may not find and the writer still has (what they find in both places they take once);
        how many events nobody can find any more, unless the flusher had read them already; and what somebody has done,
        for the operator: nothing when it was the flusher, which has released the segment.
    """
    status = writer.own_status()
    for path in (writer.path, released_name(writer.path)):
        if writer.is_at(path):
            # Released meanwhile, or deleted when nothing shows any more that somebody writes it.
            with contextlib.suppress(FileNotFoundError):
                if not (what := _what_happened(writer, status)):
                    return [], 0, ""
                left = glance(path, BEGINNING).frames
                return _kept_frames(writer), max(0, writer.trusted_sequence - left), what
    if status is None:
        # It may have been deleted or moved. Of what readers had not read before, nothing else is known.
        return _kept_frames(writer), writer.trusted_sequence, "{} is gone, and so is its descriptor"
    if status.st_nlink == 0:
        before = _frames_before_trust(writer)
        lost = writer.trusted_sequence - len(before)
        return [*before, *_kept_frames(writer)], lost, "{} was deleted while in use"
    return _kept_frames(writer), 0, "{} was moved away while in use, and keeps what it holds"


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

    It is for the API key of the segment in which they were stranded, and survives a power cut with ``sync``.

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
