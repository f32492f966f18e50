"""What ``import`` costs a program that may never track: wall time, memory, and what else it loads."""

from __future__ import annotations

import subprocess
import sys
import time
from statistics import median

from benchmarks.bench import Bench
from benchmarks.child import in_child
from benchmarks.report import Goal, Report, Table
from benchmarks.surroundings import environment
from benchmarks.watched import Watched

_BARE = "nothing"
_PROGRAMS = {
    _BARE: "pass",
    "lotus_durable": "import lotus_durable",
    "lotus_durable and its first event": (
        "import lotus_durable as lotus; lotus.send = False; "
        "lotus.track_event(customer_id='customer-123', event_name='api_call')"
    ),
    "requests": "import requests",
    "segment": "import segment.analytics",
    "posthog": "import posthog",
    "OpenTelemetry SDK": "import opentelemetry.sdk.trace, opentelemetry.sdk.trace.export",
}
_HEAVY = ("requests", "urllib3", "sqlite3", "persistqueue", "filelock", "asyncio", "json")


def run(bench: Bench) -> Report:
    times: dict[str, list[float]] = {
        name: [] for name in _PROGRAMS if bench.rivals or name.startswith((_BARE, "lotus"))
    }
    failing: set[str] = set()
    for turn in range(bench.scale.imports + 1):
        for name, found in times.items():  # one after the other, so that all meet the same machine
            seconds = _run(_PROGRAMS[name])
            if seconds is None:
                failing.add(name)
            elif turn:  # the first one may have compiled
                found.append(seconds)
    measured = {name: median(found) for name, found in times.items() if name not in failing}
    loaded = in_child("benchmarks.scenarios.imports:import_lotus_durable")
    bare = measured[_BARE]
    rows = [(name, seconds * 1e3, (seconds - bare) * 1e3) for name, seconds in measured.items()]
    return Report(
        "imports",
        [
            Table("imports", "A program that imports", ("program", "wall ms", "above nothing ms"), rows),
            Table(
                "imports_memory",
                "What import lotus_durable adds to a bare interpreter",
                ("modules", "memory MB"),
                [(loaded["modules"], loaded["memory"])],
            ),
        ],
        [
            Goal(
                "import: wall time",
                (measured["lotus_durable"] - bare) * 1e3,
                "at most",
                20,
                "ms",
                "above a bare interpreter",
            ),
            Goal(
                "import: heavy modules loaded",
                len(loaded["heavy"]),
                "at most",
                0,
                "modules",
                ", ".join(loaded["heavy"]) or f"none of {', '.join(_HEAVY)}",
            ),
        ],
        {"seconds": times},
        [f"skipped {name}: it cannot be imported here" for name in sorted(failing)],
    )


def _run(program: str) -> float | None:
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", program], env=environment(), capture_output=True, check=False)
    return time.monotonic() - started if done.returncode == 0 else None


def import_lotus_durable() -> dict[str, object]:
    """Import it in this process and return what that did."""
    before, modules = Watched().memory(), set(sys.modules)
    import lotus_durable  # noqa: F401  # this is what is looked at

    new = set(sys.modules) - modules
    return {
        "memory": Watched().memory() - before,
        "modules": len(new),
        "heavy": [name for name in _HEAVY if name in new],
    }
