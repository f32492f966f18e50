"""What a call costs while what it accepts is delivered: ours beside what a user would pick instead, and the floor.

Four loads, each in processes of its own, in turns: a burst from the first event on, a burst after a few seconds, and
two steady paces. The figures are medians over the turns. A call whose event is refused or dropped is none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from benchmarks.bench import Bench
from benchmarks.latency import Latencies, response_times, service_times
from benchmarks.report import Cell, Goal, Report, Sense, Table
from benchmarks.server import Server, serving
from benchmarks.subjects import (
    DURABLE,
    DURABLE_BESIDE,
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
    FLOOR, DURABLE, LOTUS_PYTHON, SEGMENT, POSTHOG, OPENTELEMETRY, LITEQUEUE, PERSIST_QUEUE, DURABLE_EXTERNAL,
    DURABLE_BESIDE, DURABLE_SQLITE, FLOOR_POWER, DURABLE_POWER, DURABLE_SQLITE_POWER, PERSIST_QUEUE_FULL,
)  # fmt: skip
_IN_MEMORY = (LOTUS_PYTHON, SEGMENT, POSTHOG, OPENTELEMETRY)
_POWER_SHARE = 5
"""Of a burst's calls, one in so many is made where each waits for the disk."""
_PERCENTILES = (50.0, 99.0, 99.9)
_LEAST_CALLS = 1_000
"""Of a paced turn: of fewer the one that is not exceeded by 99.9 % is the slowest, which is somebody else's doing."""


@dataclass(frozen=True, slots=True)
class _Load:
    name: str
    title: str
    rate: int = 0
    """Calls a second; 0: one right after the other."""
    is_first: bool = False


LOADS = (
    _Load("first", "A burst from a process's first event on", is_first=True),
    _Load("later", "A burst after some seconds"),
    _Load("steady", "1,000 calls a second, delays of late calls included", rate=1_000),
    _Load("busy", "10,000 calls a second, delays of late calls included", rate=10_000),
)


@dataclass(slots=True)
class _Found:
    """Of one subject under one load."""

    turns: list[Latencies] = field(default_factory=list)
    refused: int = 0

    def at(self, percentile: float) -> float:
        return median(turn.at(percentile) for turn in self.turns)

    @property
    def accepted(self) -> int:
        return sum(map(len, self.turns))

    def together(self) -> Latencies:
        """All turns in one."""
        all_of_them = Latencies()
        for turn in self.turns:
            all_of_them.merge(turn)
        return all_of_them


_All = Mapping[str, Mapping[str, _Found]]
"""By load, by subject."""


def run(bench: Bench) -> Report:
    subjects, notes = bench.available(SUBJECTS)
    found: dict[str, dict[str, _Found]] = {load.name: defaultdict(_Found) for load in LOADS}
    with serving() as server:
        for turn in range(bench.scale.turns):
            # Another one begins each round: nobody always comes after the one that leaves the disk busy.
            for subject in (*subjects[turn % len(subjects) :], *subjects[: turn % len(subjects)]):
                for load in LOADS:
                    if load.rate <= 1_000 or subject.survives != "power cut":  # 10,000 syncs a second are none's
                        _add_turn(bench, subject, load, server, found[load.name][subject.name])
    return Report(
        "calls",
        [_table(load, subjects, found[load.name], bench.scale.turns) for load in LOADS],
        goals(found),
        {
            load.name: [
                {"label": subject.label, "name": subject.name, "curve": curve}
                for subject in subjects
                if subject.name in found[load.name] and (curve := found[load.name][subject.name].together().curve())
            ]
            for load in LOADS
        },
        notes,
    )


def _add_turn(bench: Bench, subject: Subject, load: _Load, server: Server, into: _Found) -> None:
    scale = bench.scale
    calls = scale.burst_calls
    if load.rate:
        calls = max(int(load.rate * scale.paced_seconds), min(_LEAST_CALLS, scale.burst_calls))
    if not load.rate and subject.survives == "power cut":
        calls //= _POWER_SHARE
    with bench.folder() as folder:
        loaded = bench.load_once(
            subject,
            server,
            folder,
            calls=calls,
            rate=float(load.rate),
            cold=load.is_first,
            warm_up_seconds=scale.warm_up_seconds,
        )
    into.turns.append(Latencies.of((response_times if load.rate else service_times)(loaded.calls)))
    into.refused += loaded.refused


def _table(load: _Load, subjects: Sequence[Subject], found: Mapping[str, _Found], turns: int) -> Table:
    rows: list[list[Cell]] = [
        [
            subject.label,
            subject.survives,
            *(each.at(percentile) for percentile in _PERCENTILES),
            max(turn.at(99.9) for turn in each.turns),
            each.accepted,
            each.refused,
        ]
        for subject in subjects
        if (each := found.get(subject.name)) is not None
    ]
    columns = ("µs", "survives", "p50", "p99", "p99.9", "worst p99.9", "calls", "refused")
    return Table(f"calls_{load.name}", f"{load.title}, medians of {turns} turns", columns, rows)


def goals(found: _All) -> list[Goal]:
    """Compare ours with the floor, with lotus-python and with itself without a flusher."""
    first, later = found["first"], found["later"]
    return [
        _ratio("first", first, 50, DURABLE, FLOOR, "at most", 2.5),
        _ratio("first", first, 99, DURABLE, FLOOR, "at most", 2.5),
        _ratio("first", first, 99.9, DURABLE, FLOOR, "at most", 5),
        _ratio("first", first, 99.9, LOTUS_PYTHON, DURABLE, "at least", 10),
        _ratio("later", later, 99.9, LOTUS_PYTHON, DURABLE, "at least", 10),
        _ratio("first", first, 99, DURABLE, DURABLE_EXTERNAL, "at most", 1.2),
        _ratio("first", first, 99.9, DURABLE, DURABLE_EXTERNAL, "at most", 1.5),
        *(_ahead_of_all(load.name, found[load.name]) for load in LOADS),
    ]


def _ahead_of_all(load: str, found: Mapping[str, _Found]) -> Goal:
    """Return how we do at the worst: beside the client, and at the percentile, where we are least ahead."""
    name, limit = f"calls, {load}: ours over an in-memory client, at the worst of p50, p99 and p99.9", 1
    ratios = [
        (found[DURABLE.name].at(percentile) / found[rival.name].at(percentile), percentile, rival)
        for rival in _IN_MEMORY
        for percentile in _PERCENTILES
        if rival.name in found and found[rival.name].accepted
    ]
    if not ratios:
        return Goal(name, None, "at most", limit, "times", note="no such client was measured")
    ratio, percentile, rival = max(ratios, key=lambda each: each[0])
    return Goal(name, ratio, "at most", limit, "times", f"p{percentile:g}, {rival.label}")


def _ratio(
    load: str,
    found: Mapping[str, _Found],
    percentile: float,
    over: Subject,
    under: Subject,
    sense: Sense,
    limit: float,
) -> Goal:
    name = f"calls, {load}: p{percentile:g} of {over.label} over {under.label}"
    for each in (over, under):
        if each.name not in found:
            return Goal(name, None, sense, limit, "times", note=f"{each.label} was not measured")
    if not found[over.name].accepted or not found[under.name].accepted:
        return Goal(name, None, sense, limit, "times", note="nothing was accepted")
    top, bottom = found[over.name].at(percentile), found[under.name].at(percentile)
    floor = found[FLOOR.name].at(percentile)
    at_best = top / floor if under is DURABLE else None
    return Goal(name, top / bottom, sense, limit, "times", f"{top:.1f} / {bottom:.1f} µs", f"{floor:.2f} µs", at_best)
