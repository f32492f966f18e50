"""One worker, in a process of its own: it tracks events as a web server's would, and writes down which.

Of each event its ledger has a line before the call (attempted) and one after it (acknowledged); see
``tests/servers/apps/ledger.py``.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from lotus_durable import Client, QueueFull
from tests.servers.apps.ledger import Ledger

from .wrapping import kept_in_memory

CUSTOMERS = tuple(f"customer-{number}" for number in range(10))
STRANGER = "stranger"
"""A customer whom a server of 2022 never gets to know: these events are parked."""

_ODD_ONE_IN = 300
"""Events, of which one is parked (on the 2024 server: ahead of its time), and one is refused for good (too old)."""
_CHOSEN_BY_LIBRARY = 4
"""One in so many ids."""
_LARGE_ONE_IN = 20
_LARGE = 6_000
"""Bytes of padding: the frame then spans pages, where a kill can tear it."""
_SETTLING = 0.3
"""Seconds for which the memory buffer must be seen empty: an event that is being written back is in neither place."""
_FULL_PAUSE = 0.05
_MOST_PER_REQUEST = 8
_TRICKLE = 4
"""How many times fewer events a trickle is; still enough that segments are filled."""


@dataclass(frozen=True, slots=True)
class Shift:
    """What a worker is told."""

    options: Mapping[str, Any]
    """Of its client."""
    ledger: str
    """The folder."""
    slow_when: str
    """A file: while it is there, a trickle is enough."""
    rate: float
    """Events in a second."""
    seed: str

    def encode(self) -> str:
        """Return it as an argument."""
        return json.dumps(asdict(self))

    @classmethod
    def decode(cls, text: str) -> Shift:
        """Read it back."""
        return cls(**json.loads(text))


class Worker:
    """Tracks until it is told to stop; what is pending then is the business of the client's exit hook."""

    def __init__(self, shift: Shift) -> None:
        self._shift = shift
        self._client = Client(**shift.options)
        self._ledger = Ledger(Path(shift.ledger))
        self._chance = random.Random(shift.seed)
        self._numbers = itertools.count()
        self._kept: list[str] = []
        self._empty_since: float | None = None
        self._stopping = False
        signal.signal(signal.SIGTERM, self._stop)

    def serve(self) -> None:
        """Work: a few events for each request, then a pause."""
        while not self._stopping:
            count = self._chance.randint(1, _MOST_PER_REQUEST)
            began = time.monotonic()
            for _ in range(count):
                self._track()
            self._confirm()
            rate = self._shift.rate / (_TRICKLE if os.path.exists(self._shift.slow_when) else 1)
            time.sleep(max(0.0, began + count / rate - time.monotonic()))

    def _track(self) -> None:
        number = next(self._numbers)
        chosen = None
        if number % _CHOSEN_BY_LIBRARY:
            chosen = str(UUID(int=self._chance.getrandbits(128), version=4))
        event = {**self._event(number), "idempotency_id": chosen}
        self._ledger.intend(chosen)
        try:
            returned = self._client.track_event(**event)
        except QueueFull:
            time.sleep(_FULL_PAUSE)  # not accepted: a web server would answer 503
            return
        if kept_in_memory.take():
            self._ledger.kept(returned)
            self._kept.append(returned)
            self._empty_since = None
        else:
            self._ledger.returned(returned)

    def _event(self, number: int) -> dict[str, Any]:
        padding = "x" * (_LARGE if number % _LARGE_ONE_IN == 0 else self._chance.randrange(100))
        event: dict[str, Any] = {
            "customer_id": self._chance.choice(CUSTOMERS),
            "event_name": "api_call",
            "properties": {"number": number, "padding": padding},
        }
        odd = self._chance.randrange(_ODD_ONE_IN)
        if odd == 0:
            event["time_created"] = datetime.now(UTC) + timedelta(days=3)
            event["customer_id"] = STRANGER
        elif odd == 1:
            event["time_created"] = datetime.now(UTC) - timedelta(days=60)
        return event

    def _confirm(self) -> None:
        """Write down as acknowledged what was kept in memory and has come to the disk."""
        if not self._kept:
            return
        now = time.monotonic()
        if self._client.stats().buffered:
            self._empty_since = None
        elif self._empty_since is None:
            self._empty_since = now
        elif now - self._empty_since >= _SETTLING:
            for returned in self._kept:
                self._ledger.returned(returned)
            self._kept.clear()

    def _stop(self, _number: int, _frame: object) -> None:
        self._stopping = True
