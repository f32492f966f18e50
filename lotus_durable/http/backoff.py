"""How long to wait before the same batch goes out again."""

from __future__ import annotations

import random
from collections.abc import Callable

_random = random.Random()  # noqa: S311  # jitter; and of our own, so that a seeded program stays as it is


class Backoff:
    """Exponential backoff with full jitter: wait a random part of 0.5 s, then of 1 s, 2 s, 4 s … up to 60 s.

    Full jitter because the hosts that one outage stopped must not come back in step. It returns seconds, and neither
    sleeps nor reads a clock. One per queue; not for several threads at once.

    ``base`` and ``cap`` are the first and the last of these limits; ``chance`` returns a number from 0 to 1.
    """

    def __init__(self, *, base: float = 0.5, cap: float = 60.0, chance: Callable[[], float] = _random.random) -> None:
        self._base = base
        self._cap = cap
        self._chance = chance
        self.reset()

    def reset(self) -> None:
        """Start again from the shortest wait: something was delivered."""
        self.failures: int = 0
        self._ceiling = min(self._base, self._cap)

    def failed(self, *, at_least: float = 0.0) -> float:
        """Count a failure and return the seconds to wait before the next attempt.

        Args:
            at_least: seconds that the server asked for, or needs for what it may be at work on: the random part comes
                on top.
        """
        self.failures += 1
        wait = max(at_least, 0.0) + self._chance() * self._ceiling
        self._ceiling = min(self._ceiling * 2, self._cap)
        return wait
