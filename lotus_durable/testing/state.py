"""What the server remembers: API keys, events, accounts. In memory only."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal

from lotus_durable.testing.accounts import Accounts, Component, Subscription
from lotus_durable.testing.database import Database, Event

KeyState = Literal["missing", "unknown", "expired", "valid"]


class NotANumber(Exception):
    """An event has text where a number is to be summed."""


class ServerState:
    """All of it, behind one condition: hold ``changed`` to read or change, notify after changing.

    Attributes:
        keys: those the organization has been given, the newest last.
        times: how often each id came that was answered as accepted, in order of arrival.
        events: those events, each once; none with ``keep_events=False``.
        duplicates: how many of them had come before.
    """

    def __init__(
        self,
        database: Database,
        api_key: str,
        customers: Iterable[str] | None,
        *,
        keep_events: bool,
        now: Callable[[], datetime],
    ) -> None:
        self.changed = threading.Condition(threading.RLock())
        self.keys: dict[str, KeyState] = {api_key: "valid"}
        self.times: dict[str, int] = {}
        self.events: list[Event] = []
        self.duplicates = 0
        self.database = database
        self.accounts = Accounts(now)
        for customer_id in customers or ():
            self.accounts.add_customer(customer_id)
        self._accept_all_customers = customers is None
        self._keep_events = keep_events
        self.now = now

    def knows_customer(self, customer_id: object) -> bool:
        """Whether track accepts events of this customer; with no list given at the start, of everybody."""
        return self._accept_all_customers or customer_id in self.accounts.customers

    def receive(self, idempotency_id: str, event: Event) -> None:
        """Count an event that came, and keep it unless its id came before."""
        before = self.times.get(idempotency_id, 0)
        self.times[idempotency_id] = before + 1
        if before:
            self.duplicates += 1
        elif self._keep_events:
            self.events.append(event)

    def accept(self, events: list[tuple[str, Event]], seen: Mapping[str, bool]) -> None:
        """Take what a request accepted; ``seen`` is what the database showed it when it began."""
        for id_, event in events:
            self.receive(id_, event)
        self.database.accept(dict(events), seen)
        self.changed.notify_all()

    def lose_events(self, ids: set[str]) -> None:
        """Lose events that were acknowledged."""
        self.events = [event for event in self.events if event.get("idempotency_id") not in ids]
        for id_ in ids:
            self.times.pop(id_, None)
        self.database.forget(ids)

    def usage(self, component: Component, subscription: Subscription) -> Decimal | None:
        """Return the number of the events that count for this component, or the sum of their property; None: no event.

        What counts lies within the subscription's dates and filters.

        Raises:
            NotANumber: text is to be summed.
        """
        found = [
            _properties(event)
            for event in self.events
            if event.get("event_name") == component.event_name
            and event.get("customer_id") == subscription.customer.customer_id
            and subscription.start <= time_of(event) <= subscription.end
            and all(str(_properties(event).get(name)) == value for name, value in subscription.filters)
            and self.database.holds(event["idempotency_id"])
        ]
        if component.property_name is None or not found:
            return Decimal(len(found)) if found else None
        return sum((_number(properties.get(component.property_name)) for properties in found), Decimal(0))


def time_of(event: Event) -> datetime:
    """Return the event's time; what cannot be read counts nowhere, as the server's insert would have lost it."""
    try:
        moment = datetime.fromisoformat(event["time_created"])
    except (TypeError, ValueError):
        return datetime.min.replace(tzinfo=UTC)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _properties(event: Event) -> dict[str, Any]:
    properties = event.get("properties")
    return properties if isinstance(properties, dict) else {}


def _number(value: object) -> Decimal:
    if isinstance(value, str):
        raise NotANumber(value)
    return Decimal(str(value)) if isinstance(value, int | float) else Decimal(0)
