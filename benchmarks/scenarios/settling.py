"""A settlement: the transaction after each request, and what a drain makes of it, beside another build."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.bench import Bench
from benchmarks.flushing import flushing
from benchmarks.report import Goal, Report, Table
from benchmarks.server import Server, serving
from benchmarks.settle import BATCH
from benchmarks.surroundings import environment, only_benchmarks

_TIMEOUT = 300  # seconds
_START_TIMEOUT, _LEAST_RATE = 60.0, 5_000  # seconds; events/s
_TURNS = 3
_NO_BUILD = "no build beside (--beside)"
_OURS, _BESIDE = "lotus_durable", "the build beside"


@dataclass(frozen=True, slots=True)
class _Found:
    microseconds: list[float]
    calls: float | None
    """System calls of one settlement; None where strace is missing."""

    @property
    def typical(self) -> float:
        return median(self.microseconds)


def run(bench: Bench) -> Report:
    without, notes = _settled(bench, None, ids=False), []
    with_ids = _settled(bench, None, ids=True)
    beside = None if bench.beside is None else _settled(bench, bench.beside, ids=False)
    if without.calls is None:
        notes.append("system calls are not counted: strace is not installed")
    builds: dict[str, Path | None] = {_OURS: None}
    if bench.beside is not None:
        builds[_BESIDE] = bench.beside
    turns: dict[str, list[float]] = {name: [] for name in builds}
    with serving(generation="2024") as server:
        for _ in range(_TURNS):  # in turn: the machine is never quite still
            for name, python in builds.items():
                turns[name].append(drained(bench, python, server, bench.scale.settled_backlog // _TURNS))
    rates = {name: median(found) for name, found in turns.items()}
    named = ((_OURS, without), (f"{_OURS}, with ids to remember", with_ids), (_BESIDE, beside))
    rows = [
        (name, found.typical, sorted(found.microseconds)[int(len(found.microseconds) * 0.99)], found.calls)
        for name, found in named
        if found is not None
    ]
    columns = ("settlement of 500 events", "p50 µs", "p99 µs", "system calls")
    events = bench.scale.settled_backlog // _TURNS
    return Report(
        "settling",
        [
            Table("settling", "Settlements", columns, rows),
            Table("settling_drain", f"Drain of {events:,} events", ("build", "events/s"), list(rates.items())),
        ],
        _goals(without, with_ids, beside, rates),
        {},
        notes,
    )


def _goals(without: _Found, with_ids: _Found, beside: _Found | None, rates: dict[str, float]) -> list[Goal]:
    def over(found: _Found) -> tuple[float | None, str]:
        if beside is None:
            return None, ""
        return found.typical / beside.typical, f"{found.typical:.0f} / {beside.typical:.0f} µs"

    note = _NO_BUILD if beside is None else ""
    drain = rates[_OURS] / rates[_BESIDE] if _BESIDE in rates else None
    of = f"{rates[_OURS]:,.0f} / {rates[_BESIDE]:,.0f} events/s" if _BESIDE in rates else ""
    return [
        Goal("settling: a settlement, over the build beside's", over(without)[0], "at most", 0.35, "times",
             over(without)[1], note=note),
        Goal("settling: with ids to remember, over the build beside's", over(with_ids)[0], "at most", 1, "times",
             over(with_ids)[1], note=note),
        Goal("settling: system calls", without.calls, "at most", 10, "calls"),
        Goal("settling: system calls with ids", with_ids.calls, "at most", 26, "calls"),
        Goal("settling: drain, over the build beside's", drain, "at least", 1.3, "times", of, note=note),
    ]  # fmt: skip


def _settled(bench: Bench, python: Path | None, *, ids: bool) -> _Found:
    """Settle in a process of its own; under strace twice, so that what the rest of it takes can be taken off."""
    count = bench.scale.settlements
    with bench.folder() as folder:
        queue = folder / "queue"
        _run(python, "track", str(queue), "http://127.0.0.1:9", str(count * 2 * BATCH))
        copies = [shutil.copytree(queue, folder / name) for name in ("once", "twice")]
        took = json.loads(_run(python, "settle", str(queue), str(count * 2), str(int(ids))))
        calls = None
        if shutil.which("strace"):
            once, twice = (_calls(python, copy, count * (turn + 1), ids=ids) for turn, copy in enumerate(copies))
            calls = (twice - once) / count
    return _Found([seconds * 1e6 for seconds in took], calls)


def _calls(python: Path | None, queue: Path, settlements: int, *, ids: bool) -> int:
    with tempfile.NamedTemporaryFile() as said:
        before = ("strace", "-f", "-c", "-o", said.name)
        _run(python, "settle", str(queue), str(settlements), str(int(ids)), before=before)
        [total] = re.findall(r"^100\.00\s+\S+\s+\S+\s+(\d+).*total$", Path(said.name).read_text(), re.MULTILINE)
        return int(total)


def _run(python: Path | None, *arguments: str, before: tuple[str, ...] = ()) -> str:
    command = [*before, str(python or sys.executable), "-m", "benchmarks.settle", *arguments]
    variables = environment(LOTUS_FLUSHER="external", LOTUS_UPLOADER="external")
    if python is not None:
        variables["PYTHONPATH"] = str(only_benchmarks())
    done = subprocess.run(
        command, env=variables, cwd=only_benchmarks(), check=True, stdout=subprocess.PIPE, text=True, timeout=_TIMEOUT
    )
    return done.stdout


def drained(bench: Bench, python: Path | None, server: Server, events: int) -> float:
    """Return the events a second of a flusher's whole way through a backlog that a client of its build has tracked."""
    with bench.folder() as folder:
        queue = folder / "queue"
        _run(python, "track", str(queue), server.url, str(events))
        server.mark()
        with flushing(queue, server, python=python):
            counts = server.wait_for(events, _START_TIMEOUT + events / _LEAST_RATE)
        assert counts.first is not None
        assert counts.last is not None
        return events / (counts.last - counts.first)
