"""Many processes on one queue, as behind a web server: does anybody wait for anybody?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from statistics import mean, median

from benchmarks.bench import Bench
from benchmarks.latency import COLUMNS, Latencies, response_times, service_times
from benchmarks.report import Cell, Goal, Report, Table
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
    burst, crowd = ([run for run in runs if (run.processes, run.threads) == size] for size in (_COMPARED, _CROWD))
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
            goal("workers: p99.9 with 8, burst, persist-queue over ours", _tail([burst]), 100, " µs"),
            goal("workers: p99.9 with 8, paced, persist-queue over ours", _tail(paced), 100, " µs"),
            goal("workers: events/s with 8, ours over persist-queue", _rates(burst), 10),
            goal("workers: events/s with 16, ours over persist-queue", _rates(crowd), 15),
            goal("workers: p99.9 with 16, burst, persist-queue over ours", _tail([crowd]), 50, " µs"),
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


def _rates(runs: Sequence[_Run]) -> dict[str, float]:
    return {each.subject.name: each.rate for each in runs}


def _tail(turns: Sequence[Sequence[_Run]]) -> dict[str, float]:
    """Return each one's p99.9, the median over its turns: or it would be some neighbour's doing in one of them."""
    return {runs[0].subject.name: median(each.latencies.at(99.9) for each in runs) for runs in zip(*turns, strict=True)}


def goal(name: str, figures: Mapping[str, float], limit: float, unit: str = "") -> Goal:
    """Compare ours with persist-queue's, and the floor's with it: times (µs), or rates, of which more is better."""
    if not figures.keys() >= _BESIDE:
        return Goal(name, None, "at least", limit, "times", note="persist-queue was not measured")
    theirs, ours, floor = (figures[each] for each in _ORDER)
    first, second = (theirs, ours) if unit else (ours, theirs)
    return Goal(
        name,
        first / second,
        "at least",
        limit,
        "times",
        f"{first:,.0f} / {second:,.0f}{unit}",
        f"{floor:,.0f}{unit}",
        theirs / floor if unit else floor / theirs,
    )


def _throughput(subjects: list[Subject], runs: list[_Run]) -> list[dict[str, object]]:
    return [
        {
            "label": subject.label,
            "name": subject.name,
            "points": [(each.processes, each.rate) for each in runs if each.subject is subject and each.threads == 1],
        }
        for subject in subjects
    ]
