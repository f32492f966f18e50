"""One filter for every command that looks at events, wherever they are."""

from __future__ import annotations

from collections.abc import Collection
from typing import TypedDict

from lotus_durable.event.record import Event
from lotus_durable.values import NamedTuple


class Given(TypedDict, total=False):
    """The filter, as arguments."""

    reason: str
    customer_id: str
    event_name: str
    older_than: float
    newer_than: float
    ids: Collection[str]


class Where(NamedTuple):
    """Which events are meant: those to which all of it applies; all events if nothing is given.

    An event that cannot be read has only a reason.
    """

    reason: str = ""
    """A part of why it was refused, in any case of letters."""
    customer_id: str = ""
    event_name: str = ""
    older_than: float | None = None
    """Seconds since it was accepted, at least."""
    newer_than: float | None = None
    """Seconds since it was accepted, at most."""
    ids: Collection[str] = ()
    """Idempotency ids."""

    def is_everything(self) -> bool:
        """Whether it takes all."""
        return self.is_of_any_event() and not self.reason

    def is_of_any_event(self) -> bool:
        """Whether it says nothing of the event itself, which may be one that cannot be read."""
        return not (self.customer_id or self.event_name or self.ids) and self.older_than is self.newer_than is None

    def takes(self, event: Event | None, reason: str, now: float) -> bool:
        """Whether an event is meant.

        ``event`` is None where it cannot be read, ``reason`` empty where it was not refused.
        """
        if self.reason and self.reason.lower() not in reason.lower():
            return False
        if event is None:
            return self.is_of_any_event()
        return (
            (not self.ids or event.idempotency_id in self.ids)
            and (not self.customer_id or event.customer_id == self.customer_id)
            and (not self.event_name or event.event_name == self.event_name)
            and (self.older_than is None or now - event.accepted_at >= self.older_than)
            and (self.newer_than is None or now - event.accepted_at <= self.newer_than)
        )


ANY = Where()
