"""A process that tracks at a pace and notes which events were accepted, and which of them the server has got."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.load import Specification
from benchmarks.server import Server
from benchmarks.subjects import Subject
from benchmarks.surroundings import ROOT, environment, only_benchmarks

_LOOK_INTERVAL = 0.1  # seconds
_QUIET = 8.0
"""Seconds without a new event after which no more are waited for."""


@contextmanager
def tracking(
    bench: Bench, subject: Subject, server: Server, folder: Path, *, rate: int, calls: int, before: Sequence[str] = ()
) -> Iterator[subprocess.Popen[str]]:
    """Have a process track that notes what was accepted; it goes on living when it is done, until this is left.

    Args:
        bench: the run.
        subject: what tracks.
        server: where to.
        folder: of the subject.
        rate: calls a second.
        calls: how many.
        before: what the command line begins with, strace for example.
    """
    specification = Specification(
        subject.opener,
        subject.options,
        server.url,
        str(folder),
        str(folder / "calls"),
        calls,
        rate=float(rate),
        cold=True,
        accepted=str(folder / "accepted"),
    )
    python = bench.python(subject)
    found_in = ROOT if subject.environment == "own" else only_benchmarks()
    command = [*before, str(python), "-m", "benchmarks.load", specification.encode()]
    with (
        (folder / "said").open("w") as said,
        subprocess.Popen(
            command,
            cwd=found_in,
            env=environment(PYTHONPATH=str(found_in)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            if not process.stdout.readline():
                raise RuntimeError(f"{subject.label} failed: {(folder / 'said').read_text()[-2_000:]}")
            print("go", file=process.stdin, flush=True)
            yield process
        finally:
            process.kill()


def accepted_in(folder: Path) -> set[int]:
    """Return the numbers of the events that were accepted."""
    return {number for number, byte in enumerate((folder / "accepted").read_bytes()) if byte}


def arrived_at(server: Server, wanted: set[int], pause: float = 0.0) -> set[int]:
    """Return which events have arrived, when all have or no more come.

    Args:
        server: where to.
        wanted: their numbers.
        pause: the longest that a client makes between two tries, in seconds.
    """
    arrived = server.numbers()
    ends = time.monotonic() + _QUIET + pause
    while not wanted <= arrived and time.monotonic() < ends:
        time.sleep(_LOOK_INTERVAL)
        more = server.numbers()
        if len(more) > len(arrived):
            ends = time.monotonic() + _QUIET + pause
        arrived = more
    return arrived
