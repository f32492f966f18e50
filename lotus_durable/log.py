"""The package's logger, and ``on_error``: how what goes wrong is said."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from lotus_durable.errors import LotusError, QueueDamaged

logger = logging.getLogger("lotus_durable")

_MOST_WAITING = 100


def log_to_stderr() -> None:
    """Log every step; to standard error, unless the program has said where logs go."""
    logger.setLevel(logging.DEBUG)
    if not logger.handlers and not logging.getLogger().handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(process)d %(levelname)s %(message)s"))
        logger.addHandler(handler)


def counted(number: int, noun: str) -> str:
    """Return ``1 event``, ``2 events``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def warn_if_unencrypted(host: str) -> None:
    """Say so when the API key and the events would travel in the clear, to anything but this machine."""
    parts = urlsplit(host)
    if parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
        logger.warning("host %s is not encrypted: the API key and the events travel in the clear", host)


def _is_loopback(name: str) -> bool:
    return (
        name in ("localhost", "::1")
        or (name.startswith("127.") and name.replace(".", "").isdigit())
        or name.endswith(".localhost")
    )


class Reporter:
    """Calls the user's ``on_error``: it may fail, it may call us, and it is never called twice at once.

    What comes while it runs, from another thread or from within itself, is told when it has returned.
    """

    def __init__(self, on_error: Callable[[LotusError, list[dict[str, Any]]], object] | None) -> None:
        self._on_error = on_error
        self._waiting: deque[tuple[LotusError, list[dict[str, Any]]]] = deque(maxlen=_MOST_WAITING)
        self._running: list[None] = []

    def __call__(self, error: LotusError, events: Sequence[dict[str, Any]] = ()) -> None:
        """Tell it; what it raises is logged. Not KeyboardInterrupt and SystemExit, which are for the whole program.

        Damage is logged here: the queue, which finds it, tells nobody else, and there may be no ``on_error``.
        """
        if isinstance(error, QueueDamaged):
            logger.error("%s", error)
        if self._on_error is None:
            return
        self._waiting.append((error, list(events)))
        # Taking a number and looking at it are one step each: of two that come at once exactly one goes on.
        self._running.append(None)
        if len(self._running) > 1:
            self._running.pop()
            return
        try:
            self._tell(self._on_error)
        finally:
            self._running.clear()

    def is_running(self) -> bool:
        """Whether ``on_error`` is being called now."""
        return bool(self._running)

    def abandon(self) -> None:
        """Begin anew, in a forked child: whoever ran it is not here."""
        self._running.clear()
        self._waiting.clear()

    def _tell(self, on_error: Callable[[LotusError, list[dict[str, Any]]], object]) -> None:
        while self._waiting:
            try:
                error, events = self._waiting.popleft()
            except IndexError:
                return
            try:
                on_error(error, events)
            except Exception:
                logger.exception("on_error itself failed")
