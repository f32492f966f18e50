"""Who uploads, seen from outside, and how long it takes until another one does when that one is killed."""

from __future__ import annotations

import time

from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.heartbeat import read_heartbeat

_PATIENCE = 10.0  # seconds


class Succession:
    """Watches the heartbeat file: a leader writes it as it begins."""

    def __init__(self, directory: QueueDirectory) -> None:
        self._directory = directory
        self._killed: int | None = None
        self._killed_at = 0.0
        self.takeovers: list[float] = []
        """Seconds from each kill of a leader to the first heartbeat of the next one."""
        self.failures = 0
        """Kills after which nobody took over."""

    def leader(self) -> int | None:
        """Return the pid of who uploads, or last did."""
        heartbeat = read_heartbeat(self._directory)
        return None if heartbeat is None else heartbeat.pid

    def is_open(self) -> bool:
        """Whether a leader was killed and the next one is not there yet."""
        return self._killed is not None

    def leader_is_killed(self, pid: int) -> None:
        """Start the clock."""
        self._killed, self._killed_at = pid, time.monotonic()

    def look(self) -> float | None:
        """Return how long the takeover took, once it has happened."""
        if self._killed is None:
            return None
        took = time.monotonic() - self._killed_at
        if self.leader() in (None, self._killed):
            if took > _PATIENCE:
                self._killed = None
                self.failures += 1
            return None
        self._killed = None
        self.takeovers.append(took)
        return took
