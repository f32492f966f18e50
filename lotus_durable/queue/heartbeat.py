"""The leader's heartbeat: who uploads, what it is doing, and since when. Anybody may read it."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, fields
from typing import Literal

from .directory import QueueDirectory, write_atomically

FlusherState = Literal["idle", "sending", "retrying", "blocked"]

STALE_AFTER = 5.0
"""Seconds without a beat after which a leader counts as hung or gone."""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """One beat. Times are seconds since the epoch."""

    pid: int
    """Of the process that leads; for reading by people, and meaningless across containers."""
    hostname: str
    state: FlusherState
    reason: str | None
    """Why it is retrying or blocked."""
    since: float
    """When it came into this state."""
    beat: float
    last_delivery: float | None
    """When the server last settled an event."""
    beat_uptime: float | None = None
    """The moment of the beat by the monotonic clock, which all processes since one boot share and nobody can set."""

    refused_key: str | None = None
    """The fingerprint of its API key, while the server refuses that; see :mod:`.keys`."""

    def age(self) -> float:
        """Return the seconds since the beat, whatever was done to the clock meanwhile."""
        elapsed = -1.0 if self.beat_uptime is None else time.monotonic() - self.beat_uptime
        if elapsed >= 0:
            return elapsed
        return max(STALE_AFTER, time.time() - self.beat)  # of before the last boot: whoever it was is gone


_FIELDS = [field.name for field in fields(Heartbeat)]


def write_heartbeat(directory: QueueDirectory, heartbeat: Heartbeat) -> None:
    """Replace the heartbeat.

    Raises:
        OSError: the disk refuses.
    """
    write_atomically(directory.heartbeat, json.dumps(asdict(heartbeat)).encode(), durable=False)


def read_heartbeat(directory: QueueDirectory) -> Heartbeat | None:
    """Return the last beat, or None when nobody leads (or what is there cannot be read)."""
    try:
        found = json.loads(directory.heartbeat.read_bytes())
        return Heartbeat(**{name: found[name] for name in _FIELDS if name in found})
    except (OSError, ValueError, TypeError):
        return None


def clear_heartbeat(directory: QueueDirectory) -> None:
    """Say that nobody leads: the leader steps down in order."""
    directory.heartbeat.unlink(missing_ok=True)
