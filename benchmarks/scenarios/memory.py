"""What a server pays in memory: eight workers that import, track and live, without preload, and who flushes for them.

Each client for itself, and it has sent its event when it is looked at.

Pages that several processes use are counted by shares (PSS), so the figures of processes add up.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import IO

from benchmarks.bench import Bench
from benchmarks.flushing import LIBRARIES
from benchmarks.loading import THIS_PYTHON
from benchmarks.report import Cell, Goal, Report, Table
from benchmarks.server import Server, serving
from benchmarks.subjects import DURABLE, DURABLE_BESIDE, LOTUS_PYTHON, OPENTELEMETRY, POSTHOG, SEGMENT, Subject
from benchmarks.surroundings import API_KEY, environment, flushers_of, only_benchmarks
from benchmarks.watched import Watched

_WORKERS = 8
_TIMEOUT = 60.0  # seconds
_LOOK_INTERVAL = 0.5  # seconds
_STILL = 0.1  # MB
_TRACK = (
    "import {module} as lotus; lotus.api_key = {key!r}; lotus.host = {host!r}; "
    "lotus.track_event(customer_id='customer-123', event_name='api_call', properties={{'region': 'US'}})"
)
_TRACK_THROUGH = (
    "from pathlib import Path; from benchmarks.subjects import Place, rivals; "
    "track = rivals.{name}(Place({host!r}, Path('.'))); track(1)"
)
_RIVALS = (SEGMENT, POSTHOG, OPENTELEMETRY)
_LIVE = "; import os, sys; print('ready', flush=True); sys.stdin.readline(); os._exit(0)"
_STANDARD = "import datetime, json, logging, threading, uuid"
"""What any worker has loaded already."""


@dataclass(frozen=True, slots=True)
class _Program:
    """Workers of one kind, and who flushes for them."""

    label: str
    code: str
    python: Path = THIS_PYTHON
    subject: Subject | None = None


@dataclass(frozen=True, slots=True)
class _Taken:
    """MB."""

    workers: float
    flusher: float

    @property
    def together(self) -> float:
        return self.workers + self.flusher


def run(bench: Bench) -> Report:
    subjects, notes = bench.available([DURABLE, DURABLE_BESIDE, LOTUS_PYTHON, *_RIVALS])
    found: dict[str, list[_Taken]] = {}
    above: list[tuple[float, float]] = []
    with serving() as server:
        programs = [_Program("a bare interpreter", "pass"), _Program("json, logging, threading …", _STANDARD)]
        programs += [_tracking(bench, subject, server) for subject in subjects]
        for _ in range(bench.scale.rounds):
            for program in programs:
                found.setdefault(program.label, []).append(_measured(bench, program, server))
            above.append(_flusher_beside_its_libraries(bench, programs[2], server))
    medians = {label: sorted(each, key=lambda taken: taken.together)[len(each) // 2] for label, each in found.items()}
    rows: list[Sequence[Cell]] = [
        (label, taken.workers / _WORKERS, taken.workers, taken.flusher, taken.together)
        for label, taken in medians.items()
    ]
    flusher, libraries = (median(each) for each in zip(*above, strict=True))
    title = f"{_WORKERS} workers that import it, track and live, and their flusher, MB (PSS)"
    return Report(
        "memory",
        [
            Table("memory", title, ("MB", "one worker", "workers", "flusher", "together"), rows),
            Table(
                "memory_flusher",
                "A flusher, and an interpreter that only imported its libraries, MB (PSS)",
                ("flusher", "its libraries", "above"),
                [(flusher, libraries, flusher - libraries)],
            ),
        ],
        [_goal_together(medians), _goal_above(flusher, libraries)],
        notes=notes,
    )


def _tracking(bench: Bench, subject: Subject, server: Server) -> _Program:
    if subject in _RIVALS:
        return _Program(subject.label, _TRACK_THROUGH.format(name=subject.name, host=server.url), subject=subject)
    module = "lotus" if subject is LOTUS_PYTHON else "lotus_durable"
    code = _TRACK.format(module=module, key=API_KEY, host=server.url)
    return _Program(subject.label, code, bench.python(subject), subject)


def _goal_together(found: dict[str, _Taken]) -> Goal:
    name, limit, unit = "memory: 8 workers and their flusher, of the build beside's", 0.62, "times"
    if DURABLE_BESIDE.label not in found:
        return Goal(name, None, "at most", limit, unit, note="no build beside (--beside)")
    ours, theirs = found[DURABLE.label].together, found[DURABLE_BESIDE.label].together
    floor = f"{found['a bare interpreter'].together:.0f} MB"
    return Goal(name, ours / theirs, "at most", limit, unit, f"{ours:.1f} / {theirs:.1f} MB", floor)


def _goal_above(flusher: float, libraries: float) -> Goal:
    floor = f"{libraries:.1f} MB"
    return Goal("memory: a flusher above its libraries", flusher - libraries, "at most", 3, "MB", floor=floor)


def _measured(bench: Bench, program: _Program, server: Server) -> _Taken:
    server.mark()
    with bench.folder() as folder, _working(program, folder, _WORKERS) as workers:
        if program.subject is not None:
            _wait_for_each(server, program.subject)
        return _Taken(_settled_shares(workers), _settled_shares(flushers_of(folder)))


def _wait_for_each(server: Server, subject: Subject) -> None:
    """Wait until every worker's event has arrived, or where the sink knows no event as many requests."""
    if subject not in _RIVALS:
        server.wait_for(_WORKERS, _TIMEOUT)
        return
    ends = time.monotonic() + _TIMEOUT
    while server.counts().requests < _WORKERS and time.monotonic() < ends:
        time.sleep(_LOOK_INTERVAL)


def _flusher_beside_its_libraries(bench: Bench, program: _Program, server: Server) -> tuple[float, float]:
    """Return the memory of a flusher that has sent one event, and that of its libraries alone, started as it is."""
    server.mark()
    with bench.folder() as folder, _working(program, folder, 1):
        server.wait_for(1, _TIMEOUT)
        libraries = f"import sys; sys.path += {sys.path!r}; {LIBRARIES}"
        with _working(_Program("libraries", libraries), folder, 1, "-I", "-S", "-X", "utf8") as interpreters:
            return _settled_shares(flushers_of(folder)), _settled_shares(interpreters)


def _settled_shares(processes: Sequence[int]) -> float:
    """Return what they take once that does not grow any more: some go on importing after their first event."""
    shares = float("-inf")
    ends = time.monotonic() + _TIMEOUT
    while (now := sum(Watched(process).share() for process in processes)) - shares > _STILL:
        if time.monotonic() > ends:
            raise TimeoutError(f"the memory of {len(processes)} processes grows for {_TIMEOUT:g} s")
        shares = now
        time.sleep(_LOOK_INTERVAL)
    return now


@contextmanager
def _working(program: _Program, folder: Path, count: int, *options: str) -> Iterator[list[int]]:
    """Have processes that run its code, and then do nothing."""
    found_in = {"PYTHONPATH": str(only_benchmarks())} if program.python != THIS_PYTHON else {}
    variables = environment(LOTUS_QUEUE_DIR=str(folder / "queue"), **found_in)
    command = [str(program.python), *options, "-c", program.code + _LIVE]
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(command, cwd=folder, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            )
            for _ in range(count)
        ]
        for process in processes:
            stack.callback(process.kill)
        for process in processes:
            _wait_until_ready(process.stdout)
        yield [process.pid for process in processes]


def _wait_until_ready(output: IO[bytes] | None) -> None:
    assert output is not None
    if not output.readline():
        raise RuntimeError("a worker failed; what it said is above")
