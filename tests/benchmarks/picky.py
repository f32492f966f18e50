"""A subject that refuses every second event."""

from __future__ import annotations

from benchmarks.subjects import Place, Track


def opened(_: Place) -> Track:
    return lambda number: number % 2 == 0
