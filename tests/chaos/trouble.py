"""What can be wrong with the server: every kind of fault that FakeLotus has, each for one round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lotus_durable.testing import (
    Away,
    DatabaseDown,
    Delay,
    Drip,
    Fault,
    Faults,
    RateLimited,
    Redirect,
    RefuseEvents,
    Reset,
    Status,
    Truncate,
)

READ_TIMEOUT = 5.0
"""Seconds that the processes wait for an answer."""

_Trouble = tuple[Sequence[Fault], Mapping[Fault, float]]
"""Faults that come once each for certain, and faults with the chance of each for every request."""

TROUBLES: Mapping[str, _Trouble] = {
    "stored, then reset": ([Reset()], {Reset(): 0.2}),
    "reset before reading": ([Reset("before_reading")], {Reset("before_reading"): 0.2}),
    "stored, then 502, or cut short": ([Status(502, stored=True), Truncate()], {Truncate(): 0.1, Truncate(40): 0.1}),
    "503 and 500": ([Status(503), Status(500)], {Status(503): 0.1, Status(500): 0.1}),
    "database down": ([DatabaseDown()], {DatabaseDown(): 0.2}),
    "late and in drips": ([Delay(0.3), Drip(0.005)], {Delay(0.1): 0.2, Drip(0.002): 0.2}),
    "rate limited": ([RateLimited(1), RateLimited(1, as_date=True)], {}),
    "another server answers": ([Redirect(), Status(200), Status(404)], {Redirect(): 0.05}),
    "too large": ([Status(413)], {Status(413): 0.05}),
    "the key is refused": ([Status(401), Status(403)], {}),
    "away": ([Away(0.5)], {}),
    "the broker fails": (
        [],
        {RefuseEvents("Failed to produce event to kafka: NOT_ENOUGH_REPLICAS", fraction=0.1): 0.3},
    ),
    "customers are unknown": ([], {RefuseEvents("Customer does not exist", fraction=0.02): 0.3}),
    "refused for good": ([], {RefuseEvents("No customer_id provided", fraction=0.01): 0.3}),
    "an unknown reason": ([], {RefuseEvents("The moon is full", fraction=0.01): 0.2}),
    "everything": (
        [],
        {Status(503): 0.05, Reset(): 0.1, Delay(0.1): 0.1, Truncate(): 0.05, Status(502, stored=True): 0.05},
    ),
    "later than anybody waits": ([Delay(READ_TIMEOUT + 1)], {}),
}

SLOW = frozenset({"later than anybody waits"})
"""After a timeout the next try comes 8 s later at the earliest."""


def faults_of(name: str, seed: int) -> Faults:
    """Return the faults of a trouble."""
    script, rates = TROUBLES[name]
    return Faults(script=script, rates=rates, seed=seed)
