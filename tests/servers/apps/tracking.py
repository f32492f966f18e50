"""What the applications under test do: track events, and write down which.

The library is used as its README says: imported, settings in the environment, no hook and no setup call.
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from uuid import uuid4

import lotus_durable as lotus

from .ledger import Ledger

LEDGER = "TEST_LEDGER"
"""The environment variable that names the ledger's folder."""

_ledger = Ledger(Path(os.environ.get(LEDGER, os.devnull)))
_numbers = itertools.count()


def track(count: int = 1) -> None:
    """Track events; every other id is the library's choice, so that ids that collide after a fork are seen."""
    for _ in range(count):
        number = next(_numbers)
        chosen = str(uuid4()) if number % 2 else None
        _ledger.intend(chosen)
        _ledger.returned(
            lotus.track_event(
                customer_id="customer-1",
                event_name="request",
                properties={"pid": os.getpid(), "number": number, "path": "/track"},
                idempotency_id=chosen,
            )
        )
