"""What a scenario finds: tables of figures, series for the plots, and goals that are met, missed or out of reach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Cell = str | int | float | None
Sense = Literal["at most", "at least"]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of one kind. Numbers are rounded when shown."""

    name: str
    """Short and unique: the mark in the documents where it goes."""
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True, slots=True)
class Goal:
    """One claim and its figure.

    ``value`` is compared with ``limit``; where the goal is a ratio, ``value`` is it, and ``of`` names its two sides.
    """

    name: str
    value: float | None
    """None: it could not be measured, see ``note``. Neither met nor missed."""
    sense: Sense
    limit: float
    unit: str
    of: str = ""
    floor: str = ""
    """What the machine can do at best, measured in the same run, where there is such a thing."""
    value_of_floor: float | None = None
    """What ``value`` would be with the floor in our place; None where the two cannot be compared. A goal that the floor
    misses in the same run can be met by no program, so it is not missed but out of reach."""
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """How many times better than asked for: 1 is just met."""
        return None if self.value is None else self._ratio_of(self.value)

    @property
    def is_missed(self) -> bool:
        return self.verdict == "MISSED"

    @property
    def verdict(self) -> str:
        if self.value is None:
            return "not measured"
        if self._ratio_of(self.value) >= 1:
            return "met"
        is_out_of_reach = self.value_of_floor is not None and self._ratio_of(self.value_of_floor) < 1
        return "out of reach: the floor misses it too" if is_out_of_reach else "MISSED"

    def _ratio_of(self, value: float) -> float:
        if self.sense == "at least":
            return value / self.limit
        return self.limit / value if value > 0 else float("inf")


@dataclass(frozen=True, slots=True)
class Report:
    """Everything of one scenario."""

    scenario: str
    tables: Sequence[Table] = ()
    goals: Sequence[Goal] = ()
    series: dict[str, Any] = field(default_factory=dict)
    """Points for the plots, JSON values."""
    notes: Sequence[str] = ()
    """What was left out, and why."""

    def as_json(self) -> dict[str, Any]:
        """Return JSON values; the goals with their verdicts."""
        goals = [{**asdict(goal), "ratio": goal.ratio, "verdict": goal.verdict} for goal in self.goals]
        return {**asdict(self), "goals": goals}


GOAL_COLUMNS = ("goal", "value", "asked for", "ratio", "floor", "verdict")


def goal_table(goals: Sequence[Goal]) -> Table:
    """Return the goals as a table."""
    return Table("goals", "Goals", GOAL_COLUMNS, [_goal_row(goal) for goal in goals])


def _goal_row(goal: Goal) -> list[Cell]:
    value = goal.note if goal.value is None else f"{shown(goal.value)} {goal.unit}"
    return [
        goal.name,
        f"{value} ({goal.of})" if goal.of else value,
        f"{goal.sense} {shown(goal.limit)} {goal.unit}",
        "" if goal.ratio is None else f"{goal.ratio:.2f}",
        goal.floor,
        goal.verdict,
    ]


def shown(cell: Cell) -> str:
    """Write a number with three digits that count, thousands apart."""
    if cell is None:
        return ""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, int) or abs(cell) >= 100:
        return f"{cell:,.0f}"
    return f"{cell:.1f}" if abs(cell) >= 10 else f"{cell:.2f}"


def as_text(table: Table) -> str:
    """Write a table for a terminal."""
    return "\n".join([table.title, *_lines(table, "  ")])


def as_markdown(table: Table) -> str:
    """Write a table for a document, without its title."""
    rows = [list(table.columns), *([shown(cell) for cell in row] for row in table.rows)]
    rule = "|".join(" --- " if index == 0 else " ---: " for index in range(len(table.columns)))
    written = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([written[0], f"|{rule}|", *written[1:]])


def _lines(table: Table, gap: str) -> list[str]:
    rows = [list(table.columns), *([shown(cell) for cell in row] for row in table.rows)]
    widths = [max(len(row[index]) for row in rows) for index in range(len(table.columns))]
    return [
        gap
        + gap.join(
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
