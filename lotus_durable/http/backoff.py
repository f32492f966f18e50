"""How long to wait before the same batch goes out again."""

from __future__ import annotations

import random
from collections.abc import Callable

_random = random.Random()  # noqa: S311  # jitter; and of our own, so that a seeded program stays as it is


class Backoff:
    """Exponential backoff with full jitter: wait a random part of 0.5 s, then of 1 s, 2 s, 4 s … up to 60 s.

    Full jitter because the hosts that one outage stopped must not come back in step. A wait the server asked for
    (Retry-After), or the grace after a request that may still be worked on, is a floor: the random part comes on top.

    Pure: it returns seconds and neither sleeps nor reads a clock. One per queue; not for several threads at once.
    """

    def __init__(
        self,
        *,
        base: float = 0.5,
        cap: float = 60.0,
        grace: float = 8.0,
        chance: Callable[[], float] = _random.random,
    ) -> None:
        """Start as after a success.

        Args:
            base: seconds; the longest random wait after the first failure. It doubles with each further one.
            cap: seconds; the longest random wait ever.
            grace: seconds; the shortest wait after a timeout. Measured on the server of 2022: it works on after its
                client gave up, a resend at once makes duplicates that fail its bulk insert, 8 s later it is recognised.
            chance: returns a number from 0 to 1; injected by tests.
        """
        self._base = base
        self._cap = cap
        self._grace = grace
        self._chance = chance
        self.reset()

    @property
    def failures(self) -> int:
        """Failures since the last success."""
        return self._failures

    def reset(self) -> None:
        """Start again from the shortest wait: something was delivered."""
        self._failures = 0
        self._ceiling = min(self._base, self._cap)

    def failed(self, *, retry_after: float | None = None, after_timeout: bool = False) -> float:
        """Count a failure and return the seconds to wait before the next attempt.

        Args:
            retry_after: seconds the server asked for; less than 0 counts as 0.
            after_timeout: the server may still be working on the request.
        """
        floor = max(retry_after or 0.0, self._grace if after_timeout else 0.0, 0.0)
        wait = floor + self._chance() * self._ceiling
        self._failures += 1
        self._ceiling = min(self._ceiling * 2, self._cap)
        return wait
