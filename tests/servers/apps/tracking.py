"""What the applications under test do: track events, and write down which.

The library is used as its README says: imported, settings in the environment, no hook and no setup call.
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from uuid import uuid4

import lotus_durable as lotus
from lotus_durable import Client, settings
from lotus_durable.config import Config

from .ledger import Ledger

LEDGER = "TEST_LEDGER"
"""The environment variable that names the ledger's folder."""

IDLE = "TEST_IDLE"
"""The one that holds the seconds after which a flusher without work ends, if that is not the library's own figure."""

if IDLE in os.environ:
    _config = Config.resolve()
    _constants = _config.constants._replace(idle_before_end=float(os.environ[IDLE]))
    settings._client = Client.from_config(_config._replace(constants=_constants))

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
