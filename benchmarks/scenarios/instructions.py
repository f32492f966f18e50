"""Instructions of one call, counted by valgrind: they repeat from run to run, so a change can be told from noise.

What is done by the clock and not with each event is put off: the check of the segment every 50 ms, and the look twice a
second. A call takes fifty times as long here, so they would come fifty times as often.

The counts depend on the interpreter and on the libraries, so the committed baseline names both, and a run elsewhere is
shown beside it but not judged. After a change that is meant: ``python -m benchmarks.scenarios.instructions`` writes a
new baseline.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from benchmarks.bench import Bench
from benchmarks.load import Specification
from benchmarks.machine import describe
from benchmarks.report import Goal, Report, Table
from benchmarks.scale import QUICK
from benchmarks.subjects import DURABLE_EXTERNAL, FLOOR, Subject
from benchmarks.surroundings import environment

BASELINE = Path(__file__).parent.parent / "instructions.json"
_OURS = DURABLE_EXTERNAL
"""The same as the default but for the one event that starts a flusher."""
_SUBJECTS = (FLOOR, _OURS)
_COLLECTED = re.compile(r"I\s+refs:\s+([0-9,]+)")
_TIMEOUT = 300  # seconds
_TOLERANCE = 1.02
"""More than this over the baseline is a change, less is where the allocator happened to be."""


def run(bench: Bench) -> Report:
    if shutil.which("valgrind") is None:
        return Report("instructions", notes=["skipped: valgrind is not installed"])
    found = {subject.name: _instructions(bench, subject) for subject in _SUBJECTS}
    baseline = json.loads(BASELINE.read_text(encoding="utf-8")) if BASELINE.exists() else {"instructions": {}}
    known = baseline["instructions"]
    rows = [
        (subject.label, found[subject.name], known.get(subject.name), _ratio(found, known, subject.name))
        for subject in _SUBJECTS
    ]
    columns = ("instructions of one call", "now", "baseline", "now / baseline")
    goal, notes = _judged(bench, found, baseline)
    over_floor = Goal(
        "instructions: track_event over the floor",
        found[_OURS.name] / found[FLOOR.name],
        "at most",
        2.5,
        "times",
        f"{found[_OURS.name]:,} / {found[FLOOR.name]:,}",
        f"{found[FLOOR.name]:,} instructions",
    )
    tables = [Table("instructions", "Instructions", columns, rows)]
    return Report("instructions", tables, [over_floor, goal], dict(found), notes)


def _judged(bench: Bench, found: dict[str, int], baseline: dict[str, Any]) -> tuple[Goal, list[str]]:
    name, key = "instructions: track_event over the baseline", _OURS.name
    ratio = _ratio(found, baseline["instructions"], key)
    made = baseline.get("made_by")
    if ratio is None or made != _made_by(bench):
        reason = f"the baseline is of {made}, this is {_made_by(bench)}" if made else "there is no baseline"
        return Goal(name, None, "at most", _TOLERANCE, "times", note="not comparable"), [reason]
    return Goal(name, ratio, "at most", _TOLERANCE, "times", floor=f"{found[FLOOR.name]:,} instructions"), []


def _ratio(found: dict[str, int], known: dict[str, int], name: str) -> float | None:
    return found[name] / known[name] if name in known else None


def _made_by(bench: Bench) -> dict[str, Any]:
    machine = describe(bench.root)
    versions = machine["versions"]
    assert isinstance(versions, dict)
    return {"python": machine["python"], "msgpack": versions.get("msgpack")}


def _instructions(bench: Bench, subject: Subject) -> int:
    """Count two runs of different lengths: the difference is free of the interpreter's start."""
    calls = bench.scale.instruction_calls
    return (_count(bench, subject, 3 * calls) - _count(bench, subject, calls)) // (2 * calls)


def _count(bench: Bench, subject: Subject, calls: int) -> int:
    with bench.folder() as folder:
        specification = Specification(
            subject.opener,
            subject.options,
            "http://127.0.0.1:9",
            str(folder),
            str(folder / "calls"),
            calls,
            cold=True,
            by_the_clock=False,
        )
        done = subprocess.run(
            [
                *("valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"),
                *(sys.executable, "-m", "benchmarks.load", specification.encode()),
            ],
            env=environment(PYTHONHASHSEED="0", PYTHONDONTWRITEBYTECODE="1"),
            input="go\nend\n",
            capture_output=True,
            text=True,
            check=True,
            timeout=_TIMEOUT,
        )
    counted = _COLLECTED.search(done.stderr)
    assert counted is not None, done.stderr
    return int(counted.group(1).replace(",", ""))


def main() -> None:
    bench = Bench(QUICK, Path(gettempdir()))
    found = {subject.name: _instructions(bench, subject) for subject in _SUBJECTS}
    text = json.dumps({"made_by": _made_by(bench), "instructions": found}, indent=1)
    BASELINE.write_text(f"{text}\n", encoding="utf-8")
    print(f"{text}\nwritten: {BASELINE}")


if __name__ == "__main__":
    main()
