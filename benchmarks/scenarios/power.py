"""Durability power: what a call costs beside the disk, and what threads that wait for it together save."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from benchmarks.bench import Bench
from benchmarks.latency import COLUMNS, Latencies, service_times
from benchmarks.report import Cell, Goal, Report, Table
from benchmarks.server import Server, serving
from benchmarks.subjects import DURABLE_POWER, DURABLE_SLOW_SYNC, FLOOR_POWER, Subject

_SHARE = 40
"""Of the calls of a burst, one in so many: each waits for the disk."""
_TURNS = 9
"""Of the floor and ours one right after the other: how long a sync takes changes from second to second."""


@dataclass(frozen=True, slots=True)
class _Found:
    latencies: Latencies
    rate: float


def run(bench: Bench) -> Report:
    calls = max(8, bench.scale.burst_calls // _SHARE)
    with serving() as server:
        turns = [
            [_load(bench, subject, server, calls) for subject in (FLOOR_POWER, DURABLE_POWER)] for _ in range(_TURNS)
        ]
        shared = [
            [_load(bench, DURABLE_SLOW_SYNC, server, calls // threads, threads) for threads in (1, 8)]
            for _ in range(bench.scale.turns)
        ]
    floor, ours = (median(turn[index].latencies.at(50) for turn in turns) for index in (0, 1))
    one, eight = (
        sorted((turn[index] for turn in shared), key=lambda found: found.rate)[len(shared) // 2] for index in (0, 1)
    )
    over_floor = median(turn[1].latencies.at(50) / turn[0].latencies.at(50) for turn in turns)
    rows: list[list[Cell]] = [
        [label, *found.latencies.figures(), found.rate]
        for label, found in (
            (FLOOR_POWER.label, turns[-1][0]),
            (DURABLE_POWER.label, turns[-1][1]),
            (f"{DURABLE_SLOW_SYNC.label}, 1 thread", one),
            (f"{DURABLE_SLOW_SYNC.label}, 8 threads", eight),
        )
    ]
    return Report(
        "power",
        [Table("power", "Durability power", ("µs", *COLUMNS, "events/s"), rows)],
        [
            Goal("power: p50 of one thread, over write and fdatasync", over_floor, "at most", 1.2, "times",
                 f"{ours:.0f} / {floor:.0f} µs; medians of {_TURNS} turns, and of their ratios", f"{floor:.0f} µs"),
            Goal("power: events/s of 8 threads over 1, where a sync takes 5 ms", eight.rate / one.rate, "at least", 4,
                 "times", f"{eight.rate:,.0f} / {one.rate:,.0f}; medians of {len(shared)} turns"),
        ],
    )  # fmt: skip


def _load(bench: Bench, subject: Subject, server: Server, calls: int, threads: int = 1) -> _Found:
    with bench.folder() as folder:
        loaded = bench.load_once(
            subject, server, folder, calls=calls, threads=threads, seconds=bench.scale.worker_seconds
        )
    return _Found(Latencies.of(service_times(loaded.calls)), len(loaded.calls) / loaded.seconds)
