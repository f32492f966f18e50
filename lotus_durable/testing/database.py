"""What the server remembers: API keys, events, accounts; and what it stores in the end. In memory only.

On both servers that is less than what they answered as accepted, as measured. The server of 2022 keeps accepted events
in one entry of a cache that each request reads when it begins and writes when it ends, without a lock: what another
request wrote in between is lost, and an empty batch reads and writes it too. When 1,000 are in it, they are inserted in
the background, all or none, and until that is done the server does not know their ids: a repeat is accepted and later
fails the insert of everything around it. On the server of 2024 a consumer inserts what was accepted. One value that is
too long for its column fails for ever, and nothing that was accepted after it is stored, whoever sent it.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal

from lotus_durable.clock import monotonic
from lotus_durable.testing.accounts import Accounts, Component, Subscription
from lotus_durable.testing.forms import Refused, moment

KeyState = Literal["missing", "unknown", "expired", "valid"]
Event = dict[str, Any]

FLUSH_AT = 1000
"""So many cached events are inserted together."""
INSERT_SECONDS = 1.0
"""So long an insert takes."""


class Database:
    """That of 2024, behind a consumer that stops at a value that is too long; each id once."""

    def __init__(self) -> None:
        self._stored: set[str] = set()
        self._is_stuck = False

    def begin(self) -> dict[str, bool]:
        """Return what a request finds when it begins, for :meth:`knows` and :meth:`accept`."""
        return {}

    def knows(self, idempotency_id: str, seen: Mapping[str, bool]) -> bool:
        """Whether a request finds this id to be known."""
        return idempotency_id in seen or idempotency_id in self._stored

    def accept(self, events: Mapping[str, Event], seen: Mapping[str, bool]) -> None:  # noqa: ARG002  # see 2022
        """Take what a request accepted, by id; called once by each request, also with nothing."""
        for event in events.values():
            if len(event.get("event_name") or "") > 100 or len(event.get("customer_id") or "") > 50:  # noqa: PLR2004
                self._is_stuck = True
        if not self._is_stuck:
            self._stored.update(events)

    def holds(self, idempotency_id: str) -> bool:
        """Whether it is stored, or on its way there."""
        return idempotency_id in self._stored

    def forget(self, ids: Collection[str]) -> None:
        """Lose what is stored."""
        self._stored.difference_update(ids)

    def at_rest(self) -> set[str]:
        """Return the ids of what is stored when all that is under way has come to its end."""
        return set(self._stored)


class DatabaseOf2022(Database):
    """Behind an unlocked cache, inserted in lots."""

    def __init__(self) -> None:
        super().__init__()
        self._cache: dict[str, bool] = {}  # replaced, never changed: whoever began with it goes on with it
        self._inserts: deque[tuple[float, dict[str, bool]]] = deque()

    def begin(self) -> dict[str, bool]:
        return self._cache

    def knows(self, idempotency_id: str, seen: Mapping[str, bool]) -> bool:
        self._insert(until=monotonic())
        return super().knows(idempotency_id, seen)

    def accept(self, events: Mapping[str, Event], seen: Mapping[str, bool]) -> None:
        self._cache = {**seen, **{id_: _fits(event) for id_, event in events.items()}}
        if len(self._cache) >= FLUSH_AT:
            self._inserts.append((monotonic() + INSERT_SECONDS, self._cache))
            self._cache = {}

    def holds(self, idempotency_id: str) -> bool:
        return any(idempotency_id in held for held in (self._stored, self._cache, *(lot for _, lot in self._inserts)))

    def forget(self, ids: Collection[str]) -> None:
        super().forget(ids)
        self._cache = {id_: fits for id_, fits in self._cache.items() if id_ not in ids}

    def at_rest(self) -> set[str]:
        """As after a while without requests, when the server inserts the rest by itself."""
        self._inserts.append((monotonic(), self._cache))
        self._cache = {}
        self._insert(until=float("inf"))
        return super().at_rest()

    def _insert(self, until: float) -> None:
        while self._inserts and self._inserts[0][0] <= until:
            _, lot = self._inserts.popleft()
            if all(lot.values()) and self._stored.isdisjoint(lot):
                self._stored.update(lot)


def _fits(event: Event) -> bool:
    """Whether PostgreSQL takes it: what does not fails the whole insert."""
    try:
        datetime.fromisoformat(str(event["time_created"]))
    except ValueError:
        return False
    text = json.dumps(event)
    is_short = len(str(event["event_name"])) <= 200 and len(str(event["idempotency_id"])) <= 255  # noqa: PLR2004
    return is_short and not any(piece in text for piece in (r"\u0000", "NaN", "Infinity"))


class ServerState:
    """All of it, behind one condition: hold ``changed`` to read or change, notify after changing.

    ``keys`` has the newest last, ``times`` how often each accepted id came, ``events`` each of them once, and
    ``duplicates`` how many had come before.
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
        self.changed: threading.Condition = threading.Condition(threading.RLock())
        self.keys: dict[str, KeyState] = {api_key: "valid"}
        self.times: dict[str, int] = {}
        self.events: list[Event] = []
        self.duplicates: int = 0
        self.database = database
        self.accounts: Accounts = Accounts(now)
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

    def lose_events(self, ids: set[str]) -> None:
        """Lose events that were acknowledged."""
        self.events = [event for event in self.events if event.get("idempotency_id") not in ids]
        for id_ in ids:
            self.times.pop(id_, None)
        self.database.forget(ids)

    def usage(self, component: Component, subscription: Subscription) -> Decimal | None:
        """Return the number of the events that count for this component, or the sum of their property; None: no event.

        What counts lies within the subscription's dates and filters. Raises TypeError when text is to be summed.
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
        return moment(event["time_created"])
    except Refused:
        return datetime.min.replace(tzinfo=UTC)


def _properties(event: Event) -> dict[str, Any]:
    properties = event.get("properties")
    return properties if isinstance(properties, dict) else {}


def _number(value: object) -> Decimal:
    if isinstance(value, str):
        raise TypeError(value)
    return Decimal(str(value)) if isinstance(value, int | float) else Decimal(0)
