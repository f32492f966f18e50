"""The one table of a run: each client a column, and what matters of it in rows, whichever scenario has found it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.report import Cell, Table, shown
from benchmarks.subjects import DURABLE, FLOOR, LOTUS_PYTHON, OPENTELEMETRY, POSTHOG, SEGMENT

_CLIENTS = (FLOOR, DURABLE, LOTUS_PYTHON, SEGMENT, POSTHOG, OPENTELEMETRY)
_LOADS = {
    "calls_first": "burst from the first event",
    "calls_later": "burst after some seconds",
    "calls_steady": "1,000 calls/s",
    "calls_busy": "10,000 calls/s",
}
_LOST = (("lost when killed", "accepted, then killed"), ("lost in it", "accepted while down"))
_LOST_NAMES = ("events lost when killed, of", "events lost in an outage, of")
_COSTS = (
    ("together", "processor time of an event, µs"),
    ("bytes written", "bytes written for it"),
    ("system calls", "system calls for it"),
)

_Rows = Mapping[str, Mapping[str, Cell]]
"""By label, by column."""


def clients(results: Mapping[str, Any]) -> Table | None:
    """Return the table; None when the run has not made the calls of its clients."""
    tables = {table["name"]: _rows(table) for each in results["scenarios"].values() for table in each["tables"]}
    if "calls_first" not in tables:
        return None
    labels = [subject.label for subject in _CLIENTS if subject.label in tables["calls_first"]]
    rows: list[list[Cell]] = [["an event survives", *(tables["calls_first"][label]["survives"] for label in labels)]]
    for name, load in _LOADS.items():
        found = tables[name]
        rows += [[f"{load}: {column}, µs", *_cells(found, labels, column)] for column in ("p50", "p99", "p99.9")]
        rows.append([f"{load}: accepted / refused", *_pairs(found, labels, "calls", "refused", " / ")])
    if "losses" in tables:
        rows += [
            [name, *_pairs(tables["losses"], labels, lost, of, " of ")]
            for name, (lost, of) in zip(_LOST_NAMES, _LOST, strict=True)
        ]
    if "memory" in tables:
        rows.append(["memory of 8 workers and who flushes, MB", *_cells(tables["memory"], labels, "together")])
    if "cost" in tables:
        rows += [[name, *_cells(tables["cost"], labels, column)] for column, name in _COSTS]
    return Table("clients", "Clients", ("", *labels), rows)


def _rows(table: Mapping[str, Any]) -> dict[str, dict[str, Cell]]:
    return {row[0]: dict(zip(table["columns"], row, strict=True)) for row in table["rows"]}


def _cells(found: _Rows, labels: list[str], column: str) -> list[Cell]:
    return [found[label][column] if label in found else None for label in labels]


def _pairs(found: _Rows, labels: list[str], one: str, other: str, between: str) -> list[Cell]:
    """Return two figures of each client in one cell; none where the first is not there."""
    pairs = zip(_cells(found, labels, one), _cells(found, labels, other), strict=True)
    return [None if first is None else f"{shown(first)}{between}{shown(second)}" for first, second in pairs]
