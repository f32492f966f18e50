"""The tables of a run, for a terminal and for the document."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.machine import describe
from benchmarks.publish import fill_in
from benchmarks.report import Cell, Table, as_markdown, as_text

from .oracle import RESTORED
from .run import Outcome
from .strikes import STRIKES, WORLD


def as_lines(outcome: Outcome) -> list[str]:
    """Return what is printed at the end."""
    return [line for table in _tables(outcome) for line in ("", as_text(table))]


def publish(outcome: Outcome, document: Path, arguments: Sequence[str]) -> None:
    """Fill in the tables that the document has marks for (see ``benchmarks.publish``)."""
    made = {table.name: as_markdown(table) for table in [_machine(document, arguments), *_tables(outcome)]}
    document.write_text(fill_in(document.read_text(encoding="utf-8"), made), encoding="utf-8")


def _tables(outcome: Outcome) -> list[Table]:
    struck, missed = outcome.tally.struck, outcome.tally.missed
    strikes: list[list[Cell]] = [
        [name, struck[name], missed[name], each.about]
        for name, each in {**STRIKES, **WORLD}.items()
        if name not in outcome.plan.without
    ]
    return [
        Table("chaos_results", "What came of it", ("", "figure", "promised"), list(_results(outcome))),
        Table("chaos_strikes", "Strikes", ("strike", "times", "found nobody", "what it is"), strikes),
        Table("chaos_faults", "What the server did", ("fault", "times"), sorted(outcome.faults.items())),
    ]


def _results(outcome: Outcome) -> Iterator[list[Cell]]:
    tally, compared, plan = outcome.tally, outcome.comparison, outcome.plan
    yield ["seed, server, workers", f"{plan.seed}, {plan.generation}, {plan.workers}", ""]
    yield ["minutes", f"{outcome.seconds / 60:.1f}", ""]
    yield ["requests", outcome.requests, ""]
    yield ["SIGKILLs", tally.kills, ""]
    yield ["of these, of flushers", len(tally.flusher_kills), ""]
    yield ["events attempted", compared.attempted, ""]
    yield ["events acknowledged", compared.acknowledged, ""]
    yield ["events found", compared.found, ""]
    yield ["in the server's database", compared.in_database, ""]
    yield ["**lost**", len(compared.lost), "0"]
    yield ["**never tracked**", compared.never_tracked, "0"]
    for name, events in sorted(compared.destroyed.items()):
        yield [f"destroyed by hand: {name}", events, "counted" if name == RESTORED else "counted, told"]
    yield ["lost with a process's memory while the disk was full", compared.lost_from_memory, "documented"]
    yield ["received again by the server, for all causes", compared.sent_again, "in the database once"]
    yield ["most requests at once", compared.most_at_once, "1 on L22"]
    yield _times("from a kill of who flushes to the next delivery", compared.takeovers)
    yield _times("from a kill of one that starts", compared.takeovers_of_starting)
    yield _times("all settled, when all was well", sorted(tally.recoveries))
    yield ["problems", len(outcome.problems), "0"]


def _times(name: str, seconds: Sequence[float]) -> list[Cell]:
    if not seconds:
        return [name, "-", ""]
    p50, p99 = (seconds[math.ceil(len(seconds) * part) - 1] for part in (0.5, 0.99))
    return [f"{name}, p50 / p99 / max", f"{p50:.2f} / {p99:.2f} / {seconds[-1]:.2f} s ({len(seconds)})", ""]


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
