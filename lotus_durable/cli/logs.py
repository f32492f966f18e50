"""What the library logs, on standard error, one line for each record."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from typing import Any

from lotus_durable.errors import LotusError

from .output import tell

logger: logging.Logger = logging.getLogger("lotus_durable")


class _OneLine(logging.Formatter):
    """Puts an exception into the line of its record; its traceback is for ``LOTUS_DEBUG`` only."""

    def format(self, record: logging.LogRecord) -> str:
        error = record.exc_info[1] if record.exc_info else None
        what = "" if error is None else f": {type(error).__name__}: {error}"
        record.message = " ".join(f"{record.getMessage()}{what}".split())
        record.asctime = self.formatTime(record)
        return self.formatMessage(record)


class Log(logging.Handler):
    """Writes what the library logs."""

    _last = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        self._last = record.getMessage()
        tell(self.format(record))

    def report(self, error: LotusError, events: Sequence[dict[str, Any]]) -> None:
        """Log an error that goes to ``on_error``, unless the library has just done so.

        Always shown: who is told something takes it off the flusher's hands, and nobody else is told.
        """
        del events  # their content is nobody's business in a log
        if str(error) not in self._last:
            logger.error("%s", error)


@contextlib.contextmanager
def logged(level: int, line: str, *, debug: bool = False) -> Iterator[Log]:
    """Have written what the library logs, until the block ends.

    Args:
        level: of the least that is shown.
        line: the format of a line.
        debug: show all, with tracebacks.
    """
    log = Log(logging.DEBUG if debug else level)
    log.setFormatter(logging.Formatter(line) if debug else _OneLine(line))
    level_before, propagated_before = logger.level, logger.propagate
    logger.setLevel(log.level)
    logger.propagate = False
    logger.addHandler(log)
    try:
        yield log
    finally:
        logger.removeHandler(log)
        logger.setLevel(level_before)
        logger.propagate = propagated_before
