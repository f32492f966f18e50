"""What the library logs, on standard error, one line for each record."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Self

from lotus_durable.errors import LotusError

from .output import tell

logger: logging.Logger = logging.getLogger("lotus_durable")


class OneLine(logging.Formatter):
    """Puts an exception into the line of its record; its traceback is for ``LOTUS_DEBUG`` only."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        message = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            message += f": {type(error).__name__}: {error}"
        short = logging.makeLogRecord({**record.__dict__, "exc_info": None, "exc_text": None, "args": None})
        short.msg = " ".join(message.split())
        return super().format(short)


class Log(logging.Handler):
    """Writes what the library logs; gives itself up to whoever uses it in a ``with`` statement.

    Args:
        level: of the least that is shown; ``debug`` shows all, with tracebacks.
        line: the format of a line.
    """

    def __init__(self, level: int, line: str, *, debug: bool = False) -> None:
        super().__init__(logging.DEBUG if debug else level)
        self.setFormatter(logging.Formatter(line) if debug else OneLine(line))
        self._last = ""
        self._levels = (logger.level, logger.propagate)

    def __enter__(self) -> Self:
        self._levels = (logger.level, logger.propagate)
        logger.setLevel(self.level)
        logger.propagate = False
        logger.addHandler(self)
        return self

    def __exit__(self, *exception: object) -> None:
        logger.removeHandler(self)
        logger.setLevel(self._levels[0])
        logger.propagate = self._levels[1]

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
