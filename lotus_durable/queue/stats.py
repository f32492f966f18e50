"""What :func:`lotus_durable.stats` answers."""

from __future__ import annotations

import time
from dataclasses import dataclass

from lotus_durable.imports import uncut
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.heartbeat import STALE_AFTER, FlusherState, read_heartbeat
from lotus_durable.queue.protocol import EventQueue


@dataclass(frozen=True, slots=True)
class FlusherStats:
    """The elected uploader, as its heartbeat shows it."""

    pid: int
    """For reading by people: in another container it means something else."""
    hostname: str
    state: FlusherState
    reason: str | None
    """Why it is retrying or blocked, in one sentence."""
    since: float
    """When it came into this state, seconds since the epoch."""
    beat_age: float
    """Seconds since its last heartbeat."""
    alive: bool
    """False: no heartbeat for 5 s, so it hangs, is stopped, or was killed and not replaced."""
    last_delivery: float | None
    """When the server last settled an event, seconds since the epoch."""
    hung: bool = False
    """Not alive, and it holds the leader lock: it is stopped or stuck, and until it goes on or ends nobody uploads."""


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
    buffered: int
    """Events that wait in the memory of *this* process because the disk takes none; not yet among the accepted."""
    pending_bytes: int
    oldest_age: float | None
    """Seconds since the oldest pending event was accepted; None when nothing is pending."""
    flusher: FlusherStats | None
    """None when nobody uploads."""


def collect(queue: EventQueue, buffered: int) -> QueueStats:
    """Count the queue and read the heartbeat.

    Raises:
        QueueDamaged: the committed state cannot be read.
        OSError: the disk refuses.
    """
    census = queue.census()
    now = time.time()
    oldest = census.oldest_accepted_at
    return QueueStats(
        accepted=census.accepted,
        delivered=census.delivered,
        pending=census.pending,
        parked=census.parked,
        dead_lettered=census.dead_lettered,
        discarded=census.discarded,
        buffered=buffered,
        pending_bytes=census.pending_bytes,
        oldest_age=None if oldest is None else max(0.0, now - oldest),
        flusher=_flusher(queue.directory),
    )


def _flusher(directory: QueueDirectory) -> FlusherStats | None:
    heartbeat = read_heartbeat(directory)
    if heartbeat is None:
        return None
    age = heartbeat.age()
    alive = age < STALE_AFTER
    return FlusherStats(
        pid=heartbeat.pid,
        hostname=heartbeat.hostname,
        state=heartbeat.state,
        reason=heartbeat.reason,
        since=heartbeat.since,
        beat_age=age,
        alive=alive,
        hung=not alive and _lock_is_held(directory),
        last_delivery=heartbeat.last_delivery,
    )


def _lock_is_held(directory: QueueDirectory) -> bool:
    with uncut():
        from lotus_durable.flusher.lock import nobody_leads

    return nobody_leads(directory) is False
