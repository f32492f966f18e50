"""Notices: what happened once in the flusher, written into the heartbeat for a process that tracks to report it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lotus_durable.clock import monotonic, since_boot
from lotus_durable.errors import LotusError
from lotus_durable.queue.heartbeat import Notice, shortened

_MOST_NOTICES = 6
_MOST_EVENTS = 3
"""Of one notice, so that it fits into a beat."""


class HeldNotices:
    """Notices that are not in the heartbeat yet: one of a kind comes into it each interval, and counts the others."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._next: dict[str, float] = {}
        self._held: dict[str, tuple[int, Notice]] = {}

    def add(self, error: LotusError, events: Sequence[Mapping[str, str]]) -> None:
        """Take the last of its kind, with some of the events it is about."""
        name = type(error).__name__
        kind = f"{name} {getattr(error, 'about', '')}"
        count, _ = self._held.get(kind, (0, None))
        notice = Notice(0, name, shortened(str(error)), [dict(event) for event in events[:_MOST_EVENTS]])
        self._held[kind] = (count + 1, notice)

    def with_what_is_due(self, shown: Sequence[Notice], *, all_are: bool = False) -> Sequence[Notice]:
        """Return the notices that are in the heartbeat, followed by those that are due now; these are held no more."""
        now = monotonic()
        for kind, (count, notice) in list(self._held.items()):
            if now < self._next.get(kind, float("-inf")) and not all_are:
                continue
            del self._held[kind]
            self._next[kind] = now + self._interval
            last = shown[-1].serial if shown else 0
            text = notice.text if count == 1 else f"{notice.text} (the last of {count} of this kind)"
            published = notice._replace(serial=max(last + 1, int(since_boot() * 1e6)), text=text)
            shown = [*shown, published][-_MOST_NOTICES:]
        return shown
