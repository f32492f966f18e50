"""What :func:`lotus_durable.stats` answers: counts by the segments' ends and the heartbeat, without a database."""

from __future__ import annotations

import os
import time

from lotus_durable.clock import boot_id, since_boot
from lotus_durable.queue.counting import count
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.heartbeat import Beat, read_beat
from lotus_durable.queue.stats import FlusherStats, QueueStats

from . import locks

SILENT_AFTER = 5.0  # seconds; a flusher beats twice a second


def collect(directory: QueueDirectory, in_memory: int = 0) -> QueueStats:
    """Count the queue and read the heartbeat.

    Raises:
        OSError: the disk refuses.
    """
    beat = read_beat(directory) if locks.is_held(directory.flusher_lock) is not False else None
    stats = count(directory)
    return stats._replace(
        in_memory=in_memory,
        oldest_age=stats.oldest_age if beat is None else _by_boot_clock(stats.oldest_age, beat),
        flusher=None if beat is None else _flusher(beat),
    )


def _by_boot_clock(oldest_age: float | None, beat: Beat) -> float | None:
    """Return an age of the wall clock within the limits that the boot clock of who flushes sets: that one may jump.

    What was accepted before all was settled is not pending; what was in trouble since then waits since then.
    """
    if oldest_age is None or beat.boot != boot_id():
        return oldest_age
    if beat.caught_up_at is not None:
        oldest_age = min(oldest_age, since_boot() - beat.caught_up_at)
    if beat.trouble_since is not None:
        oldest_age = max(oldest_age, since_boot() - beat.trouble_since)
    return oldest_age


def _flusher(beat: Beat) -> FlusherStats:
    age = beat.age()
    return FlusherStats(
        pid=beat.pid,
        hostname=beat.hostname,
        kind=beat.kind,
        version=beat.program.version,
        state=beat.state,
        reason=beat.reason,
        since=_wall_clock(beat, beat.since),
        waits_until=beat.waits_until,
        beat_age=age,
        alive=age < SILENT_AFTER,
        last_delivery=beat.last_delivery,
        rate=beat.rate if age < SILENT_AFTER else 0.0,
        last_error=beat.last_error,
        last_error_at=beat.last_error_at,
        began=_wall_clock(beat, beat.start_time / os.sysconf("SC_CLK_TCK"))
        if beat.start_time and beat.boot == boot_id()
        else None,
    )


def _wall_clock(beat: Beat, moment: float) -> float:
    """Return a moment, seconds since the boot in which the beat was written, as seconds since the epoch.

    By the clock of now: how long ago it was is right then, wherever that clock went. Of an earlier boot: now.
    """
    return time.time() - (since_boot() - moment if beat.boot == boot_id() else 0.0)
