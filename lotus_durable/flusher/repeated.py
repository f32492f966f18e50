"""One line for what is logged again and again: once, and then once a minute with its count."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

from lotus_durable.clock import monotonic

_INTERVAL = 60.0
_MOST = 200
"""Different lines that are remembered."""
_DIGITS = re.compile(r"\d+")
_LONGEST = 200


class OnceAMinute(logging.Filter):
    """Lets a warning pass when none like it has for a minute; with it, how many were held back."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[str, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to log it."""
        if record.levelno < logging.WARNING:
            return True
        message = record.getMessage()
        kind = _DIGITS.sub("#", message[:_LONGEST])
        now = monotonic()
        until, held = self._seen.pop(kind, (0.0, 0))
        if now < until:
            self._seen[kind] = until, held + 1
            return False
        if held:
            record.msg, record.args = f"{message} ({held} more like it since)", ()
        self._seen[kind] = now + _INTERVAL, 0
        while len(self._seen) > _MOST:
            del self._seen[next(iter(self._seen))]
        return True


@contextmanager
def repeats_held_back(logger: logging.Logger) -> Iterator[None]:
    """Have it so for what a flusher logs."""
    once = OnceAMinute()
    logger.addFilter(once)
    try:
        yield
    finally:
        logger.removeFilter(once)
