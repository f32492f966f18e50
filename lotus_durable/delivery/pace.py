"""No more events a second than a server is to take; after an outage it begins with few, and there is no step."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from lotus_durable.clock import monotonic

_OUTAGE = 30.0
"""Seconds in which nothing came through, from which on it was an outage: a deploy takes less."""
_SLOPE = 60.0
"""Seconds in which the full rate is reached after one."""
_AT_FIRST = 0.1
"""Of the full rate."""


class Pace:
    """How fast events may go, through all places together: so many a second at the ``most``. For one thread.

    ``last_trouble`` returns what is another value after each trouble of delivery.
    """

    def __init__(
        self,
        most: int,
        wait: Callable[[float], None],
        last_trouble: Callable[[], object],
        now: Callable[[], float] = monotonic,
    ) -> None:
        self._most = most
        self._wait = wait
        self._last_trouble = last_trouble
        self._now = now
        self._trouble: object = last_trouble()
        self._asked_at = now()
        self._free_at = -inf
        self._outage_ended = -inf

    def take(self, events: int) -> None:
        """Return when so many events may be sent."""
        now = self._now()
        trouble = self._last_trouble()
        if trouble != self._trouble and now - self._asked_at >= _OUTAGE:
            self._outage_ended = now
        self._trouble, self._asked_at = trouble, now
        begins = max(now, self._free_at)
        self._free_at = begins + events / self._rate(begins)
        if begins > now:
            self._wait(begins - now)

    def _rate(self, moment: float) -> float:
        share = _AT_FIRST + (1.0 - _AT_FIRST) * (moment - self._outage_ended) / _SLOPE
        return self._most * min(1.0, share)
