"""What :func:`lotus_durable.stats` answers: counts by the segments' ends and the heartbeat, without a database."""

from __future__ import annotations

import time
from dataclasses import dataclass

from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.heartbeat import Beat, FlusherKind, FlusherState, read_beat
from lotus_durable.queue.progress import read_settled
from lotus_durable.queue.stats import count

from . import locks

_SILENT_AFTER = 5.0  # seconds; a flusher beats twice a second


@dataclass(frozen=True, slots=True)
class FlusherStats:
    """The process that flushes, as its heartbeat shows it."""

    pid: int
    """For reading by people: in another container it means something else."""
    hostname: str
    kind: FlusherKind
    """``auto``: started by a process that tracks; ``external``: a service; ``caller``: a program in its own drain()."""
    version: str
    state: FlusherState
    reason: str | None
    """Why it is retrying or blocked, in one sentence."""
    since: float
    """When it came into this state, seconds since the epoch."""
    waits_until: float | None
    """Until when it waits before it tries again, seconds since the epoch."""
    beat_age: float
    """Seconds since its last heartbeat."""
    alive: bool
    """False: no heartbeat for 5 s while it holds the lock. It hangs or is stopped, and whoever tracks next ends it."""
    last_delivery: float | None
    """When the server last settled an event, seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class QueueStats:
    """What is in the queue, for all processes that share it.

    At any quiescent moment and across restarts ``accepted = delivered + pending + parked + dead_lettered + discarded``.
    """

    accepted: int
    """Events that ``track_event`` accepted since the queue was made."""
    delivered: int
    """Events the server confirmed, each by itself."""
    pending: int
    """Events on disk that have no verdict yet."""
    parked: int
    """Events the server refuses for now; retried slowly."""
    dead_lettered: int
    """Events the server refused for good; kept for an operator."""
    discarded: int
    """Events an operator purged by hand."""
    in_memory: int
    """Events that wait in the memory of *this* process because the disk takes none; not yet among the accepted."""
    pending_bytes: int
    oldest_age: float | None
    """Seconds since the oldest pending event was accepted; None when nothing is pending."""
    flusher: FlusherStats | None
    """None when nobody flushes."""


def collect(directory: QueueDirectory, in_memory: int = 0) -> QueueStats:
    """Count the queue and read the heartbeat.

    Raises:
        QueueDamaged: the queue cannot be read.
        OSError: the disk refuses.
    """
    counts = count(directory, read_settled(directory))
    oldest = counts.oldest_accepted_at
    beat = read_beat(directory) if locks.is_held(directory.flusher_lock) is not False else None
    return QueueStats(
        accepted=counts.accepted,
        delivered=counts.delivered,
        pending=counts.pending,
        parked=counts.parked,
        dead_lettered=counts.dead_lettered,
        discarded=counts.discarded,
        in_memory=in_memory,
        pending_bytes=counts.pending_bytes,
        oldest_age=None if oldest is None else max(0.0, time.time() - oldest),
        flusher=None if beat is None else _flusher(beat),
    )


def _flusher(beat: Beat) -> FlusherStats:
    age = beat.age()
    return FlusherStats(
        pid=beat.pid,
        hostname=beat.hostname,
        kind=beat.kind,
        version=beat.program.version,
        state=beat.state,
        reason=beat.reason,
        since=beat.since,
        waits_until=beat.waits_until,
        beat_age=age,
        alive=age < _SILENT_AFTER,
        last_delivery=beat.last_delivery,
    )
