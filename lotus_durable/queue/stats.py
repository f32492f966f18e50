"""What is counted: one value for the books, the heartbeat, ``stats()`` and the commands."""

from __future__ import annotations

from lotus_durable.values import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal, TypeAlias

OLDEST_TAKEN = 30 * 86_400.0
"""Seconds; the server of 2024 refuses events that are older (``Time created too far in the past``)."""

FlusherState: TypeAlias = 'Literal["starting", "idle", "sending", "retrying", "blocked", "leaving", "ended"]'
FlusherKind: TypeAlias = 'Literal["auto", "external", "caller"]'


class FlusherStats(NamedTuple):
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
    rate: float = 0.0
    """Events delivered in a second, in the last half minute."""
    last_error: str | None = None
    """What was last in the way of delivery, in one sentence; it may be over."""
    last_error_at: float | None = None
    """Seconds since the epoch."""
    began: float | None = None
    """When its process began, seconds since the epoch; None where that cannot be told."""


class QueueStats(NamedTuple):
    """What is in the queue, for all processes that share it.

    Whenever nothing is moving, and across restarts,
    ``accepted = delivered + handed_over + pending + parked + dead_lettered + discarded``.
    """

    accepted: int = 0
    """Events that ``track_event`` accepted since the queue was made."""
    delivered: int = 0
    """Events the server confirmed, each by itself."""
    handed_over: int = 0
    """Events that a broker has confirmed, see ``relay_url``: they are its relay's now, and not yet Lotus'."""
    pending: int = 0
    """Events on disk that have no verdict yet."""
    parked: int = 0
    """Events the server refuses for now; retried slowly."""
    dead_lettered: int = 0
    """Events the server refused for good; kept for an operator."""
    discarded: int = 0
    """Events an operator purged by hand."""
    in_memory: int = 0
    """Events that wait in the memory of *this* process because the disk takes none; not yet among the accepted."""
    pending_bytes: int = 0
    """Bytes of the journal that are not settled."""
    oldest_age: float | None = None
    """Seconds since the oldest pending event was accepted; None when nothing is pending."""
    flusher: FlusherStats | None = None
    """None when nobody flushes."""

    def as_json(self) -> dict[str, object]:
        """Return the documented keys of JSON: all but ``in_memory``, which is about the asking process only."""
        plain = self._asdict()
        del plain["in_memory"]
        if self.flusher is not None:
            plain["flusher"] = self.flusher._asdict()
        return plain
