"""Waiting until a relay has settled all that is in the broker's queue now: by a mark behind it."""

from __future__ import annotations

import time
from collections.abc import Callable

from lotus_durable.clock import monotonic

from .address import Address, BrokerTrouble
from .message import mark
from .publisher import Publisher

_PAUSE = 1.0
"""Seconds between two tries after the connection was lost."""
_LOOK_INTERVAL = 0.1


class _TimeIsUp(Exception):
    """Nobody waits any more."""


def wait_through(address: Address, ends_at: float, watch: Callable[[], None]) -> str | None:
    """Return None when a relay has settled everything that is in the queue now, else why not.

    Args:
        address: of the queue.
        ends_at: when to give up, by the monotonic clock.
        watch: called now and then.
    """
    publisher = Publisher(address)
    reason = "no relay has delivered it in time"

    def look(_: object = None) -> None:
        watch()
        if monotonic() > ends_at:
            raise _TimeIsUp

    try:
        while True:
            try:
                look()
                publisher.ask(mark(), look)
            except BrokerTrouble as trouble:
                reason = trouble.reason
                if trouble.needs_person:
                    return reason
                again_at = monotonic() + _PAUSE
                while monotonic() < again_at:
                    look()
                    time.sleep(_LOOK_INTERVAL)
            else:
                return None
    except _TimeIsUp:
        return reason
    finally:
        publisher.close()
