"""News of the flusher: what happened once, and is told in a process that tracks. They travel in the heartbeat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lotus_durable.clock import monotonic, since_boot
from lotus_durable.errors import LotusError
from lotus_durable.queue.heartbeat import News, shortened

_MOST_NEWS = 6
_MOST_EVENTS = 3
"""Of one piece of news, so that it fits into a beat."""


class HeldNews:
    """News that are not in the heartbeat yet: of one kind, one comes into it in each interval, and counts the others.

    Args:
        interval: seconds.
    """

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._next: dict[str, float] = {}
        self._held: dict[str, tuple[int, News]] = {}

    def add(self, error: LotusError, events: Sequence[Mapping[str, str]]) -> None:
        """Take the last of its kind, with some of the events it is about."""
        kind = type(error).__name__
        count, _ = self._held.get(kind, (0, None))
        news = News(0, kind, shortened(str(error)), [dict(event) for event in events[:_MOST_EVENTS]])
        self._held[kind] = (count + 1, news)

    def with_what_is_due(self, told: Sequence[News], *, all_are: bool = False) -> Sequence[News]:
        """Return the news that are in the heartbeat, followed by those that are due now; these are held no more."""
        now = monotonic()
        for kind, (count, news) in list(self._held.items()):
            if now < self._next.get(kind, float("-inf")) and not all_are:
                continue
            del self._held[kind]
            self._next[kind] = now + self._interval
            last = told[-1].serial if told else 0
            text = news.text if count == 1 else f"{news.text} (the last of {count} of this kind)"
            published = news._replace(serial=max(last + 1, int(since_boot() * 1e6)), text=text)
            told = [*told, published][-_MOST_NEWS:]
        return told
