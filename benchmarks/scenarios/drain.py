"""An external flusher works off a backlog: how fast, whether the size matters, and what memory it takes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.backlog import fill
from benchmarks.bench import Bench
from benchmarks.flushing import flushing
from benchmarks.report import Goal, Report, Table
from benchmarks.server import Server, serving
from benchmarks.sink import Counts

_SLOW = 0.05  # seconds
_SHORT = 100_000
"""A backlog up to this size is drained several times: the machine is never quite still."""
_START_TIMEOUT, _LEAST_RATE = 60.0, 5_000  # seconds; events/s


@dataclass(frozen=True, slots=True)
class _Drain:
    what: str
    events: int
    rate: float
    """Events a second, from the first request to the last answer."""
    memory: float
    """The flusher's peak, MB."""
    cpu: float
    """The flusher's, µs an event, its start not counted."""
    first: float
    """Seconds from the flusher's start to its first request."""


def run(bench: Bench) -> Report:
    with serving(generation="2024") as server:
        idle = _idle_memory(bench, server)
        fast = [_median_drain(bench, server, events) for events in bench.scale.backlogs]
        plain = [
            _median_drain(bench, server, events, orjson=False)
            for events in bench.scale.backlogs
            if events <= bench.scale.busy_backlog
        ]
    with serving(_SLOW, generation="2024") as slow_server, _backlog(bench, bench.scale.slow_backlog) as queue:
        slow = _drain(queue, bench.scale.slow_backlog, slow_server, "orjson, server takes 50 ms")
    drains = [*fast, *plain, slow]
    columns = (
        "drain",
        "backlog",
        "events/s",
        "flusher CPU µs/event",
        "peak memory MB",
        "above idle MB",
        "first request s",
    )
    rows = [
        (each.what, each.events, int(each.rate), each.cpu, each.memory, each.memory - idle, each.first)
        for each in drains
    ]
    return Report(
        "drain",
        [Table("drain", "Drain by an external flusher", columns, rows)],
        _goals(fast, plain, idle),
        {
            "rate": [
                {"label": label, "points": [(each.events, each.rate) for each in found]}
                for label, found in (("with orjson", fast), ("without", plain))
            ],
            "memory": {"idle": idle, "points": [(each.events, each.memory) for each in fast]},
        },
    )


def _goals(fast: list[_Drain], plain: list[_Drain], idle: float) -> list[Goal]:
    rates = [each.rate for each in fast]
    middle = median(rates)
    off = 100 * max(max(rates) / middle - 1, 1 - min(rates) / middle)
    sizes = f"{fast[0].events:,} to {fast[-1].events:,} pending"
    return [
        Goal("drain: events/s with orjson", middle, "at least", 120_000, "events/s", f"median of {sizes}"),
        Goal("drain: events/s without", median(each.rate for each in plain), "at least", 90_000, "events/s"),
        Goal("drain: flat over the backlog", off, "at most", 15, "% off the median", sizes),
        Goal(
            "drain: flusher's memory above idle", max(each.memory for each in fast) - idle, "at most", 20, "MB", sizes
        ),
        Goal(
            f"drain: first request with {fast[-1].events:,} pending",
            fast[-1].first,
            "at most",
            1,
            "s",
            "from its start",
        ),
    ]


def _idle_memory(bench: Bench, server: Server) -> float:
    """Return what a flusher takes that has sent one event: everything is loaded then."""
    with _backlog(bench, 1) as queue, flushing(queue, server) as flusher:
        server.mark()
        server.wait_for(1, _START_TIMEOUT)
        return flusher.peak_memory()


def _median_drain(bench: Bench, server: Server, events: int, *, orjson: bool = True) -> _Drain:
    found = []
    for _ in range(bench.scale.drain_repeats if events <= _SHORT else 1):
        with _backlog(bench, events) as queue:
            found.append(_drain(queue, events, server, "orjson" if orjson else "json", orjson=orjson))
    return sorted(found, key=lambda each: each.rate)[len(found) // 2]


def _drain(queue: Path, events: int, server: Server, what: str, *, orjson: bool = True) -> _Drain:
    server.mark()
    started = time.monotonic()
    with flushing(queue, server, orjson=orjson) as flusher:
        begun, cpu = server.wait_for(1, _START_TIMEOUT), flusher.cpu()
        counts = server.wait_for(events, _START_TIMEOUT + events / _LEAST_RATE)
        cpu = (flusher.cpu() - cpu) / max(1, counts.events - begun.events)
        assert begun.first is not None
        return _Drain(what, events, _rate(counts), flusher.peak_memory(), cpu * 1e6, begun.first - started)


def _rate(counts: Counts) -> float:
    assert counts.first is not None
    assert counts.last is not None
    return counts.events / (counts.last - counts.first)


@contextmanager
def _backlog(bench: Bench, events: int) -> Iterator[Path]:
    with bench.folder() as folder:
        fill(folder / "queue", events)
        yield folder / "queue"
