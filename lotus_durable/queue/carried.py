"""Which parts of a segment were settled through copies, which its writer carried over into another segment."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator


class Ranges:
    """A set of byte offsets, as ranges that neither overlap nor touch; few, because what is carried is consecutive."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Give (start, end) of each range."""
        return iter(zip(self._starts, self._ends, strict=True))

    def __contains__(self, offset: int) -> bool:
        index = bisect_right(self._starts, offset) - 1
        return index >= 0 and offset < self._ends[index]

    def add(self, start: int, end: int) -> None:
        """Add the offsets from ``start`` up to ``end``, which is not one of them."""
        first = bisect_left(self._ends, start)
        last = bisect_right(self._starts, end)
        if first < last:
            start, end = min(start, self._starts[first]), max(end, self._ends[last - 1])
        self._starts[first:last] = [start]
        self._ends[first:last] = [end]

    def without(self, end: int) -> Ranges:
        """Return the ranges that go beyond this offset."""
        left = Ranges()
        for start, stop in self:
            if stop > end:
                left.add(start, stop)
        return left
