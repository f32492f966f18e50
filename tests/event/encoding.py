"""Events encoded in tests."""

from __future__ import annotations

import pytest

from lotus_durable.errors import InvalidEvent
from lotus_durable.event.encoder import EventEncoder
from lotus_durable.event.properties import clean_properties
from lotus_durable.event.record import Event, JsonValue, decode_record

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


def cleaned(value: object) -> JsonValue:
    """What becomes of a value somewhere in the properties."""
    return clean_properties({"a": [0, 0, 0, {"b": value}]}, LIMIT)["a"][3]["b"]  # type: ignore[index,call-overload]


def refusal(value: object) -> str:
    """Why a value somewhere in the properties is refused."""
    with pytest.raises(InvalidEvent) as caught:
        cleaned(value)
    assert caught.value.field.startswith("properties.a[3].b")
    return str(caught.value)
