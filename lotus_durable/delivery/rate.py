"""How many events a second are delivered, to show to people who wait."""

from __future__ import annotations

from collections import deque

from lotus_durable.clock import monotonic

_WINDOW = 30.0
_STEP = 1.0


class Rate:
    """Of a number that only grows, over the last 30 seconds."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int]] = deque()

    def note(self, number: int) -> None:
        """Take note of the number now."""
        now = monotonic()
        if len(self._marks) > 1 and now - self._marks[-2][0] < _STEP:
            self._marks.pop()
        self._marks.append((now, number))

    def now(self) -> float:
        """Return by how much it grows in a second."""
        now = monotonic()
        while len(self._marks) > 1 and now - self._marks[1][0] > _WINDOW:
            self._marks.popleft()
        if not self._marks:
            return 0.0
        since, number = self._marks[0]
        return (self._marks[-1][1] - number) / max(_STEP, now - since)
