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

    What is given and empty takes none, so that a variable that nobody has set does not mean everything. An event that
    cannot be read has only a reason.
    """

    reason: str | None = None
    """A part of why it was refused, in any case of letters."""
    customer_id: str | None = None
    event_name: str | None = None
    older_than: float | None = None
    """Seconds since it was accepted, at least."""
    newer_than: float | None = None
    """Seconds since it was accepted, at most."""
    ids: Collection[str] | None = None
    """Idempotency ids."""
    up_to: int | None = None
    """The last row of the books that is meant; what was refused later is not."""

    def is_everything(self) -> bool:
        """Whether it takes all."""
        return self.is_of_any_event() and self.reason is None

    def is_of_any_event(self) -> bool:
        """Whether it says nothing of the event itself, which may be one that cannot be read."""
        return all(each is None for each in self._replace(reason=None, up_to=None))

    def takes(self, event: Event | None, reason: str, now: float) -> bool:
        """Whether an event is meant.

        ``event`` is None where it cannot be read, ``reason`` empty where it was not refused.
        """
        if self.reason is not None and not (self.reason and self.reason.lower() in reason.lower()):
            return False
        if event is None:
            return self.is_of_any_event()
        return (
            (self.ids is None or event.idempotency_id in self.ids)
            and (self.customer_id is None or event.customer_id == self.customer_id)
            and (self.event_name is None or event.event_name == self.event_name)
            and (self.older_than is None or now - event.accepted_at >= self.older_than)
            and (self.newer_than is None or now - event.accepted_at <= self.newer_than)
        )


ANY = Where()
