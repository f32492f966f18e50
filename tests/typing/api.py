"""Typical uses, as users write them: type-checked by mypy with the rest, never run."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, assert_type

import lotus_durable as lotus
from lotus_durable import Client, DrainReport, EventRefused, FlusherStats, LotusError, QueueStats


def settings() -> None:
    lotus.api_key = "key"
    lotus.host = "https://lotus.example.com"
    lotus.queue_dir = "/var/lib/app/lotus"
    lotus.queue_dir = Path("/var/lib/app/lotus")
    lotus.debug = True
    lotus.send = False
    lotus.sync_mode = True
    lotus.durability = "power"
    lotus.flusher = "external"
    lotus.timeout = 3
    lotus.timeout = (3.0, 20.0)
    lotus.on_error = on_error
    lotus.on_error = None
    lotus.durability = "paper"  # type: ignore[assignment]
    lotus.api_key = 7  # type: ignore[assignment]


def on_error(error: LotusError, events: list[dict[str, Any]]) -> None:
    if isinstance(error, EventRefused):
        assert_type(events[0]["idempotency_id"], Any)


def functions() -> None:
    assert_type(lotus.track_event(customer_id="c", event_name="e"), str)
    lotus.track_event(
        customer_id="customer123",
        event_name="api_call",
        properties={"region": "US", "mb_used": 150, "nested": {"a": [1, 2.5, None]}},
        time_created=datetime.now(UTC),
        idempotency_id="x",
    )
    lotus.track_event(customer_id="c", event_name="e", time_created="2024-02-19T12:00:00Z")
    lotus.track_event("c", "e")  # type: ignore[call-arg]
    lotus.track_event(customer_id=7, event_name="e")  # type: ignore[arg-type]
    assert_type(lotus.drain(), DrainReport)
    assert_type(lotus.drain(timeout=5).reason, str | None)
    assert_type(lotus.flush(5), bool)
    assert_type(lotus.stats(), QueueStats)
    assert_type(lotus.stats().flusher, FlusherStats | None)
    assert_type(lotus.stats().oldest_age, float | None)
    lotus.shutdown(timeout=3)
    lotus.join()


def clients(queue_dir: Path) -> None:
    with Client(api_key="key", host="https://lotus.example.com", queue_dir=queue_dir, on_error=on_error) as client:
        assert_type(client.track_event(customer_id="c", event_name="e"), str)
        assert_type(client.drain(), DrainReport)
        assert_type(client.stats(), QueueStats)
    lotus.Client(flush_interval=0.1, upload_concurrency=4, flusher="auto", backend="journal")
    lotus.Client(backend="sqlite")
    lotus.Client(colour="red")  # type: ignore[call-arg]
    lotus.Client(flusher="nobody")  # type: ignore[arg-type]


def report(drained: DrainReport) -> str:
    drained.complete = True  # type: ignore[misc]
    return drained.reason or f"{drained.delivered} delivered in {drained.elapsed:.1f} s"
