"""One process tracks: what a call costs, beside what a user would pick instead, and beside the floor."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from benchmarks.bench import Bench
from benchmarks.latency import COLUMNS, Latencies, response_times, service_times
from benchmarks.report import Cell, Goal, Report, Sense, Table
from benchmarks.server import Server, serving
from benchmarks.subjects import (
    DURABLE,
    DURABLE_EXTERNAL,
    DURABLE_POWER,
    DURABLE_SQLITE,
    DURABLE_SQLITE_POWER,
    FLOOR,
    FLOOR_POWER,
    LITEQUEUE,
    LOTUS_PYTHON,
    OPENTELEMETRY,
    PERSIST_QUEUE,
    PERSIST_QUEUE_FULL,
    POSTHOG,
    SEGMENT,
    Subject,
)

SUBJECTS = (
    FLOOR, DURABLE, DURABLE_EXTERNAL, DURABLE_SQLITE, LOTUS_PYTHON, SEGMENT, POSTHOG, OPENTELEMETRY, LITEQUEUE,
    PERSIST_QUEUE, FLOOR_POWER, DURABLE_POWER, DURABLE_SQLITE_POWER, PERSIST_QUEUE_FULL,
)  # fmt: skip

_POWER_SHARE = 5
"""Of a burst's calls, one in so many is made where each waits for the disk."""

_Found = Mapping[str, Latencies]


def run(bench: Bench) -> Report:
    subjects, notes = bench.available(SUBJECTS)
    burst: dict[str, Latencies] = defaultdict(Latencies)
    paced: dict[str, Latencies] = defaultdict(Latencies)
    with serving() as server:
        for turn in range(bench.scale.rounds):
            # Another one begins each round: nobody always comes after the one that leaves the disk busy.
            for subject in (*subjects[turn % len(subjects) :], *subjects[: turn % len(subjects)]):
                _burst(bench, subject, server, burst[subject.name])
                _paced(bench, subject, server, paced[subject.name])
    return Report(
        "enqueue",
        [
            _table("enqueue_burst", "Burst", subjects, burst),
            _table("enqueue_paced", _paced_title(bench), subjects, paced),
        ],
        goals(burst),
        {
            load: [
                {"label": subject.label, "name": subject.name, "curve": found[subject.name].curve()}
                for subject in subjects
            ]
            for load, found in (("burst", burst), ("paced", paced))
        },
        notes,
    )


def _burst(bench: Bench, subject: Subject, server: Server, into: Latencies) -> None:
    calls = bench.scale.burst_calls // (_POWER_SHARE if subject.survives == "power cut" else 1)
    with bench.folder() as folder:
        loaded = bench.load_once(subject, server, folder, calls=calls, warm_up_seconds=bench.scale.warm_up_seconds)
    into.add(service_times(loaded.calls))


def _paced(bench: Bench, subject: Subject, server: Server, into: Latencies) -> None:
    scale = bench.scale
    with bench.folder() as folder:
        loaded = bench.load_once(
            subject,
            server,
            folder,
            calls=int(scale.paced_rate * scale.paced_seconds),
            rate=scale.paced_rate,
            warm_up_seconds=scale.warm_up_seconds / 2,
        )
    into.add(response_times(loaded.calls))


def goals(burst: _Found) -> list[Goal]:
    """Compare ours with the floor and with lotus-python; what was not measured has no value."""
    floor = f"{burst['floor'].at(50):.2f} µs"
    return [
        _ratio("enqueue: p50 over the floor", burst, DURABLE, FLOOR, 50, "at most", 3, floor),
        _ratio("enqueue: p50, lotus-python over ours", burst, LOTUS_PYTHON, DURABLE, 50, "at least", 5, floor),
        _ratio("enqueue: p99.9, lotus-python over ours", burst, LOTUS_PYTHON, DURABLE, 99.9, "at least", 50, floor),
        _ratio(
            "enqueue: p50 of power durability over write + fdatasync",
            burst,
            DURABLE_POWER,
            FLOOR_POWER,
            50,
            "at most",
            1.3,
            f"{burst['floor_power'].at(50):.0f} µs",
        ),
    ]


def _ratio(
    name: str, found: _Found, over: Subject, under: Subject, percentile: float, sense: Sense, limit: float, floor: str
) -> Goal:
    if over.name not in found or under.name not in found:
        missing = over if over.name not in found else under
        return Goal(name, None, sense, limit, "times", note=f"{missing.label} was not measured")
    top, bottom = found[over.name].at(percentile), found[under.name].at(percentile)
    return Goal(name, top / bottom, sense, limit, "times", f"{top:.1f} / {bottom:.1f} µs", floor)


def _table(name: str, title: str, subjects: Sequence[Subject], found: _Found) -> Table:
    columns = ("µs", "survives", *COLUMNS, "calls")
    return Table(name, title, columns, [_row(subject, found[subject.name]) for subject in subjects])


def _row(subject: Subject, latencies: Latencies) -> list[Cell]:
    return [subject.label, subject.survives, *latencies.figures(), len(latencies)]


def _paced_title(bench: Bench) -> str:
    return f"Paced, {bench.scale.paced_rate:,} calls a second, delays of late calls included"
