from __future__ import annotations

import pytest

from benchmarks.latency import Call, Latencies, delays, response_times, service_times


def test_percentiles_are_in_microseconds_and_exact_to_three_digits() -> None:
    latencies = Latencies.of(range(1_000, 1_001_000, 1_000))
    assert latencies.figures() == pytest.approx([500, 900, 990, 999, 1_000], rel=1e-3)
    assert len(latencies) == 1_000


def test_the_curve_ends_where_single_calls_would_be_guessed_at() -> None:
    assert [percentile for percentile, _ in Latencies.of([1, 2, 3, 4]).curve()] == [50, 60, 70, 75, 80, 85]


def test_a_clock_that_stands_still_is_no_error() -> None:
    assert Latencies.of([0]).at(50) == 0.001


def test_calls_that_were_due_during_a_stall_count_as_slow() -> None:
    stalled = [Call(0, 0, 50), Call(10, 50, 51), Call(20, 51, 52), Call(100, 100, 101)]
    assert list(service_times(stalled)) == [50, 1, 1, 1]
    assert list(response_times(stalled)) == [50, 41, 32, 1]


def test_a_sleep_that_took_too_long_is_not_the_subjects_fault() -> None:
    late = [Call(0, 7, 8), Call(10, 16, 17)]
    assert list(response_times(late)) == [1, 1]
    assert list(delays(late)) == [8, 7]
