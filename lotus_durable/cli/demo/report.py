"""The demo's result: one table for people, one object for programs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from lotus_durable.cli.output import aligned, say
from lotus_durable.cli.wording import count

from .judge import Judgement
from .play import Played

_SHOWN_IDS = 100

Rows = list[tuple[str, str, str]]


def say_result(judgement: Judgement, played: Played, seconds: float, folder: Path | None) -> None:
    """Write the table and the verdict to standard output, in colour where somebody looks and rich is installed."""
    table = _rows(judgement, played)
    verdict = "\n".join(_verdict(judgement, seconds, folder))
    if sys.stdout.isatty():
        try:
            _say_with_rich(table, verdict, is_good=judgement.is_good)
        except ImportError:
            pass
        else:
            return
    say(f"{aligned(table)}\n\n{verdict}")


def as_json(judgement: Judgement, played: Played, seconds: float, folder: Path | None) -> dict[str, Any]:
    """Return the documented keys."""
    after = played.new_flusher_after
    return {
        "ok": judgement.is_good,
        "tracked": judgement.tracked,
        "at_server": judgement.at_server,
        "lost": len(judgement.lost),
        "lost_ids": judgement.lost[:_SHOWN_IDS],
        "never_tracked": len(judgement.never_tracked),
        "never_tracked_ids": judgement.never_tracked[:_SHOWN_IDS],
        "in_doubt": len(judgement.in_doubt),
        "duplicates": len(judgement.duplicates),
        "duplicate_ids": judgement.duplicates[:_SHOWN_IDS],
        "kills": {"workers": played.worker_kills, "flushers": played.flusher_kills},
        "new_flusher_after": {"slowest": max(after, default=None), "all": after},
        "seconds": seconds,
        "problems": judgement.problems,
        "directory": None if folder is None else str(folder),
    }


def _rows(judgement: Judgement, played: Played) -> Rows:
    after = played.new_flusher_after
    kills = f"{count(played.flusher_kills, 'flusher')}, {count(played.worker_kills, 'worker')}"
    rows = [
        ("tracked", count(judgement.tracked), "by the workers' own records"),
        ("at the server", count(judgement.at_server), "by the server's own list of ids"),
        ("lost", count(len(judgement.lost)), "tracked, and not at the server"),
        ("never tracked", count(len(judgement.never_tracked)), "at the server, and tracked by nobody"),
        ("in doubt", count(len(judgement.in_doubt)), "their worker was killed before it wrote them down"),
        ("duplicates", count(len(judgement.duplicates)), _duplicates_in_words(judgement.duplicates)),
        ("killed", count(played.flusher_kills + played.worker_kills), f"by SIGKILL: {kills}"),
    ]
    if after:
        rows.append(("new flusher", f"{max(after):.2f} s", "after a kill, at the most"))
    return rows


def _duplicates_in_words(ids: list[str]) -> str:
    if not ids:
        return ""
    which = ids[0] if len(ids) == 1 else f"{ids[0]} … {ids[-1]}"
    return f"sent again, counted once: {which}"


def _verdict(judgement: Judgement, seconds: float, folder: Path | None) -> list[str]:
    lines = [f"Nothing was lost ({seconds:.0f} s)."]
    if not judgement.is_good:
        lines = [f"NOT as promised: {each}" for each in judgement.problems]
        lines += [f"NOT as promised: lost: {each}" for each in judgement.lost[:_SHOWN_IDS]]
        lines += [f"NOT as promised: never tracked: {each}" for each in judgement.never_tracked[:_SHOWN_IDS]]
    return lines if folder is None else [*lines, f"The queue and the workers' records are in {folder}"]


def _say_with_rich(table: Rows, verdict: str, *, is_good: bool) -> None:
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
        grid.add_row(name, Text(figure, style=colour if name == "lost" else ""), remark)
    console = Console()
    console.print(grid)
    console.print(Text(verdict, style=colour))
