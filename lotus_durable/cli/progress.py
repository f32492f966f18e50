"""How far a command is: bars on a terminal that has rich, plain lines now and then elsewhere. On standard error."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Protocol

from .wording import count

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

Counts = Mapping[str, tuple[int, int]]
"""By what is counted: how many, and of how many."""


class Progress(Protocol):
    """Where a command shows how far it is."""

    def show(self, counts: Counts) -> None:
        """Show the state now; may be called as often as is convenient."""

    def tell(self, line: str) -> None:
        """Tell a step, to somebody who watches; it is not written to a log."""


@contextlib.contextmanager
def open_progress(interval: float) -> Iterator[Progress]:
    """Give the best that standard error allows.

    Args:
        interval: seconds between two plain lines.
    """
    watched = sys.stderr.isatty()
    bars = _rich_bars() if watched else None
    if bars is None:
        yield PlainProgress(interval, watched=watched)
        return
    with bars:
        yield RichProgress(bars)


class PlainProgress:
    """A line every few seconds, for logs and for terminals without rich."""

    def __init__(self, interval: float, *, watched: bool) -> None:
        self._interval = interval
        self._watched = watched
        self._next = time.monotonic() + interval

    def show(self, counts: Counts) -> None:
        """Write a line if it is time."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + self._interval
        self._write(", ".join(f"{name} {count(done)} of {count(total)}" for name, (done, total) in counts.items()))

    def tell(self, line: str) -> None:
        """Write the line if somebody is there to read it."""
        if self._watched:
            self._write(line)

    def _write(self, line: str) -> None:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


class RichProgress:
    """Bars that stay at the bottom, with the steps scrolling above them."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def show(self, counts: Counts) -> None:
        """Move the bars."""
        for name, (done, total) in counts.items():
            counted = f"{count(done)} / {count(total)}"
            if name not in self._tasks:
                self._tasks[name] = self._bars.add_task(name, total=total, counted=counted)
            self._bars.update(self._tasks[name], completed=done, total=total, counted=counted)

    def tell(self, line: str) -> None:
        """Print the line above the bars."""
        self._bars.console.print(line, highlight=False, markup=False)


def _rich_bars() -> Bars | None:
    try:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bars
    except ImportError:
        return None
    return Bars(
        TextColumn("{task.description:<10}"),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[counted]}", justify="right"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    )
