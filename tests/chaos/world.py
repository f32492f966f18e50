"""What is wrong around other strikes: the disk, the clock, the server."""

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
    RefuseEvents,
    Reset,
    Slow,
    Status,
    Truncate,
)

from .harness import Harness
from .plan import READ_TIMEOUT

TROUBLES: Mapping[str, tuple[Sequence[Fault], Mapping[Fault, float]]] = {
    "server away": ([Away(1.0)], {}),
    "server slow": ([Slow(0.5), Delay(0.3), Drip(0.005)], {Slow(0.1): 0.3, Delay(0.1): 0.2}),
    "server slower than anybody waits": ([Slow(READ_TIMEOUT + 0.5)], {}),
    "500, 502, 503": ([Status(503), DatabaseDown()], {Status(500): 0.1, Status(502, stored=True): 0.2}),
    "stored, then reset or cut short": ([Reset(), Truncate()], {Reset(): 0.2, Truncate(40): 0.1}),
    "refused key, rate limit, too large": ([Status(401), RateLimited(1), Status(413)], {}),
    "events refused": ([], {RefuseEvents("Customer does not exist", fraction=0.02): 0.3}),
}
"""What is wrong with the server, while other strikes go on: some faults once each, some by chance."""


_OFF = [sign * seconds for sign in (1, -1) for seconds in (3_600, 86_400, 400 * 86_400)]


def set_clock(harness: Harness) -> bool:
    if not harness.clock.can_be_set:
        return False
    harness.clock.set(harness.chance.choice(_OFF))
    harness.pass_(harness.chance.uniform(0.3, 3.0))
    harness.clock.set(0)
    return True


def fill_disk(harness: Harness) -> bool:
    if not harness.disk.can_be_filled:
        return False
    harness.is_well = False
    harness.disk.fill()
    harness.pass_(harness.chance.uniform(0.3, 2.0))
    if harness.chance.random() < 0.5:
        harness.disk.free()  # else it stays full through some other strikes
    return True


def trouble(name: str, harness: Harness) -> bool:
    script, rates = TROUBLES[name]
    harness.tell_server(Faults(script=script, rates=rates, seed=harness.chance.randrange(1 << 20), path="/api/track/"))
    return True
