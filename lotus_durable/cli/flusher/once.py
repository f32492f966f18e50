"""``lotus-durable flusher --once``: upload what is there, then end."""

from __future__ import annotations

import contextlib
import logging
import threading

from lotus_durable.cli.command import ExitCode
from lotus_durable.cli.wording import count

from .service import Term

logger = logging.getLogger("lotus_durable")


class _Ended(Exception):
    """A signal ends it before it is done."""


class Once:
    """One pass over the queue, for a cron job or an init container."""

    def __init__(self, term: Term) -> None:
        self._term = term
        self.stopping = threading.Event()

    def run(self, timeout: float | None) -> ExitCode:
        """Have what is pending delivered, by this process or by the one that leads.

        Args:
            timeout: seconds; None for as long as it takes.
        """
        from lotus_durable.delivery.drain import drain

        queue, candidate = self._term.process.queue, self._term.candidate
        reason: str | None = "it was told to stop"
        try:
            with contextlib.suppress(_Ended):
                reason = drain(
                    queue,
                    timeout=timeout,
                    why_not=candidate.refusal,
                    has_better_key=candidate.has_better_key,
                    begin=candidate.start,
                    watch=self._watch,
                ).reason
        finally:
            candidate.stop(None)
        if reason is None:
            return ExitCode.DONE
        # Counted now: the request in flight may have settled some.
        logger.error("not complete, %s pending: %s", count(queue.census().pending, "event"), reason)
        return ExitCode.NOT_COMPLETE

    def stop(self, why: str) -> None:
        """End after the request in flight and its commit."""
        logger.info("%s: stopping after the request in flight", why)
        self.stopping.set()

    def reload(self) -> None:
        """Go on: it ends soon."""

    def _watch(self) -> None:
        if self.stopping.is_set():
            raise _Ended
