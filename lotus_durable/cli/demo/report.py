"""The demo's result: one table for people, one object for programs."""

from __future__ import annotations

import os
from typing import Any

from lotus_durable.cli.output import aligned, say
from lotus_durable.cli.status import stats_as_json
from lotus_durable.cli.wording import count

from .judge import Judgement
from .plan import Plan
from .stage import Performance

_LOST = "lost"
_SHOWN_IDS = 100


def rows(plan: Plan, judgement: Judgement, performance: Performance) -> list[tuple[str, str, str]]:
    """Return (name, figure, remark) for each line of the table."""
    accepted, takeovers = performance.accepted, performance.takeovers
    failures = sum(performance.failures.values())
    table = [
        ("accepted", count(judgement.accepted), "by the workers' own records"),
        ("delivered", count(judgement.delivered), "by the server's own list"),
        ("parked", count(judgement.parked), "kept: their customer does not exist"),
        ("dead-lettered", count(judgement.dead_lettered), "kept: the server refuses them for good"),
        (_LOST, count(len(judgement.lost)), ""),
        ("duplicates dropped", count(judgement.duplicates), "by the server, which knows their ids"),
        (
            "kills survived",
            count(performance.worker_kills + performance.leader_kills),
            f"SIGKILL: {count(performance.worker_kills, 'worker')}, {count(performance.leader_kills, 'leader')}",
        ),
        ("server failures", count(failures), f"in {count(performance.requests, 'request')}"),
        ("slowest takeover", f"{max(takeovers) * 1000:.0f} ms" if takeovers else "none", _takeover_remark(takeovers)),
        ("enqueue p50", f"{accepted.percentile(0.5):.0f} µs", f"inside track_event, in {plan.workers} processes"),
        ("enqueue p99", f"{accepted.percentile(0.99):.0f} µs", ""),
    ]
    if judgement.pending:
        table.insert(4, ("pending", count(judgement.pending), "still in the queue"))
    return table


def say_table(table: list[tuple[str, str, str]], verdict: str, *, is_good: bool, with_colour: bool) -> None:
    """Write the table and the verdict to standard output; with rich, if it is there and somebody looks."""
    if with_colour:
        try:
            _say_with_rich(table, verdict, is_good=is_good)
        except ImportError:
            pass
        else:
            return
    say(f"{aligned(table)}\n\n{verdict}")


def _say_with_rich(table: list[tuple[str, str, str]], verdict: str, *, is_good: bool) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    colour = "bold green" if is_good else "bold red"
    grid = Table(box=box.ROUNDED, show_header=False)
    grid.add_column(style="bold")
    grid.add_column(justify="right")
    grid.add_column(style="dim")
    for name, figure, remark in table:
        grid.add_row(name, Text(figure, style=colour if name == _LOST else ""), remark)
    console = Console()
    console.print()
    console.print(grid)
    console.print(Text(verdict, style=colour))


def verdict_in_words(judgement: Judgement, performance: Performance, how: str) -> str:
    """Say in a few lines how it went.

    Args:
        judgement: of the events.
        performance: what else was seen.
        how: how long it took, and what is needed to play it again.
    """
    if not judgement.is_good:
        return "\n".join([*(f"NOT as promised: {problem}" for problem in judgement.problems), f"({how})"])
    books = performance.evidence.books
    lines = [
        f"Nothing was lost. ({how})",
        (
            f"The queue's own books agree: {count(books.accepted)} accepted = {count(books.delivered)} delivered + "
            f"{count(books.parked)} parked + {count(books.dead_lettered)} dead-lettered."
        ),
    ]
    if judgement.unrecorded:
        lines.append(
            f"({count(judgement.unrecorded)} of these: accepted when the worker was killed, before it recorded that.)"
        )
    return "\n".join(lines)


def as_json(
    plan: Plan, judgement: Judgement, performance: Performance, *, seconds: float, directory: os.PathLike[str] | None
) -> dict[str, Any]:
    """Return the documented keys."""
    accepted, takeovers = performance.accepted, performance.takeovers
    return {
        "ok": judgement.is_good,
        "accepted": judgement.accepted,
        "delivered": judgement.delivered,
        "parked": judgement.parked,
        "dead_lettered": judgement.dead_lettered,
        "pending": judgement.pending,
        "lost": len(judgement.lost),
        "lost_ids": judgement.lost[:_SHOWN_IDS],
        "unrecorded": judgement.unrecorded,
        "duplicates": judgement.duplicates,
        "kills": {"workers": performance.worker_kills, "leaders": performance.leader_kills},
        "recycled": performance.recycled,
        "takeover_seconds": {"slowest": max(takeovers, default=None), "all": takeovers},
        "enqueue_microseconds": {"p50": accepted.percentile(0.5), "p99": accepted.percentile(0.99)},
        "requests": performance.requests,
        "server_failures": performance.failures,
        "workers": plan.workers,
        "seed": plan.seed,
        "seconds": seconds,
        "problems": judgement.problems,
        "books": stats_as_json(performance.evidence.books),
        "directory": None if directory is None else os.fspath(directory),
    }


def _takeover_remark(takeovers: tuple[float, ...]) -> str:
    if len(takeovers) < 2:  # noqa: PLR2004  # one is the slowest one
        return ""
    return f"fastest {min(takeovers) * 1000:.0f} ms, kill to first heartbeat"
