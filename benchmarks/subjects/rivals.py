"""What somebody would use instead. Imported by name, in the child that measures: none of it need be installed."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

from benchmarks.subjects import Place, Track

_OPEN_ATTEMPTS = 100
_OPEN_PAUSE = 0.02  # seconds
_LOCK_TIMEOUT = 60.0  # seconds; with less, a queue that many processes share refuses events


def lotus_python(place: Place) -> Track:
    """lotus-python 0.12; needs pydantic 1."""
    lotus: Any = import_module("lotus")
    lotus.api_key = "benchmark-key"
    lotus.host = place.server
    track_event: Callable[..., Any] = lotus.track_event

    def track(number: int) -> object:
        properties = {"region": "US", "mb_used": number}
        return track_event(customer_id="customer-123", event_name="api_call", properties=properties)[0]

    return track


def segment(place: Place) -> Track:
    """segment-analytics-python."""
    client = import_module("segment.analytics.client").Client("benchmark-key", host=place.server)

    def track(number: int) -> object:
        return client.track("customer-123", "api_call", {"region": "US", "mb_used": number})[0]

    return track


def posthog(place: Place) -> Track:
    """Posthog's client."""
    client = import_module("posthog").Posthog("benchmark-key", host=place.server)

    def track(number: int) -> object:
        properties = {"region": "US", "mb_used": number}
        return client.capture("api_call", distinct_id="customer-123", properties=properties) is not None

    return track


def opentelemetry(place: Place) -> Track:
    """A span with the same attributes, started and ended, through the batch processor to OTLP over HTTP."""
    exporter = import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter").OTLPSpanExporter(
        endpoint=f"{place.server}/v1/traces"
    )
    provider = import_module("opentelemetry.sdk.trace").TracerProvider()
    processor = import_module("opentelemetry.sdk.trace.export").BatchSpanProcessor(exporter)
    provider.add_span_processor(processor)
    start_span = provider.get_tracer("benchmarks").start_span
    waiting = processor._batch_processor._queue  # a full one drops what waits longest, and says so nowhere else

    def track(number: int) -> object:
        drops = len(waiting) == waiting.maxlen
        attributes = {"customer": "customer-123", "region": "US", "mb_used": number}
        start_span("api_call", attributes=attributes).end()
        return not drops

    return track


def litequeue(place: Place) -> Track:
    """litequeue: text in SQLite, one connection a thread as it wants it."""
    module = import_module("litequeue")
    dumps = import_module("json").dumps
    path = str(place.directory / "litequeue.db")
    connections = threading.local()

    def connection() -> Any:  # noqa: ANN401  # a library without types
        if not hasattr(connections, "queue"):
            connections.queue = _retried(lambda: module.LiteQueue(path, timeout=_LOCK_TIMEOUT))
        return connections.queue

    connection()

    def track(number: int) -> None:
        connection().put(dumps(event(number)))

    return track


def persist_queue(place: Place) -> Track:
    """persist-queue's SQLiteQueue as it comes, but for ``synchronous`` (its default is FULL)."""
    module = import_module("persistqueue")
    path = str(place.directory / "persist-queue")

    def opened() -> Any:  # noqa: ANN401  # a library without types
        queue = module.SQLiteQueue(path, multithreading=True, auto_commit=True, timeout=_LOCK_TIMEOUT)
        queue._putter.execute(f"PRAGMA synchronous={place.options['synchronous']}")  # no other way
        return queue

    queue = _retried(opened)

    def track(number: int) -> None:
        queue.put(event(number))

    return track


def event(number: int) -> dict[str, object]:
    """Return an event as the others are given it."""
    return {
        "event_name": "api_call",
        "customer_id": "customer-123",
        "idempotency_id": str(uuid.uuid4()),
        "time_created": datetime.now(UTC).isoformat(),
        "properties": {"region": "US", "mb_used": number},
    }


def _retried(open_queue: Callable[[], Any]) -> Any:  # noqa: ANN401  # a library without types
    """Open what several processes create at once: both SQLite queues fail at that now and then."""
    for _ in range(_OPEN_ATTEMPTS - 1):
        try:
            return open_queue()
        except Exception:  # noqa: BLE001  # FileExistsError, OperationalError: the last one is raised
            time.sleep(_OPEN_PAUSE)
    return open_queue()
