"""The queue's own clock, in seconds, for the ages that decide about events. Setting a wall clock does not change it.

It runs while somebody flushes. Between two flushers of one boot of the machine it goes on by the time since that boot,
but by no more than the wall clock says (containers may have boot clocks of their own). The time between two boots is
not counted, because a wrong wall clock could not be told from it.
"""

from __future__ import annotations

import time

from lotus_durable.clock import boot_id, since_boot

_BEGINNING = 1.0
"""0 in a row says that its age begins when it is tried next."""


class QueueClock:
    """Goes on from what :meth:`as_text` returned last."""

    def __init__(self, text: str | None) -> None:
        seconds = _BEGINNING
        try:
            saved, boot_at, wall_at, boot = (text or "").split(" ")
            seconds = float(saved)
            if boot == boot_id():
                seconds += max(0.0, min(since_boot() - float(boot_at), time.time() - float(wall_at)))
        except ValueError:
            pass
        self._offset = seconds - since_boot()

    def now(self) -> float:
        """Return the time: more than 0."""
        return since_boot() + self._offset

    def as_text(self) -> str:
        """Return what to keep."""
        return f"{self.now()} {since_boot()} {time.time()} {boot_id()}"
