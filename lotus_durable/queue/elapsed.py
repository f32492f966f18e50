"""The queue's own clock: seconds for the ages that decide over events, which no wall clock moves that somebody sets.

It goes on while somebody flushes, and between two flushers of one boot of the machine by the clock of that boot, but by
no more than the wall clock says (containers may have boot clocks of their own). What lies between two boots is not
counted: nobody can tell it from a wall clock that is wrong.
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
