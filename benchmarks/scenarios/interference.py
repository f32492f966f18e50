"""What the flusher costs its neighbours: track_event, and a request handler, while a backlog is uploaded."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.backlog import fill
from benchmarks.bench import Bench
from benchmarks.flushing import flushing
from benchmarks.latency import COLUMNS, Latencies, delays, response_times
from benchmarks.report import Cell, Goal, Report, Table
from benchmarks.server import Server, serving
from benchmarks.subjects import DURABLE, DURABLE_EXTERNAL, Subject

_RATE = 2_000
_HANDLER_RATE, _HANDLER_SECONDS = 200, 0.001
_FIRST_SECONDS, _FIRST_RATE = 2.0, 1_000
_DRAINED_PER_SECOND = 200_000
"""More than anybody does: the backlog must not end before the load does."""
_ROUNDS = 2
_START_TIMEOUT = 60.0  # seconds


@dataclass(frozen=True, slots=True)
class _Way:
    """Who uploads."""

    label: str
    subject: Subject
    backlog: bool = True
    is_process: bool = False
    """It is a process of its own, which takes a while to start."""
    external: bool = False


_WAYS = (
    _Way("nobody", DURABLE_EXTERNAL, backlog=False),
    _Way("a thread, orjson", DURABLE),
    _Way("a thread, json", replace(DURABLE, options={"orjson": False})),
    _Way("a child process", replace(DURABLE, options={"flusher": "process"}), is_process=True),
    _Way("an external flusher", DURABLE_EXTERNAL, is_process=True, external=True),
)


@dataclass(frozen=True, slots=True)
class _Found:
    way: str
    latencies: Latencies
    drained: float
    """Events a second meanwhile."""


def run(bench: Bench) -> Report:
    with serving() as server:
        tracked = [_beside(bench, server, way, _RATE) for way in _WAYS]
        handled = [_beside(bench, server, way, _HANDLER_RATE, _HANDLER_SECONDS) for way in _WAYS]
        first = [_first_seconds(bench, server, way) for way in _WAYS[:2]]
    return Report(
        "interference",
        [
            _table("interference_track", f"track_event, {_RATE:,} a second", tracked),
            _table(
                "interference_handler",
                f"A request handler of {_HANDLER_SECONDS * 1e3:g} ms that tracks one event, {_HANDLER_RATE} a second",
                handled,
            ),
            _table(
                "interference_first",
                f"track_event in the first {_FIRST_SECONDS:g} s of a process, {_FIRST_RATE:,} a second",
                first,
            ),
        ],
        _goals(tracked),
    )


def _goals(tracked: list[_Found]) -> list[Goal]:
    none, thread, _, _, external = tracked
    quiet = f"{none.latencies.at(99.9):.0f} µs without"
    return [
        Goal(
            "interference: p99.9 of track_event beside the flusher thread",
            thread.latencies.at(99.9) / 1_000,
            "at most",
            2,
            "ms",
            floor=quiet,
        ),
        Goal("interference: drained by that thread", thread.drained, "at least", 50_000, "events/s"),
        Goal(
            "interference: p99.9 of track_event beside an external flusher",
            external.latencies.at(99.9) / none.latencies.at(99.9),
            "at most",
            1.5,
            "times none",
            f"{external.latencies.at(99.9):.0f} / {none.latencies.at(99.9):.0f} µs",
            quiet,
        ),
    ]


def _beside(bench: Bench, server: Server, way: _Way, rate: int, handler_seconds: float = 0.0) -> _Found:
    seconds = max(0.1, bench.scale.busy_backlog / _DRAINED_PER_SECOND)
    found, drained = Latencies(), []
    for _ in range(min(bench.scale.rounds, _ROUNDS)):
        progress: list[tuple[float, int]] = []
        server.mark()
        with bench.folder() as folder, ExitStack() as stack:
            if way.backlog:
                fill(folder / "queue", bench.scale.busy_backlog)
            loaded = bench.load_once(
                way.subject,
                server,
                folder,
                calls=int(rate * seconds),
                rate=rate,
                handler_seconds=handler_seconds,
                warm_up_seconds=min(0.5, seconds),
                once_ready=partial(_begin, way, folder / "queue", server, stack, progress),
            )
            progress.append(_progress(server))
        found.add(delays(loaded.calls) if handler_seconds else response_times(loaded.calls))
        (started, before), (ended, after) = progress
        drained.append((after - before) / (ended - started))
    return _Found(way.label, found, median(drained))


def _begin(way: _Way, queue: Path, server: Server, stack: ExitStack, progress: list[tuple[float, int]]) -> None:
    """Have the process that uploads at work, if that is the way: not earlier, or little would be left for it."""
    if way.external:
        stack.enter_context(flushing(queue, server))
    if way.is_process:
        server.wait_for(1, _START_TIMEOUT)
    progress.append(_progress(server))


def _progress(server: Server) -> tuple[float, int]:
    return time.monotonic(), server.counts().events


def _first_seconds(bench: Bench, server: Server, way: _Way) -> _Found:
    """Track from a process's first call on: it elects, imports and connects meanwhile."""
    seconds = min(_FIRST_SECONDS, bench.scale.paced_seconds)
    found = Latencies()
    for _ in range(bench.scale.rounds):
        with bench.folder() as folder:
            loaded = bench.load_once(
                way.subject, server, folder, calls=int(_FIRST_RATE * seconds), rate=_FIRST_RATE, cold=True
            )
        found.add(response_times(loaded.calls))
    return _Found(way.label, found, 0.0)


def _table(name: str, title: str, found: list[_Found]) -> Table:
    rows: list[list[Cell]] = [[each.way, *each.latencies.figures(), int(each.drained)] for each in found]
    return Table(name, title, ("µs, while uploading is done by", *COLUMNS, "drained/s"), rows)
