"""An event's whole way, from the call to the server's word, for each client: processor time, bytes and system calls.

A process tracks at a pace that every client takes, and all that it accepted has arrived when the figures are read. They
are the difference of two runs of different lengths, which is free of starts, imports and connections; and what a
process takes that only keeps the pace is taken off.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile

from benchmarks.bench import Bench
from benchmarks.report import Cell, Goal, Report, Table
from benchmarks.server import Server, serving
from benchmarks.subjects import (
    DURABLE,
    LITEQUEUE,
    LOTUS_PYTHON,
    NOTHING,
    OPENTELEMETRY,
    PERSIST_QUEUE,
    POSTHOG,
    SEGMENT,
    Subject,
)
from benchmarks.surroundings import flushers_of
from benchmarks.tracking import accepted_in, arrived_at, tracking
from benchmarks.watched import Watched

SUBJECTS = (DURABLE, LOTUS_PYTHON, SEGMENT, POSTHOG, OPENTELEMETRY, LITEQUEUE, PERSIST_QUEUE)
_SEND_NOTHING = (NOTHING, LITEQUEUE, PERSIST_QUEUE)
_RATE = 2_000  # calls a second
_LOOK_INTERVAL = 0.05  # seconds
_END_TIMEOUT = 60  # seconds
_STRACED = 400
"""Events that are tracked under strace, one right after the other, and three times as many once more."""
_TOTAL = re.compile(r"^100\.00\s+\S+\s+\S+\s+(\d+).*total$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class _Cost:
    """Of one event."""

    calling: float
    """µs of processor time in the thread that calls."""
    elsewhere: float
    """µs in other threads, and in the flusher."""
    written: float
    """Bytes to files and connections."""
    sent: float
    """Bytes to the server."""
    calls: float | None
    """System calls; None where strace is missing."""

    def above(self, nothing: _Cost) -> _Cost:
        return _Cost(
            self.calling - nothing.calling,
            self.elsewhere - nothing.elsewhere,
            self.written - nothing.written,
            self.sent,
            None if self.calls is None or nothing.calls is None else self.calls - nothing.calls,
        )


def run(bench: Bench) -> Report:
    subjects, notes = bench.available(SUBJECTS)
    nothing = _cost(bench, NOTHING)
    costs = {subject.name: _cost(bench, subject).above(nothing) for subject in subjects}
    if nothing.calls is None:
        notes.append("system calls are not counted: strace is not installed")
    rows: list[list[Cell]] = []
    for subject in subjects:
        cost = costs[subject.name]
        together = cost.calling + cost.elsewhere
        rows.append(
            [subject.label, cost.calling, cost.elsewhere, together, cost.written, cost.sent or None, cost.calls]
        )
    columns = (
        "per event", "CPU µs in the call", "CPU µs elsewhere", "together", "bytes written", "to the server",
        "system calls",
    )  # fmt: skip
    title = f"{bench.scale.cost_events:,} events with two properties, {_RATE:,} a second"
    return Report("cost", [Table("cost", title, columns, rows)], _goals(costs), notes=notes)


def _goals(costs: dict[str, _Cost]) -> list[Goal]:
    name = "cost: processor time of an event, ours over lotus-python's"
    if LOTUS_PYTHON.name not in costs:
        return [Goal(name, None, "at most", 1, "times", note="lotus-python was not measured")]
    ours, theirs = (costs[each.name].calling + costs[each.name].elsewhere for each in (DURABLE, LOTUS_PYTHON))
    return [Goal(name, ours / theirs, "at most", 1, "times", f"{ours:.1f} / {theirs:.1f} µs")]


def _cost(bench: Bench, subject: Subject) -> _Cost:
    few = max(1, bench.scale.cost_events // 2)
    once, thrice = _used(bench, subject, few), _used(bench, subject, 3 * few)
    seconds, elsewhere, written, sent = ((more - less) / (2 * few) for less, more in zip(once, thrice, strict=True))
    calls = None
    if shutil.which("strace"):
        calls = (_straced(bench, subject, 3 * _STRACED) - _straced(bench, subject, _STRACED)) / (2 * _STRACED)
    return _Cost(seconds * 1e6, elsewhere * 1e6, written, sent, calls)


def _used(bench: Bench, subject: Subject, events: int) -> tuple[float, float, float, float]:
    """Return what so many events took together: seconds in the thread that calls and elsewhere, bytes written, sent."""
    with (
        bench.folder() as folder,
        serving(keeps_numbers=True) as server,
        _tracked(bench, subject, server, folder, events) as pid,
    ):
        mine, flushers = Watched(pid), [Watched(each) for each in flushers_of(folder)]
        calling = mine.cpu_of_main_thread()
        elsewhere = mine.cpu_exactly() - calling + sum(each.cpu_exactly() for each in flushers)
        written = mine.written() + sum(each.written() for each in flushers)
        return calling, elsewhere, written, server.counts().bytes


@contextmanager
def _tracked(bench: Bench, subject: Subject, server: Server, folder: Path, events: int) -> Iterator[int]:
    """Have a process track so many events; give its number when they have arrived."""
    with tracking(bench, subject, server, folder, rate=_RATE, calls=events) as process:
        _wait_for_the_last(folder, events)
        if subject not in _SEND_NOTHING:
            arrived_at(server, accepted_in(folder))
        yield process.pid


def _wait_for_the_last(folder: Path, events: int) -> None:
    """Wait until the calls are made; what was noted of the last one tells."""
    while not (folder / "calls").exists() or not (folder / "calls").stat().st_size:
        time.sleep(_LOOK_INTERVAL)
    assert accepted_in(folder), f"none of {events} events was accepted"


def _straced(bench: Bench, subject: Subject, events: int) -> int:
    with bench.folder() as folder, NamedTemporaryFile("r", dir=folder.parent, encoding="utf-8") as said:
        before = ("strace", "-f", "-c", "-o", said.name)
        with (
            serving(keeps_numbers=True) as server,
            tracking(bench, subject, server, folder, rate=0, calls=events, before=before) as process,
        ):
            _wait_for_the_last(folder, events)
            if subject not in _SEND_NOTHING:
                arrived_at(server, accepted_in(folder))
            assert process.stdin is not None
            print("end", file=process.stdin, flush=True)  # a killed strace says nothing
            shutil.rmtree(folder / "queue", ignore_errors=True)  # the flusher ends, too
            process.wait(_END_TIMEOUT)
        return int(_TOTAL.findall(said.read())[0])
