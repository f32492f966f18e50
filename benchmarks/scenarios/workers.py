"""Many processes on one queue, as behind a web server: does anybody wait for anybody?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from statistics import mean, median

from benchmarks.bench import Bench
from benchmarks.latency import COLUMNS, Latencies, response_times, service_times
from benchmarks.report import Cell, Goal, Report, Sense, Table
from benchmarks.server import Server, serving
from benchmarks.subjects import (
    DURABLE_EXTERNAL,
    DURABLE_POWER,
    FLOOR,
    LITEQUEUE,
    PERSIST_QUEUE,
    PERSIST_QUEUE_FULL,
    Subject,
)

SUBJECTS = (FLOOR, DURABLE_EXTERNAL, LITEQUEUE, PERSIST_QUEUE)
_COMPARED = (8, 1)
"""Processes and threads of the goals."""
_CROWD = (16, 1)
_ORDER = (PERSIST_QUEUE.name, DURABLE_EXTERNAL.name, FLOOR.name)
_BESIDE = frozenset(_ORDER)
_NOT_MEASURED = "persist-queue was not measured with 8 workers"
_AT_LEAST: Sense = "at least"
_PACED_RATE = 100
"""Calls a second of each of eight: about what a busy web server does, and well below what each subject can take."""
_COLUMNS = ("µs", "processes", "threads", *COLUMNS, "events/s")
_SYNCED_SHARE = 20
"""Of the calls, one in so many where each waits for the disk."""


@dataclass(frozen=True, slots=True)
class _Run:
    subject: Subject
    processes: int
    threads: int
    latencies: Latencies
    rate: float
    """Events a second, of all together."""


def run(bench: Bench) -> Report:
    subjects, notes = bench.available(SUBJECTS)
    runs: list[_Run] = []
    with serving() as server:  # nothing is sent to it: the flusher is external, and there is none
        for processes, threads in product(bench.scale.workers, bench.scale.threads):
            runs += [_run(bench, subject, server, processes, threads) for subject in subjects]
        full, more_notes = bench.available([PERSIST_QUEUE_FULL])
        synced = [_run(bench, subject, server, *_COMPARED) for subject in full]
        shared = [_run(bench, DURABLE_POWER, server, 1, threads) for threads in (1, 8)]
        paced = [
            [_run(bench, subject, server, *_COMPARED, rate=_PACED_RATE) for subject in (*subjects, *full)]
            for _ in range(bench.scale.turns)
        ]
    burst = {run.subject.name: run for run in runs if (run.processes, run.threads) == _COMPARED}
    return Report(
        "workers",
        [
            Table("workers", "Workers on one queue", _COLUMNS, [_row(each) for each in (*runs, *synced, *shared)]),
            Table(
                "workers_paced",
                f"{_COMPARED[0]} workers, {_PACED_RATE} events a second each, delays of late calls included; "
                f"{bench.scale.turns} turns",
                _COLUMNS,
                [_row(_together(turns)) for turns in zip(*paced, strict=True)],
            ),
        ],
        [
            _goal_of_the_tail("burst", [tuple(burst.values())]),
            _goal_of_the_tail("paced", paced),
            _goal_of_throughput(burst),
            *_goals_of_a_crowd({run.subject.name: run for run in runs if (run.processes, run.threads) == _CROWD}),
        ],
        {"throughput": _throughput(subjects, runs)},
        [*notes, *more_notes],
    )


def _run(bench: Bench, subject: Subject, server: Server, processes: int, threads: int, *, rate: float = 0.0) -> _Run:
    scale = bench.scale
    share = _SYNCED_SHARE if subject.survives == "power cut" else 1
    calls = rate * scale.worker_seconds if rate else scale.worker_calls / processes / threads / share
    with bench.folder() as folder:
        loaded = bench.load_once(
            subject,
            server,
            folder,
            processes=processes,
            threads=threads,
            calls=max(1, int(calls)),
            rate=rate,
            seconds=scale.worker_seconds,
        )
    times = [time for thread in loaded.threads for time in (response_times if rate else service_times)(thread)]
    return _Run(subject, processes, threads, Latencies.of(times), len(loaded.calls) / loaded.seconds)


def _together(turns: Sequence[_Run]) -> _Run:
    """Return the turns of one subject as one."""
    latencies = Latencies()
    for each in turns:
        latencies.merge(each.latencies)
    first = turns[0]
    return _Run(first.subject, first.processes, first.threads, latencies, mean(each.rate for each in turns))


def _row(run: _Run) -> list[Cell]:
    return [run.subject.label, run.processes, run.threads, *run.latencies.figures(), int(run.rate)]


def _goal_of_the_tail(load: str, turns: Sequence[Sequence[_Run]]) -> Goal:
    """Compare the tails: of each the median over its turns, or it would be some neighbour's doing in one of them."""
    tails = {
        runs[0].subject.name: median(each.latencies.at(99.9) for each in runs) for runs in zip(*turns, strict=True)
    }
    name, sense, limit, unit = f"workers: p99.9 with 8, {load}, persist-queue over ours", _AT_LEAST, 100, "times"
    if not tails.keys() >= _BESIDE:
        return Goal(name, None, sense, limit, unit, note=_NOT_MEASURED)
    theirs, ours, floor = (tails[each] for each in _ORDER)
    return Goal(name, theirs / ours, sense, limit, unit, f"{theirs:,.0f} / {ours:,.0f} µs", f"{floor:,.0f} µs")


def _goal_of_throughput(runs: dict[str, _Run]) -> Goal:
    name, sense, limit, unit = "workers: events/s with 8, ours over persist-queue", _AT_LEAST, 10, "times"
    if not runs.keys() >= _BESIDE:
        return Goal(name, None, sense, limit, unit, note=_NOT_MEASURED)
    theirs, ours, floor = (runs[each].rate for each in _ORDER)
    return Goal(name, ours / theirs, sense, limit, unit, f"{ours:,.0f} / {theirs:,.0f}", f"{floor:,.0f}")


def _goals_of_a_crowd(runs: dict[str, _Run]) -> list[Goal]:
    rate = "workers: events/s with 16, ours over persist-queue"
    tail = "workers: p99.9 with 16, burst, persist-queue over ours"
    if not runs.keys() >= _BESIDE:
        note = "persist-queue was not measured with 16 workers"
        return [
            Goal(rate, None, _AT_LEAST, 15, "times", note=note),
            Goal(tail, None, _AT_LEAST, 50, "times", note=note),
        ]
    theirs, ours, floor = (runs[each] for each in _ORDER)
    return [
        Goal(rate, ours.rate / theirs.rate, _AT_LEAST, 15, "times", f"{ours.rate:,.0f} / {theirs.rate:,.0f}",
             f"{floor.rate:,.0f}"),
        Goal(tail, theirs.latencies.at(99.9) / ours.latencies.at(99.9), _AT_LEAST, 50, "times",
             f"{theirs.latencies.at(99.9):,.0f} / {ours.latencies.at(99.9):,.0f} µs",
             f"{floor.latencies.at(99.9):,.0f} µs"),
    ]  # fmt: skip


def _throughput(subjects: list[Subject], runs: list[_Run]) -> list[dict[str, object]]:
    return [
        {
            "label": subject.label,
            "name": subject.name,
            "points": [(each.processes, each.rate) for each in runs if each.subject is subject and each.threads == 1],
        }
        for subject in subjects
    ]
