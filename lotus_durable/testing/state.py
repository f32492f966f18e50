"""What the server remembers: API keys, events, accounts. In memory only."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

from lotus_durable.testing.accounts import Accounts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from lotus_durable.testing.accounts import Subscription
    from lotus_durable.testing.catalog import Component
    from lotus_durable.testing.database import Database

KeyState = Literal["missing", "unknown", "expired", "valid"]


class KeyRing:
    """The API keys an organization has been given."""

    def __init__(self, key: str) -> None:
        self._states: dict[str, KeyState] = {key: "valid"}
        self.current: str = key

    def rotate(self, new: str, *, keep_old: bool = False) -> None:
        """Make ``new`` valid; the others are revoked unless ``keep_old``."""
        if not keep_old:
            self._states.clear()
        self._states[new] = "valid"
        self.current = new

    def expire(self) -> None:
        """Let every key expire."""
        self._states = dict.fromkeys(self._states, "expired")

    def look_up(self, presented: str | None) -> KeyState:
        """Check the whole key, as Django does on both servers."""
        if not presented:
            return "missing"
        return self._states.get(presented, "unknown")

    def look_up_prefix(self, presented: str | None) -> KeyState:
        """Check only what stands before the dot, as L24's track does."""
        if not presented:
            return "missing"
        prefix = presented.partition(".")[0]
        for key, state in self._states.items():
            if key.partition(".")[0] == prefix:
                return state
        return "unknown"


class Received:
    """Every event that was answered as accepted, each once, in order of arrival, and how often its id came."""

    def __init__(self, *, keep_events: bool = True) -> None:
        self.keeps_events = keep_events
        self.times: dict[str, int] = {}
        self.events: list[dict[str, Any]] = []
        self.duplicates: int = 0

    def add(self, idempotency_id: str, event: dict[str, Any]) -> None:
        """Count an event that came, and keep it unless its id came before."""
        if idempotency_id in self.times:
            self.duplicates += 1
        elif self.keeps_events:
            self.events.append(event)
        self.times[idempotency_id] = self.times.get(idempotency_id, 0) + 1

    def forget(self, ids: set[str]) -> None:
        """Forget that these came."""
        self.events = [event for event in self.events if event.get("idempotency_id") not in ids]
        for id_ in ids:
            self.times.pop(id_, None)


class NotANumber(Exception):
    """An event has text where a number is to be summed."""


class ServerState:
    """All of it, behind one condition: hold ``changed`` to read or change, notify after changing."""

    def __init__(
        self,
        *,
        api_key: str,
        customers: Iterable[str] | None,
        database: Database,
        keep_events: bool,
        now: Callable[[], datetime],
    ) -> None:
        self.changed: threading.Condition = threading.Condition(threading.RLock())
        self.keys: KeyRing = KeyRing(api_key)
        self.received: Received = Received(keep_events=keep_events)
        self.database = database
        self.accounts: Accounts = Accounts(now)
        for customer_id in customers or ():
            self.accounts.add_customer(customer_id)
        self._accept_all_customers = customers is None
        self.now = now

    def knows_customer(self, customer_id: object) -> bool:
        """Whether track accepts events of this customer; with no list given at the start, of everybody."""
        return self._accept_all_customers or customer_id in self.accounts.customers

    def lose_events(self, ids: set[str]) -> None:
        """Lose events that were acknowledged."""
        self.received.forget(ids)
        self.database.forget(ids)

    def accept(self, events: list[tuple[str, dict[str, Any]]], seen: object) -> None:
        """Take what a request accepted; ``seen`` is what the database showed it when it began."""
        for id_, event in events:
            self.received.add(id_, event)
        self.database.accept(dict(events), seen)
        self.changed.notify_all()

    def usage(self, component: Component, subscription: Subscription) -> Decimal | None:
        """Return the number of the events that count for this component, or the sum of their property; None: no event.

        What counts lies within the subscription's dates and filters.

        Raises:
            NotANumber: text is to be summed.
        """
        found = [
            event
            for event in self.received.events
            if event.get("event_name") == component.event_name
            and event.get("customer_id") == subscription.customer.customer_id
            and subscription.start <= time_of(event) <= subscription.end
            and all(str(_properties(event).get(name)) == value for name, value in subscription.filters)
            and self.database.holds(event["idempotency_id"])
        ]
        if component.property_name is None or not found:
            return Decimal(len(found)) if found else None
        return sum((_number(_properties(event).get(component.property_name)) for event in found), Decimal(0))


def time_of(event: dict[str, Any]) -> datetime:
    """Return the event's time; what cannot be read counts nowhere, as the server's insert would have lost it."""
    try:
        moment = datetime.fromisoformat(event["time_created"])
    except (TypeError, ValueError):
        return datetime.min.replace(tzinfo=UTC)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _properties(event: dict[str, Any]) -> dict[str, Any]:
    properties = event.get("properties")
    return properties if isinstance(properties, dict) else {}


def _number(value: object) -> Decimal:
    if isinstance(value, str):
        raise NotANumber(value)
    return Decimal(str(value)) if isinstance(value, int | float) else Decimal(0)
