"""How far a command is: bars on a terminal that has rich, plain lines now and then elsewhere. On standard error."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Protocol

from lotus_durable.delivery.rate import Rate

from .wording import count, duration

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
def open_progress(
    interval: float, *, total: Callable[[int], str] = count, is_quiet: bool = False
) -> Iterator[Progress]:
    """Give the best that standard error allows.

    Args:
        interval: seconds between two plain lines.
        total: how a number is written.
        is_quiet: nothing is shown.
    """
    watched = _is_terminal()
    if is_quiet:
        yield Silence()
        return
    bars = _rich_bars() if watched else None
    if bars is None:
        yield PlainProgress(interval, total, watched=watched)
        return
    with bars:
        yield RichProgress(bars, total)


class Silence:
    """Shows nothing."""

    def show(self, counts: Counts) -> None:
        """Show nothing."""

    def tell(self, line: str) -> None:
        """Tell nothing."""


class Pace:
    """How fast what is counted goes, and when it will be done."""

    def __init__(self, total: Callable[[int], str]) -> None:
        self._total = total
        self._rates: dict[str, Rate] = {}

    def in_words(self, name: str, done: int, total: int) -> str:
        """Say it; empty before it can be told."""
        self._rates.setdefault(name, Rate()).note(done)
        rate = self._rates[name].now()
        if not rate:
            return ""
        left = f", {duration((total - done) / rate)} left" if total > done else ""
        return f"{self._total(round(rate))} a second{left}"


class PlainProgress:
    """A line every few seconds in which something has changed, for logs and for terminals without rich."""

    def __init__(self, interval: float, total: Callable[[int], str], *, watched: bool) -> None:
        self._interval = interval
        self._watched = watched
        self._total = total
        self._pace = Pace(total)
        self._next = time.monotonic() + interval
        self._last: Counts = {}

    def show(self, counts: Counts) -> None:
        """Write a line if it is time, and if anything has changed."""
        paces = {name: self._pace.in_words(name, *numbers) for name, numbers in counts.items()}
        if time.monotonic() < self._next or counts == self._last:
            return
        self._next = time.monotonic() + self._interval
        self._last = dict(counts)
        parts = (self._part(name, *numbers, paces[name]) for name, numbers in counts.items())
        self._write(", ".join(parts))

    def tell(self, line: str) -> None:
        """Write the line if somebody is there to read it."""
        if self._watched:
            self._write(line)

    def _part(self, name: str, done: int, total: int, pace: str) -> str:
        of_how_many = f" of {self._total(total)}" if total > done else ""
        return f"{name} {self._total(done)}{of_how_many}" + (f" ({pace})" if pace else "")

    def _write(self, line: str) -> None:
        with contextlib.suppress(OSError, ValueError, AttributeError):  # nobody reads it any more
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()


class RichProgress:
    """Bars that stay at the bottom, with the steps scrolling above them."""

    def __init__(self, bars: Bars, total: Callable[[int], str] = count) -> None:
        self._bars = bars
        self._total = total
        self._pace = Pace(total)
        self._tasks: dict[str, TaskID] = {}

    def show(self, counts: Counts) -> None:
        """Move the bars."""
        for name, (done, total) in counts.items():
            counted = f"{self._total(done)} / {self._total(total)}"
            pace = self._pace.in_words(name, done, total)
            if name not in self._tasks:
                self._tasks[name] = self._bars.add_task(name, total=total, counted=counted, pace=pace)
            self._bars.update(self._tasks[name], completed=done, total=total, counted=counted, pace=pace)

    def tell(self, line: str) -> None:
        """Print the line above the bars."""
        self._bars.console.print(line, highlight=False, markup=False)


def _is_terminal() -> bool:
    try:
        return sys.stderr.isatty()
    except (ValueError, AttributeError):
        return False  # it is closed


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
        TextColumn("{task.fields[pace]}"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    )
