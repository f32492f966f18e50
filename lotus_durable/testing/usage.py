"""How much of a component a customer has used, counted from the events the server stored."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lotus_durable.testing.accounts import Component, Subscription
    from lotus_durable.testing.state import EventLedger


class Usage:
    """Answers from an index that grows with the ledger: a question costs the events of one customer and name."""

    def __init__(self, ledger: EventLedger) -> None:
        self._ledger = ledger
        self._index: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self._indexed = 0
        self._losses = 0

    def events_of(self, component: Component, subscription: Subscription) -> list[dict[str, Any]]:
        """Return the events that count for this component within the subscription's dates and filters."""
        self._catch_up()
        key = (subscription.customer.customer_id, component.event_name)
        start, end = subscription.usage_start or subscription.start, subscription.end
        return [
            event
            for event in self._index.get(key, ())
            if start <= _time_of(event) <= end and _matches(event, subscription.filters)
        ]

    def measure(self, component: Component, subscription: Subscription) -> float:
        """Return the number of those events, or the sum of their property."""
        events = self.events_of(component, subscription)
        if component.property_name is None:
            return len(events)
        return sum(_number(_properties(event).get(component.property_name)) for event in events)

    def _catch_up(self) -> None:
        if self._losses != self._ledger.losses:
            self._index.clear()
            self._indexed, self._losses = 0, self._ledger.losses
        for event in self._ledger.events_since(self._indexed):
            key = (str(event.get("customer_id")), str(event.get("event_name")))
            self._index.setdefault(key, []).append(event)
            self._indexed += 1


def _time_of(event: dict[str, Any]) -> datetime:
    """Return the event's time; what cannot be read counts nowhere, as the server's insert would have lost it."""
    try:
        moment = datetime.fromisoformat(event["time_created"])
    except (TypeError, ValueError):
        return datetime.min.replace(tzinfo=UTC)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _properties(event: dict[str, Any]) -> dict[str, Any]:
    properties = event.get("properties")
    return properties if isinstance(properties, dict) else {}


def _matches(event: dict[str, Any], filters: tuple[tuple[str, str], ...]) -> bool:
    return all(str(_properties(event).get(name)) == value for name, value in filters)


def _number(value: object) -> float:
    return value if isinstance(value, int | float) else 0
