"""What a flusher at work costs its neighbours: track_event, and a request handler, while a backlog is delivered."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
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
_START_TIMEOUT = 60.0  # seconds
_WAYS = {"nobody": DURABLE_EXTERNAL, "a flusher": DURABLE}
_VIEWS = {"nobody": DJANGO_EXTERNAL, "a flusher": DJANGO}


@dataclass(slots=True)
class _Found:
    way: str
    turns: list[Latencies] = field(default_factory=list)
    drained: list[float] = field(default_factory=list)
    """Events a second meanwhile, of each turn."""

    def figures(self) -> list[float]:
        """Return the latencies at the percentiles, each the median over the turns."""
        return [median(column) for column in zip(*(turn.figures() for turn in self.turns), strict=True)]

    @property
    def tail(self) -> float:
        return self.figures()[COLUMNS.index("p99.9")]


def run(bench: Bench) -> Report:
    with serving(aside=True) as server:
        tracked = _beside(bench, server, _WAYS, _RATE)
        handled = _beside(bench, server, _WAYS, _HANDLER_RATE, _HANDLER_SECONDS)
        able, notes = bench.available([*_VIEWS.values()])
        viewed = _beside(bench, server, _VIEWS, _HANDLER_RATE) if able else []
    turns = f"medians of {bench.scale.turns} turns"
    handler = f"A request handler of {_HANDLER_SECONDS * 1e3:g} ms that tracks one event, {_HANDLER_RATE} a second"
    view = f"A view of Django, {_HANDLER_RATE} a second"
    return Report(
        "interference",
        [
            _table("interference_track", f"track_event, {_RATE:,} a second, {turns}", tracked),
            _table("interference_handler", f"{handler}, {turns}", handled),
            *([_table("interference_django", f"{view}, {turns}", viewed)] if viewed else []),
        ],
        [
            _goal("track_event", *tracked),
            _goal("a request handler", *handled),
            *([_goal("a view of Django", *viewed)] if viewed else []),
        ],
        notes=notes,
    )


def _goal(what: str, none: _Found, busy: _Found) -> Goal:
    quiet, beside = none.tail, busy.tail
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
    bench: Bench, server: Server, ways: Mapping[str, Subject], rate: int, handler_seconds: float = 0.0
) -> list[_Found]:
    """Have each way take its turns with the other, so that a busy moment of the machine does not fall on one only."""
    found = [_Found(way) for way in ways]
    for _ in range(bench.scale.turns):
        for each in found:
            _take_turn(bench, server, each, ways[each.way], rate, handler_seconds)
    return found


def _take_turn(
    bench: Bench, server: Server, found: _Found, subject: Subject, rate: int, handler_seconds: float
) -> None:
    flushes = "flusher" not in subject.options
    seconds = max(0.1, bench.scale.busy_backlog / _DRAINED_PER_SECOND)
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
    found.turns.append(Latencies.of(delays(loaded.calls) if handler_seconds else response_times(loaded.calls)))
    (started, before), (ended, after) = progress
    found.drained.append((after - before) / (ended - started))


def _begin(server: Server, progress: list[tuple[float, int]], *, waits: bool) -> None:
    """Have the flusher at work that the first calls have started, if there is to be one."""
    if waits:
        server.wait_for(1, _START_TIMEOUT)
    progress.append(_progress(server))


def _progress(server: Server) -> tuple[float, int]:
    return time.monotonic(), server.counts().events


def _table(name: str, title: str, found: list[_Found]) -> Table:
    rows: list[list[Cell]] = [[each.way, *each.figures(), int(median(each.drained))] for each in found]
    return Table(name, title, ("µs, while there flushes", *COLUMNS, "drained/s"), rows)
