"""What the server remembers: API keys, events, accounts. In memory only."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Literal

from lotus_durable.testing.accounts import Accounts
from lotus_durable.testing.usage import Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

KeyState = Literal["missing", "unknown", "expired", "valid"]


class KeyRing:
    """The API keys an organization has been given."""

    def __init__(self, key: str) -> None:
        self._states: dict[str, KeyState] = {key: "valid"}
        self.current = key

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


class EventLedger:
    """Every event stored, each once, in order of arrival, and how often its id came again."""

    def __init__(self, *, keep_events: bool = True) -> None:
        self.keeps_events = keep_events
        self._received: dict[str, int] = {}
        self._events: list[dict[str, Any]] = []
        self.duplicates = 0
        self.losses = 0
        """How often events were forgotten; what was counted from them before is void."""

    def __len__(self) -> int:
        return len(self._received)

    def __contains__(self, idempotency_id: object) -> bool:
        return idempotency_id in self._received

    def store(self, idempotency_id: str, event: dict[str, Any]) -> None:
        """Store an event, or drop and count it when its id is known."""
        if idempotency_id in self._received:
            self.count_duplicate(idempotency_id)
            return
        self._received[idempotency_id] = 1
        if self.keeps_events:
            self._events.append(event)

    def count_duplicate(self, idempotency_id: str) -> None:
        """Count an event that came again."""
        self._received[idempotency_id] += 1
        self.duplicates += 1

    def events(self) -> list[dict[str, Any]]:
        """Return the stored events as they were received."""
        return list(self._events)

    def events_since(self, position: int) -> list[dict[str, Any]]:
        """Return the events stored after the first ``position`` of them."""
        return self._events[position:]

    def forget(self, ids: set[str]) -> None:
        """Lose events, as a server does that answered before it stored."""
        self._events = [event for event in self._events if event.get("idempotency_id") not in ids]
        for id_ in ids:
            self._received.pop(id_, None)
        self.losses += 1

    def times_received(self) -> dict[str, int]:
        """Return how often each stored id was received, in order of first arrival."""
        return dict(self._received)


class ServerState:
    """All of it, behind one condition: hold ``changed`` to read or change, notify after changing."""

    def __init__(
        self,
        *,
        api_key: str,
        customers: Iterable[str] | None,
        keep_events: bool,
        now: Callable[[], datetime],
    ) -> None:
        self.changed = threading.Condition(threading.RLock())
        self.keys = KeyRing(api_key)
        self.ledger = EventLedger(keep_events=keep_events)
        self.usage = Usage(self.ledger)
        self.accounts = Accounts(now)
        for customer_id in customers or ():
            self.accounts.add_customer(customer_id)
        self._accept_all_customers = customers is None
        self.now = now

    def knows_customer(self, customer_id: object) -> bool:
        """Whether track accepts events of this customer; with no list given at the start, of everybody."""
        return self._accept_all_customers or customer_id in self.accounts.customers
