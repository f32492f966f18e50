"""``python -m benchmarks``: run scenarios, print what they found, keep it, and say whether the goals are met."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.bench import Bench
from benchmarks.machine import describe
from benchmarks.report import Goal, Report, as_text, goal_table
from benchmarks.scale import FULL, QUICK, SCALES, Scale
from benchmarks.scenarios import GROUPS, SCENARIOS, scenario
from benchmarks.summary import clients

GOALS = "goals"

_EPILOG = "\n".join(
    [
        "scenarios:",
        *(f"  {name:14}{about}" for name, about in SCENARIOS.items()),
        *(f"  {name:14}{', '.join(names)}" for name, names in GROUPS.items()),
        f"  {GOALS:14}all of them, with --check",
        "",
        "Exit codes: 0 done; 1 with --check, a goal that was measured is missed; 2 wrong usage.",
    ]
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for and return the exit code."""
    chosen = _parser().parse_args(arguments)
    scale = replace(QUICK if chosen.quick else SCALES[chosen.scale], **dict(chosen.set))
    asked = {each for name in chosen.scenario for each in {**GROUPS, GOALS: tuple(SCENARIOS)}.get(name, (name,))}
    names = [name for name in SCENARIOS if not asked or name in asked]
    bench = Bench(scale, chosen.directory, rivals=chosen.rivals, beside=chosen.beside)
    results: dict[str, Any] = {"scenarios": {}}
    goals: list[Goal] = []
    for name in names:
        machine = {"scale": scale.name, **describe(chosen.directory)}
        report, seconds = _timed(name, bench)
        goals.extend(report.goals)
        results["scenarios"][name] = {**report.as_json(), "seconds": round(seconds, 1), "machine": machine}
        _show(report, seconds, scale)
    if (one := clients(results)) is not None:
        print(as_text(one), end="\n\n")
    print(as_text(goal_table(goals)))
    _keep(results, chosen.json, chosen.publish)
    return 1 if (chosen.check or GOALS in chosen.scenario) and any(goal.is_missed for goal in goals) else 0


def _timed(name: str, bench: Bench) -> tuple[Report, float]:
    print(f"{name}: {SCENARIOS[name]} ...", file=sys.stderr, flush=True)
    started = time.monotonic()
    return scenario(name)(bench), time.monotonic() - started


def _show(report: Report, seconds: float, scale: Scale) -> None:
    print(f"== {report.scenario} ({scale.name} scale, {seconds:.0f} s)\n")
    for table in report.tables:
        print(as_text(table), end="\n\n")
    for note in report.notes:
        print(f"note: {note}")
    if report.notes:
        print()
    sys.stdout.flush()


def _keep(results: dict[str, Any], file: Path | None, documents: Path | None) -> None:
    if file is not None:
        file.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"\nresults: {file}")
    if documents is not None:
        from benchmarks.publish import publish

        for written in publish(results, documents):
            print(f"written: {written}")


def _interpreter(text: str) -> Path:
    path = Path(text).absolute()  # not resolved: a virtual environment's is a link
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"there is no {path}")
    return path


def _size(text: str) -> tuple[str, object]:
    name, _, value = text.partition("=")
    default = getattr(FULL, name, None)
    try:
        if isinstance(default, tuple):
            return name, tuple(int(each) for each in value.split(","))
        if isinstance(default, int | float):
            return name, type(default)(value)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text} is no NAME=NUMBER, or NAME=NUMBER,NUMBER, of benchmarks/scale.py")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure lotus_durable beside other clients and beside the floor of this machine.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "scenario", nargs="*", choices=[[], *SCENARIOS, *GROUPS, GOALS], help="which ones; all if none is named"
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="all of it in two minutes, with rougher figures")
    size.add_argument("--scale", choices=SCALES, default=FULL.name, help=argparse.SUPPRESS)
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        type=_size,
        metavar="NAME=NUMBER",
        help="another size than the scale's (benchmarks/scale.py), such as short_lives=100 or backlogs=10000,5000000",
    )
    parser.add_argument("--no-rivals", dest="rivals", action="store_false", help="leave other people's clients out")
    parser.add_argument(
        "--beside",
        type=_interpreter,
        metavar="PYTHON",
        help="the interpreter of a virtual environment with another build, to be measured beside this one",
    )
    parser.add_argument("--check", action="store_true", help="exit with 1 when a goal is missed")
    parser.add_argument(
        "--directory",
        type=Path,
        default=Path(tempfile.gettempdir()),
        help="a folder on the file system to measure (default: %(default)s)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep everything that was found")
    parser.add_argument(
        "--publish",
        type=Path,
        metavar="DOCS",
        help="write benchmarks.json and the plots there, and the tables into benchmarks.md",
    )
    return parser
