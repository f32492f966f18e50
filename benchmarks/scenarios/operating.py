"""What an operator's commands take on a large queue: time, and memory that does not grow with it."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.backlog import fill
from benchmarks.bench import Bench
from benchmarks.report import Goal, Report, Table
from benchmarks.surroundings import environment
from lotus_durable.queue.directory import QueueDirectory

_FEW = 10_000
_MOST = 1_000_000
_TURNS = 5


_PROGRAM = """
import re, sys
from lotus_durable.cli import main
code = main(sys.argv[2:])
with open("/proc/self/status") as status, open(sys.argv[1], "w") as peak:
    peak.write(re.search(r"VmHWM:\\s+(\\d+)", status.read())[1])
sys.exit(code)
"""
"""The command, and the most memory that it had. What wait4 says of that begins with its parent's."""


@dataclass(frozen=True)
class Taken:
    seconds: float
    peak: int
    """Bytes of memory."""
    output: str


def run(bench: Bench) -> Report:
    events = min(_MOST, bench.scale.backlogs[-1])
    few = min(_FEW, events // 10)
    with bench.folder() as folder:
        small = _commands(folder / "small", few)
        large = _commands(folder / "large", events)
        size = sum(path.stat().st_size for path in Path(QueueDirectory(folder / "large").journal).iterdir())
    names = list(large)
    rows = [
        (
            name,
            large[name].seconds,
            _rate(name, events, size, large[name].seconds),
            small[name].peak / 1e6,
            large[name].peak / 1e6,
        )
        for name in names
    ]
    grown = max(large[name].peak - small[name].peak for name in ("status", "check", "export"))
    checked = json.loads(large["check"].output)
    return Report(
        "operating",
        [
            Table(
                "operating",
                f"Commands on a queue with {events:,} pending",
                ("command", "s", "rate", f"MB with {few:,}", f"MB with {events:,}"),
                rows,
            )
        ],
        [
            Goal(f"status with {events:,} pending", large["status"].seconds, "at most", 1.0, "s"),
            Goal("check", checked["bytes"] / 1e6 / large["check"].seconds, "at least", 100.0, "MB/s"),
            Goal(
                "memory of status, check and export, more than on a small queue",
                max(0.0, grown / 1e6),
                "at most",
                5.0,
                "MB",
            ),
        ],
    )


def _rate(name: str, events: int, size: int, seconds: float) -> str:
    if name == "status":
        return ""
    return f"{size / 1e6 / seconds:,.0f} MB/s" if name == "check" else f"{events / seconds:,.0f} events/s"


def _commands(queue: Path, events: int) -> dict[str, Taken]:
    fill(queue, events)
    exported = queue.parent / f"{queue.name}.jsonl"
    other = queue.parent / f"{queue.name}-imported"
    return {
        "status": _best("status", "--json", "--queue-dir", str(queue)),
        "check": _best("check", "--json", "--queue-dir", str(queue)),
        "export": _taken("export", "--output", str(exported), "--queue-dir", str(queue)),
        "import": _taken("import", str(exported), "--queue-dir", str(other)),
        "backup": _taken("backup", str(queue.parent / f"{queue.name}-copy"), "--queue-dir", str(queue)),
        "erase a customer that has none": _taken("erase", "--customer", "x", "--yes", "--queue-dir", str(queue)),
    }


def _best(*arguments: str) -> Taken:
    """Run a command that takes a second and changes nothing a few times: what else runs only adds to what it takes."""
    return min((_taken(*arguments) for _ in range(_TURNS)), key=lambda taken: taken.seconds)


def _taken(*arguments: str) -> Taken:
    """Run a command and return what it took."""
    with tempfile.NamedTemporaryFile("r") as peak:
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM, peak.name, *arguments],
            env=environment(),
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        seconds = time.perf_counter() - began
        return Taken(seconds, int(peak.read()) * 1024, done.stdout)
