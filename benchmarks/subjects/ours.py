"""lotus_durable's ``track_event``, through the public client."""

from __future__ import annotations

import os
import time
from typing import Any

from benchmarks.subjects import Place, Track
from benchmarks.surroundings import API_KEY

_SLOW_SYNC = 0.005  # seconds


def opened(place: Place) -> Track:
    """Make a client with the place's options.

    The package is imported here: another build of it may be measured.
    """
    options = {"max_queue_bytes": 1 << 34, **place.options}
    import lotus_durable

    client = lotus_durable.Client(api_key=API_KEY, host=place.server, queue_dir=place.directory / "queue", **options)
    track_event = client.track_event

    def track(number: int) -> None:
        track_event(customer_id="customer-123", event_name="api_call", properties={"region": "US", "mb_used": number})

    return track


def opened_with_slow_sync(place: Place) -> Track:
    """Do the same on a disk that takes 5 ms for each sync."""
    sync = os.fdatasync

    def slow(fd: Any) -> None:  # noqa: ANN401  # as os has it
        time.sleep(_SLOW_SYNC)
        sync(fd)

    os.fdatasync = slow
    return opened(place)
