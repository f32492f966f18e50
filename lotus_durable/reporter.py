"""Calling the user's ``on_error``: it may fail, and it may call us."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Any

from lotus_durable.config import OnError
from lotus_durable.errors import LotusError, QueueDamaged

logger = logging.getLogger("lotus_durable")


class Reporter:
    """Tells ``on_error``, in whatever thread the error is noticed."""

    def __init__(self, on_error: OnError | None) -> None:
        self._on_error = on_error
        self._running = threading.local()

    def __call__(self, error: LotusError, events: Sequence[dict[str, Any]] = ()) -> None:
        """Call it; what it raises is logged. Not KeyboardInterrupt and SystemExit, which are for the whole program.

        Damage is logged here: the queue, which finds it, tells nobody else, and there may be no ``on_error``.
        """
        if isinstance(error, QueueDamaged):
            logger.error("%s", error)
        if self._on_error is None:
            return
        self._running.now = True
        try:
            self._on_error(error, list(events))
        except Exception:
            logger.exception("on_error itself failed")
        finally:
            self._running.now = False

    def is_running(self) -> bool:
        """Whether the caller was called by ``on_error``."""
        return getattr(self._running, "now", False)
