"""Noticing, in a process that does not lead, that the one that does shows no sign of life.

A leader that is stopped (SIGSTOP, a debugger, a frozen container) or stuck keeps the lock, so nobody can take over: see
docs/operations.md for why nobody should. All that can be done is to say so, with the name of the culprit.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from lotus_durable.errors import DeliveryBlocked, LotusError
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.heartbeat import STALE_AFTER, Heartbeat, read_heartbeat

from .lock import nobody_leads

logger = logging.getLogger("lotus_durable")

_LOOK_INTERVAL = 1.0  # seconds
_BLINK = 2.5
"""Seconds between two looks after which the watcher itself was stopped, perhaps together with the leader."""


class LeaderWatch:
    """Watches the leader's heartbeat by the watcher's own clock; for one thread of one process.

    Args:
        directory: of the queue.
        report: told once for each time that a leader hangs.
    """

    def __init__(self, directory: QueueDirectory, report: Callable[[LotusError], None]) -> None:
        self._directory = directory
        self._report = report
        self._looked_at = float("-inf")
        self._beat: Heartbeat | None = None
        self._beat_seen_at = 0.0
        self._hung: Heartbeat | None = None

    def look(self) -> None:
        """Look now and then; say it when the leader hangs, and when that is over."""
        now = time.monotonic()
        since_last_look = now - self._looked_at
        if since_last_look < _LOOK_INTERVAL:
            return
        self._looked_at = now
        beat = read_heartbeat(self._directory)
        if beat != self._beat or since_last_look > _BLINK:
            self._beat, self._beat_seen_at = beat, now
        if beat != self._hung:
            self._is_over()
        if beat is not None and self._hung is None and now - self._beat_seen_at >= STALE_AFTER:
            self._check_lock(beat)

    def rest(self) -> None:
        """Look away: this process leads."""
        self._looked_at = float("-inf")
        self._is_over()

    def _check_lock(self, beat: Heartbeat) -> None:
        if nobody_leads(self._directory) is False:
            self._hung = beat
            error = DeliveryBlocked(f"nothing is uploaded, events are kept: {hung_in_words(beat)}")
            logger.warning("%s", error)
            self._report(error)

    def _is_over(self) -> None:
        if self._hung is not None:
            hung, self._hung = self._hung, None
            logger.warning("process %d on %s, which held the leader lock, goes on or is gone", hung.pid, hung.hostname)


def hung_leader(directory: QueueDirectory) -> Heartbeat | None:
    """Return the last beat of a leader that holds the lock and shows no sign of life, None when there is no such."""
    beat = read_heartbeat(directory)
    if beat is None or beat.age() < STALE_AFTER or nobody_leads(directory) is not False:
        return None
    return beat


def hung_in_words(beat: Heartbeat) -> str:
    """Say who hangs, for how long, and what to do."""
    cause = f" ({beat.reason})" if beat.reason else ""
    return (
        f"process {beat.pid} on {beat.hostname} holds the leader lock and has shown no sign of life for "
        f"{beat.age():.0f} seconds{cause}; it is stopped or stuck: let it go on (kill -CONT {beat.pid}) or kill it, "
        "and delivery goes on within a second"
    )
