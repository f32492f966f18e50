"""The tail from a process's first event on: nobody waits for what starts, connects and sends meanwhile."""

from __future__ import annotations

from collections import defaultdict
from statistics import median

from benchmarks.bench import Bench
from benchmarks.latency import Latencies, service_times
from benchmarks.report import Cell, Goal, Report, Table
from benchmarks.server import serving
from benchmarks.subjects import DURABLE, DURABLE_BESIDE, DURABLE_EXTERNAL, FLOOR, LOTUS_PYTHON, Subject

SUBJECTS = (FLOOR, DURABLE, DURABLE_EXTERNAL, LOTUS_PYTHON, DURABLE_BESIDE)
_PERCENTILES = (50.0, 99.0, 99.9)
_TURNS = 5
"""A round; the medians of fewer would be some neighbour's doing."""

_Figures = dict[float, float]


def run(bench: Bench) -> Report:
    subjects, notes = bench.available(SUBJECTS)
    turns: dict[str, list[Latencies]] = defaultdict(list)
    refused: dict[str, int] = defaultdict(int)
    with serving() as server:
        for turn in range(_TURNS * bench.scale.rounds):
            for subject in (*subjects[turn % len(subjects) :], *subjects[: turn % len(subjects)]):
                with bench.folder() as folder:
                    loaded = bench.load_once(subject, server, folder, calls=bench.scale.burst_calls, cold=True)
                turns[subject.name].append(Latencies.of(service_times(loaded.calls)))
                refused[subject.name] += loaded.refused
    found = {name: _medians(each) for name, each in turns.items()}
    rows: list[list[Cell]] = [
        [
            subject.label,
            *found[subject.name].values(),
            max(each.at(99.9) for each in turns[subject.name]),
            sum(len(each) for each in turns[subject.name]),
            refused[subject.name],
        ]
        for subject in subjects
    ]
    columns = ("µs", "p50", "p99", "p99.9", "worst p99.9", "calls", "refused")
    title = f"A burst from the first event on, medians of {len(turns[FLOOR.name])} turns"
    return Report("tail", [Table("tail", title, columns, rows)], _goals(found), notes=notes)


def _medians(turns: list[Latencies]) -> _Figures:
    return {percentile: median(each.at(percentile) for each in turns) for percentile in _PERCENTILES}


def _goals(found: dict[str, _Figures]) -> list[Goal]:
    return [
        _ratio(found, 99.0, DURABLE, DURABLE_EXTERNAL, 1.2),
        _ratio(found, 99.9, DURABLE, DURABLE_EXTERNAL, 1.5),
        _ratio(found, 99.0, DURABLE, LOTUS_PYTHON, 1),
        _ratio(found, 99.9, DURABLE, LOTUS_PYTHON, 1),
    ]


def _ratio(found: dict[str, _Figures], percentile: float, over: Subject, under: Subject, limit: float) -> Goal:
    name = f"tail: p{percentile:g} of {over.label} over {under.label}"
    if under.name not in found:
        return Goal(name, None, "at most", limit, "times", note=f"{under.label} was not measured")
    top, bottom = found[over.name][percentile], found[under.name][percentile]
    floor = f"{found[FLOOR.name][percentile]:.1f} µs"
    return Goal(name, top / bottom, "at most", limit, "times", f"{top:.1f} / {bottom:.1f} µs", floor)
