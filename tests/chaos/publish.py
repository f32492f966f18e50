"""Writing a run's tables into a document, between its marks."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from benchmarks.machine import describe
from benchmarks.publish import fill_in
from benchmarks.report import Table, as_markdown

from .run import Outcome
from .table import tables


def publish(outcome: Outcome, document: Path, arguments: Sequence[str]) -> None:
    """Fill in the tables that the document has marks for (see ``benchmarks.publish``)."""
    made = {table.name: as_markdown(table) for table in [_machine(document, arguments), *tables(outcome)]}
    document.write_text(fill_in(document.read_text(encoding="utf-8"), made), encoding="utf-8")


def _machine(document: Path, arguments: Sequence[str]) -> Table:
    machine = describe(document.parent)
    versions = machine["versions"]
    assert isinstance(versions, dict)
    rows = [
        ("when", str(machine["when"])),
        ("command", f"`{shlex.join(['python', '-m', 'tests.chaos', *arguments])}`"),
        ("machine", f"{machine['processor']}, {machine['cores']} cores, {machine['memory_mb']} MB"),
        ("system", str(machine["system"])),
        ("Python, SQLite", f"{machine['python']}, {machine['sqlite']}"),
        ("commit", str(machine["commit"])),
        ("packages", ", ".join(f"{name} {version}" for name, version in versions.items())),
    ]
    return Table("chaos_machine", "Machine", ("", "measured on"), rows)
