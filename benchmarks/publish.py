"""Writing a run's results into the documents: tables between marks, plots beside them.

A table goes where a document says ``<!-- benchmark: NAME -->``, up to ``<!-- end -->``. A table that the run did not
make stays as it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
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

    Returns:
        The files written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / _RESULTS]
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
    yield _machine_table(results)
    if (one := clients(results)) is not None:
        yield one
    goals = []
    for scenario in results["scenarios"].values():
        yield from (Table(**table) for table in scenario["tables"])
        goals += [_goal(found) for found in scenario["goals"]]
    if len(results["scenarios"]) > 1:  # else it would be a list of a few that hides the others
        yield goal_table(goals)


def _goal(found: dict[str, Any]) -> Goal:
    return Goal(**{name: value for name, value in found.items() if name not in ("ratio", "verdict")})


def _machine_table(results: dict[str, Any]) -> Table:
    machine = results["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    rows = [
        (
            "when",
            f"{machine['when']}, {results['scale']} scale, load average at the start {machine['load_average']:.1f}",
        ),
        ("machine", f"{machine['processor']}, {machine['cores']} cores, {machine['memory_mb']:,} MB"),
        ("system", f"{machine['system']}, {machine['file_system']}"),
        ("Python", f"{machine['python']}, SQLite {machine['sqlite']}"),
        ("packages", versions),
    ]
    return Table("machine", "Machine", ("", "measured on"), rows)
