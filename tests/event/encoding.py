"""Events encoded in tests."""

from __future__ import annotations

from lotus_durable.event.encoder import EventEncoder
from lotus_durable.event.record import Event, decode_record

LIMIT = 32_768


def encode(encoder: EventEncoder, **arguments: object) -> tuple[str, bytes]:
    given: dict[str, object] = {
        "customer_id": "customer123",
        "event_name": "api_call",
        "properties": None,
        "time_created": None,
        "idempotency_id": None,
    }
    return encoder.encode(**(given | arguments))


def encoded(encoder: EventEncoder, **arguments: object) -> Event:
    return decode_record(encode(encoder, **arguments)[1])
