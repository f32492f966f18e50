"""Counting what is in the queue, from any process: without a database, and without reading the events."""

from __future__ import annotations

import time

import msgpack

from lotus_durable.disk import DiskErrorsSuppressed, is_of_the_disk, is_there

from .directory import QueueDirectory, original_name
from .files import regular_file_status
from .format import HEADER_SIZE
from .heartbeat import Progress, read_progress
from .reader import BEGINNING, Glance, Position, glance
from .stats import QueueStats

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_ATTEMPTS = 3
"""A segment that is deleted, or let go of, while others are looked at: what it held would be missing from the count."""


def count(directory: QueueDirectory, progress: Progress | None = None) -> QueueStats:
    """Count; the cost depends on the number of segments, not of events. A directory that does not exist is empty.

    ``accepted`` and ``delivered`` never go back, whatever the flusher deletes meanwhile: they are shown as counters.
    A segment whose settling began after the heartbeat counts as pending from where the heartbeat saw it, so the sum
    holds at any moment, as of the heartbeat. A segment that cannot be read counts as one event at the least.

    Args:
        directory: of the queue.
        progress: how far it is settled; what the heartbeat says, if not given.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        # In this order: what was deleted before the listing is settled in the heartbeat, which is written before that.
        names = directory.segments()
        stats, is_whole = _counted(directory, names, read_progress(directory) if progress is None else progress)
        if is_whole or attempt == _ATTEMPTS:
            break
    return stats


def _counted(directory: QueueDirectory, names: Sequence[str], progress: Progress) -> tuple[QueueStats, bool]:
    """Count these segments; return also whether all of them lay there: one may have been deleted, or renamed."""
    counts, cursor, _ = progress
    pending, size, is_whole = 0, 0, True
    oldest: float | None = None
    for name in names:
        position = max(BEGINNING, cursor.get(original_name(name), BEGINNING))
        path = f"{directory.journal}/{name}"
        seen = look_at(path, position)
        if seen is None:
            is_whole = is_whole and is_there(path)
            continue
        waiting = max(0, seen.frames - position[1])
        pending += waiting
        size += max(0, seen.size - position[0])
        if waiting and (accepted_at := _accepted_at(seen.first)) is not None:
            oldest = accepted_at if oldest is None else min(oldest, accepted_at)
    stats = counts._replace(
        accepted=counts.accepted + pending,
        pending=counts.pending + pending,
        pending_bytes=size,
        oldest_age=None if oldest is None else max(0.0, time.time() - oldest),
    )
    return stats, is_whole


def look_at(path: str, position: Position) -> Glance | None:
    """Look at a segment; None where there is none: it was deleted meanwhile, or what is there is no file.

    What cannot be read is not done: it counts as one event, for how many they are is not known.
    """
    try:
        return glance(path, position)
    except OSError as error:
        if not is_of_the_disk(error):
            raise
    with DiskErrorsSuppressed():
        status = regular_file_status(path)
        if status is not None and status.st_size > HEADER_SIZE:
            return Glance(position[1] + 1, status.st_size, None, None)
    return None


def _accepted_at(record: bytes | None) -> float | None:
    """Return when a record's event was accepted, seconds since the epoch; None for what is no record."""
    try:
        return None if record is None else float(msgpack.unpackb(record)[-1])
    except (ValueError, TypeError, LookupError):
        return None
