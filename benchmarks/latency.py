"""Latencies as HdrHistograms, and what became of a schedule of calls.

**Coordinated omission.** A load that waits for each call before it makes the next one hides a stall: the calls that
would have come meanwhile are never made, and never counted as slow. A paced load therefore keeps its schedule, and a
call that could only begin late because an earlier one took too long is measured from when it was due.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from hdrh.histogram import HdrHistogram

PERCENTILES = (50.0, 90.0, 99.0, 99.9, 100.0)
COLUMNS = ("p50", "p90", "p99", "p99.9", "max")
_LONGEST = 3_600 * 10**9  # nanoseconds
_DIGITS = 3


@dataclass(frozen=True, slots=True)
class Call:
    """One call, in nanoseconds of the monotonic clock."""

    due: int
    begun: int
    ended: int


class Latencies:
    """A histogram of nanoseconds that is read in microseconds."""

    def __init__(self) -> None:
        self._histogram: Any = HdrHistogram(1, _LONGEST, _DIGITS)

    @classmethod
    def of(cls, nanoseconds: Iterable[int]) -> Latencies:
        """Return a histogram of these."""
        latencies = cls()
        latencies.add(nanoseconds)
        return latencies

    def add(self, nanoseconds: Iterable[int]) -> None:
        """Record more."""
        record = self._histogram.record_value
        for value in nanoseconds:
            record(min(max(value, 1), _LONGEST))

    def merge(self, other: Latencies) -> None:
        """Record what another one has recorded."""
        self._histogram.add(other._histogram)

    def __len__(self) -> int:
        count: int = self._histogram.get_total_count()
        return count

    def at(self, percentile: float) -> float:
        """Return the latency that ``percentile`` percent of the calls did not exceed, in microseconds."""
        value: int = self._histogram.get_value_at_percentile(percentile)
        return value / 1_000

    def figures(self) -> list[float]:
        """Return the latencies at :data:`PERCENTILES`, in microseconds."""
        return [self.at(percentile) for percentile in PERCENTILES]

    def curve(self) -> list[tuple[float, float]]:
        """Return (percentile, microseconds) from the median outwards, as far as the number of calls carries."""
        points = []
        share = 0.5
        while share * len(self) >= 1:
            for step in (1.0, 0.8, 0.6):
                percentile = 100 * (1 - share * step)
                points.append((round(percentile, 6), round(self.at(percentile), 3)))
            share /= 2
        return points


def service_times(calls: Iterable[Call]) -> Iterator[int]:
    """Return how long each call took."""
    return (call.ended - call.begun for call in calls)


def response_times(calls: Iterable[Call]) -> Iterator[int]:
    """Return how long each call took from when it could have begun: see the module's text.

    A call that begins late for another reason (the sleep before it took longer) is measured from its beginning: that
    is the load generator's own doing.
    """
    free_since = 0
    for call in calls:
        yield call.ended - (call.due if free_since > call.due else call.begun)
        free_since = call.ended


def delays(calls: Iterable[Call]) -> Iterator[int]:
    """Return how long after it was due each call ended, whatever held it up: also waiting for the interpreter."""
    return (call.ended - call.due for call in calls)
