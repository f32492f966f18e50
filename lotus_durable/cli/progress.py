"""How far a command is, on standard error: a line that a terminal shows anew, elsewhere a line now and then."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable
from typing import Self

from lotus_durable.delivery.rate import Rate

from .output import is_terminal, tell
from .wording import count, duration

_LINE_INTERVAL = 5.0
"""Seconds between two lines where nobody watches."""
_SCREEN_INTERVAL = 0.1
_BAR_WIDTH = 30


class Progress:
    """Shows how far a command is, in a ``with`` statement; who interrupts it hears how far it came.

    Args:
        what: what is done: checked, delivered.
        written: how a number is written.
        if_interrupted: what became of the rest.
        is_quiet: nothing is shown.
    """

    def __init__(
        self, what: str, *, written: Callable[[int], str] = count, if_interrupted: str = "", is_quiet: bool = False
    ) -> None:
        self._what, self._written = what, written
        self._if_interrupted = if_interrupted
        self._is_quiet = is_quiet
        self._is_watched = is_terminal(sys.stderr) and not is_quiet
        self._interval = _SCREEN_INTERVAL if self._is_watched else _LINE_INTERVAL
        self._next = time.monotonic() + self._interval
        self._rate = Rate()
        self._last = self._shown = ""

    def show(self, done: int, total: int = 0) -> None:
        """Show how many are done, and of how many where that is known. May be called as often as is convenient."""
        self._rate.note(done)
        self._last = f"{self._what} {self._written(done)}" + (f" of {self._written(total)}" if total > done else "")
        if not self._shown and not self._is_watched:
            self._shown = self._last  # nothing has changed yet
        if self._is_quiet or time.monotonic() < self._next or self._last == self._shown:
            return
        self._next = time.monotonic() + self._interval
        self._shown = self._last
        line = self._last + self._pace(done, total)
        if self._is_watched:
            tell(_fitting(_bar(done, total) + line), end="")
        else:
            tell(line)

    def tell(self, line: str) -> None:
        """Tell a step, to somebody who watches; it is not written to a log."""
        if self._is_watched:
            tell(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        """Say how far it came, where somebody has watched, and leave the terminal to what is written next."""
        if self._is_watched and self._shown:
            tell(self._last)
        words = "; ".join(filter(None, (self._last, self._if_interrupted)))
        if kind is KeyboardInterrupt and words:
            raise KeyboardInterrupt(f": {words}")

    def _pace(self, done: int, total: int) -> str:
        rate = self._rate.now()
        if not rate:
            return ""
        left = f", {duration((total - done) / rate)} left" if total > done else ""
        return f" ({self._written(round(rate))} a second{left})"


def _bar(done: int, total: int) -> str:
    filled = _BAR_WIDTH * done // total if total >= done > 0 else 0
    return f"[{'#' * filled:<{_BAR_WIDTH}}] " if total else ""


def _fitting(line: str) -> str:
    """Cut a line that the terminal would wrap: it could not be emptied then."""
    with contextlib.suppress(OSError, ValueError):
        return line[: os.get_terminal_size(sys.stderr.fileno()).columns - 1]
    return line
