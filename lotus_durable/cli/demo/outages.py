"""How the server of the demo fails, one way after the other, and how it gets well again."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lotus_durable.testing.faults import Delay, Drip, Fault, Faults, RateLimited, RefuseEvents, Reset, Status, Truncate
from lotus_durable.testing.process import FakeLotusProcess

from .plan import NEWCOMER

_REFUSED = "No customer_id provided"
"""One of the reasons with which a server refuses an event for good."""
_BROKER = "Failed to produce event to kafka: NOT_ENOUGH_REPLICAS"

_AWAY = 1.2  # seconds
_FIRST, _LAST = 0.08, 0.92
_PATIENCE = 5.0
"""Seconds to wait, at the most, until a failure has struck: while it backs off, the uploader asks for nothing."""
_SHARE = 0.65
"""The part of its time in which a failure lasts; then the server is well until the next one."""

_CUSTOMER_CREATED = 0.7

Rates = Mapping[Fault, float]

_FAILURES: Sequence[tuple[str, Rates | None]] = (
    ("fails: 503 and 500", {Status(503): 0.3, Status(500): 0.3}),
    ("stores events and resets the connection before answering", {Reset(): 0.45}),
    ("refuses connections", None),
    ("limits the rate: 429, Retry-After 1", {RateLimited(1): 0.3}),
    ("is slow: answers late, or byte by byte", {Delay(0.3): 0.5, Drip(0.005): 0.3}),
    (
        "stores events, then a proxy answers 502 or cuts the answer short",
        {Status(502, stored=True): 0.3, Truncate(): 0.2},
    ),
    ("takes only a part of each batch", {RefuseEvents(_BROKER, fraction=0.3): 0.7}),
    ("does all of this at random", {Status(503): 0.1, Reset(): 0.15, Delay(0.2): 0.2, Truncate(): 0.1}),
)


@dataclass(frozen=True, slots=True)
class _Step:
    due: float
    """When, as a part of all events that are tracked by then."""
    what: str
    do: Callable[[], None]


class Outages:
    """Lets the server fail as the tracking goes on. It refuses some events for good throughout."""

    def __init__(self, server: FakeLotusProcess, refused_ids: Sequence[str], seed: int) -> None:
        self._server = server
        self._seed = seed
        # As the last of the rates: whatever no other fault hits is processed, but for these events.
        self._always: Rates = {RefuseEvents(_REFUSED, ids=tuple(refused_ids)): 1.0}
        self._steps = deque(sorted(self._plan(), key=lambda step: step.due))
        self._struck = 0
        self._awaited = 0
        self._patient_until = 0.0

    def begin(self) -> None:
        """Start well, but for the events that are refused for good."""
        self._set({})

    def look(self, part: float, struck: int) -> str | None:
        """Do the next step if it is due and the last failure was felt; return what it is in words.

        Args:
            part: how much of all events is tracked (0 to 1).
            struck: how often the server has failed until now.
        """
        self._struck = struck
        is_felt = struck >= self._awaited or time.monotonic() > self._patient_until
        if not self._steps or self._steps[0].due > part or not is_felt:
            return None
        step = self._steps[0]
        try:
            step.do()
        except OSError:
            return None  # it is away, and cannot be told now
        self._steps.popleft()
        return step.what

    def end(self) -> bool:
        """Have it over with, whatever was still to come; return whether the server could be told."""
        try:
            self._server.add_customer(NEWCOMER)
            self._set({})
        except OSError:
            return False
        self._steps.clear()
        return True

    @staticmethod
    def failures(state: Mapping[str, Any]) -> dict[str, int]:
        """Return how often the server failed, by kind, from its own counts.

        RefuseEvents is not among them: it stands on every request, for the events that are refused for good.
        """
        return {kind: times for kind, times in state["faults"].items() if kind != RefuseEvents.__name__}

    def is_over(self) -> bool:
        """Whether all of it has happened."""
        return not self._steps

    def _plan(self) -> list[_Step]:
        distance = (_LAST - _FIRST) / len(_FAILURES)
        steps = []
        for number, (what, rates) in enumerate(_FAILURES):
            begin = _FIRST + number * distance
            steps.append(_Step(begin, f"the server {what}", self._failure(rates)))
            steps.append(_Step(begin + _SHARE * distance, "the server is well again", lambda: self._set({})))
        created = f"customer {NEWCOMER!r} is created, whose events were refused until now"
        steps.append(_Step(_CUSTOMER_CREATED, created, lambda: self._server.add_customer(NEWCOMER)))
        return steps

    def _failure(self, rates: Rates | None) -> Callable[[], None]:
        if rates is None:
            return self._go_away
        return lambda: self._set(rates)

    def _go_away(self) -> None:
        self._set({})
        self._server.go_away(_AWAY)

    def _set(self, rates: Rates) -> None:
        # Each kind once for certain, then at random.
        self._server.set_faults(Faults(script=rates, rates={**rates, **self._always}, seed=self._seed))
        self._awaited = self._struck + sum(not isinstance(fault, RefuseEvents) for fault in rates)
        self._patient_until = time.monotonic() + _PATIENCE
