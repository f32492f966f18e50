"""Waiting until a relay has settled all that is in the broker's queue now: by a mark behind it."""

from __future__ import annotations

import time
from collections.abc import Callable

from lotus_durable.clock import monotonic

from .address import Address, BrokerTrouble
from .message import mark
from .publisher import Publisher

_PAUSE = 0.5
"""Seconds between two tries after the connection was lost."""


def wait_through(address: Address, ends_at: float, watch: Callable[[], None]) -> str | None:
    """Return None when a relay has settled everything that is in the queue now, else why not.

    Args:
        address: of the queue.
        ends_at: when to give up, by the monotonic clock.
        watch: called now and then.
    """

    def look(_: str | None) -> None:
        watch()
        if monotonic() >= ends_at:
            raise BrokerTrouble("no relay has delivered it in time")

    publisher = Publisher(address)
    try:
        while True:
            try:
                publisher.ask(mark(), look)
            except BrokerTrouble as trouble:
                if trouble.needs_person or monotonic() >= ends_at:
                    return trouble.reason
            else:
                return None
            watch()
            time.sleep(_PAUSE)
    finally:
        publisher.close()
