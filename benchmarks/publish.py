"""Writing a run's results into the documents: tables between marks, plots beside them.

A table goes where a document says ``<!-- benchmark: NAME -->``, up to ``<!-- end -->``. What the run did not make stays
as it is, and so do the results of it: each scenario says when it was run, and on what.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.plots import draw
from benchmarks.report import Goal, Table, as_markdown, goal_table
from benchmarks.summary import clients

_PLACE = re.compile(r"(?P<mark><!-- benchmark: (?P<name>\w+) -->\n).*?(?P<end><!-- end -->)", re.DOTALL)
_RESULTS = "benchmarks.json"
_DOCUMENT = "benchmarks.md"


def publish(results: dict[str, Any], folder: Path) -> list[Path]:
    """Write ``benchmarks.json``, the plots and the tables of ``benchmarks.md`` (and of the README beside the folder).

    Args:
        results: of a run; scenarios that ``benchmarks.json`` has and this run has not are kept.
        folder: of the documents.

    Returns:
        The files written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / _RESULTS]
    before = json.loads(written[0].read_text(encoding="utf-8")) if written[0].exists() else {"scenarios": {}}
    results = {"scenarios": {**before["scenarios"], **results["scenarios"]}}
    written[0].write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    tables = {table.name: as_markdown(table) for table in _tables(results)}
    for document in (folder / _DOCUMENT, folder.parent / "README.md"):
        if document.exists():
            text = document.read_text(encoding="utf-8")
            filled = fill_in(text, tables)
            if filled != text:
                document.write_text(filled, encoding="utf-8")
                written.append(document)
    return written + draw(results, folder)


def fill_in(text: str, tables: dict[str, str]) -> str:
    """Return ``text`` with each known table at its mark."""

    def place(match: re.Match[str]) -> str:
        table = tables.get(match["name"])
        return match[0] if table is None else f"{match['mark']}{table}\n{match['end']}"

    return _PLACE.sub(place, text)


def _tables(results: dict[str, Any]) -> Iterator[Table]:
    scenarios = results["scenarios"]
    yield from _machine_tables({name: each["machine"] for name, each in scenarios.items()})
    if (one := clients(results)) is not None:
        yield one
    for scenario in scenarios.values():
        yield from (Table(**table) for table in scenario["tables"])
    yield goal_table([_goal(found) for scenario in scenarios.values() for found in scenario["goals"]])


def _goal(found: dict[str, Any]) -> Goal:
    return Goal(**{name: value for name, value in found.items() if name not in ("ratio", "verdict")})


def _machine_tables(machines: Mapping[str, Mapping[str, Any]]) -> Iterator[Table]:
    """Return what the last run was measured on, and where each scenario differs from it."""
    last = max(machines.values(), key=lambda machine: str(machine["when"]))
    versions = ", ".join(f"{name} {version}" for name, version in last["versions"].items())
    rows = [
        ("machine", f"{_processor(last)}, {last['memory_mb']:,} MB"),
        ("system", f"{last['system']}, {last['file_system']}"),
        ("Python", f"{last['python']}, SQLite {last['sqlite']}"),
        ("packages", versions),
    ]
    yield Table("machine", "Machine", ("", "the last run"), rows)
    runs = [
        (name, machine["when"], machine["scale"], round(machine["load_average"], 1), _processor(machine))
        for name, machine in machines.items()
    ]
    yield Table("runs", "When, and on what", ("scenario", "when", "scale", "load average before", "processor"), runs)


def _processor(machine: Mapping[str, Any]) -> str:
    return f"{machine['processor']}, {machine['cores']} cores"
