"""What a flusher at work costs its neighbours: track_event, and a request handler, while a backlog is delivered."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from statistics import median

from benchmarks.backlog import fill
from benchmarks.bench import Bench
from benchmarks.latency import COLUMNS, Latencies, delays, response_times
from benchmarks.report import Cell, Goal, Report, Table
from benchmarks.server import Server, serving
from benchmarks.subjects import DJANGO, DJANGO_EXTERNAL, DURABLE, DURABLE_EXTERNAL, Subject

_RATE = 2_000
_HANDLER_RATE, _HANDLER_SECONDS = 200, 0.001
_DRAINED_PER_SECOND = 200_000
"""More than anybody does: the backlog must not end before the load does."""
_ROUNDS = 2
_START_TIMEOUT = 60.0  # seconds
_WAYS = {"nobody": DURABLE_EXTERNAL, "a flusher": DURABLE}
_VIEWS = {"nobody": DJANGO_EXTERNAL, "a flusher": DJANGO}


@dataclass(frozen=True, slots=True)
class _Found:
    way: str
    latencies: Latencies
    drained: float
    """Events a second meanwhile."""


def run(bench: Bench) -> Report:
    with serving(aside=True) as server:
        tracked = [_beside(bench, server, way, subject, _RATE) for way, subject in _WAYS.items()]
        handled = [
            _beside(bench, server, way, subject, _HANDLER_RATE, _HANDLER_SECONDS) for way, subject in _WAYS.items()
        ]
        able, notes = bench.available([*_VIEWS.values()])
        viewed = [_beside(bench, server, way, subject, _HANDLER_RATE) for way, subject in _VIEWS.items() if able]
    handler = f"A request handler of {_HANDLER_SECONDS * 1e3:g} ms that tracks one event, {_HANDLER_RATE} a second"
    return Report(
        "interference",
        [
            _table("interference_track", f"track_event, {_RATE:,} a second", tracked),
            _table("interference_handler", handler, handled),
            *([_table("interference_django", f"A view of Django, {_HANDLER_RATE} a second", viewed)] if viewed else []),
        ],
        [
            _goal("track_event", *tracked),
            _goal("a request handler", *handled),
            *([_goal("a view of Django", *viewed)] if viewed else []),
        ],
        notes=notes,
    )


def _goal(what: str, none: _Found, busy: _Found) -> Goal:
    quiet, beside = none.latencies.at(99.9), busy.latencies.at(99.9)
    return Goal(
        f"interference: p99.9 of {what} beside a flusher at work",
        beside / quiet,
        "at most",
        1.5,
        "times none",
        f"{beside:.0f} / {quiet:.0f} µs",
        f"{quiet:.0f} µs without",
    )


def _beside(
    bench: Bench, server: Server, way: str, subject: Subject, rate: int, handler_seconds: float = 0.0
) -> _Found:
    flushes = "flusher" not in subject.options
    seconds = max(0.1, bench.scale.busy_backlog / _DRAINED_PER_SECOND)
    found, drained = Latencies(), []
    for _ in range(min(bench.scale.rounds, _ROUNDS)):
        progress: list[tuple[float, int]] = []
        server.mark()
        with bench.folder() as folder:
            if flushes:
                fill(folder / "queue", bench.scale.busy_backlog)
            loaded = bench.load_once(
                subject,
                server,
                folder,
                calls=int(rate * seconds),
                rate=rate,
                handler_seconds=handler_seconds,
                once_ready=partial(_begin, server, progress, waits=flushes),
            )
            progress.append(_progress(server))
        found.add(delays(loaded.calls) if handler_seconds else response_times(loaded.calls))
        (started, before), (ended, after) = progress
        drained.append((after - before) / (ended - started))
    return _Found(way, found, median(drained))


def _begin(server: Server, progress: list[tuple[float, int]], *, waits: bool) -> None:
    """Have the flusher at work that the first calls have started, if there is to be one."""
    if waits:
        server.wait_for(1, _START_TIMEOUT)
    progress.append(_progress(server))


def _progress(server: Server) -> tuple[float, int]:
    return time.monotonic(), server.counts().events


def _table(name: str, title: str, found: list[_Found]) -> Table:
    rows: list[list[Cell]] = [[each.way, *each.latencies.figures(), int(each.drained)] for each in found]
    return Table(name, title, ("µs, while there flushes", *COLUMNS, "drained/s"), rows)
