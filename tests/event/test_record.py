from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import msgpack
import pytest

import lotus_durable.event.encoder
from lotus_durable.errors import LotusError
from lotus_durable.event.encoder import EventEncoder
from lotus_durable.event.record import Event, JsonValue, RecordError, decode_record, event_as_json_object, unpack_record
from tests.delivery.answers import encode_event

FIELDS = ["id", "customer", "name", "2024-02-19T10:11:12.000000Z", {"a": 1}, 1708337472.5]


def encode(properties: object) -> bytes:
    return EventEncoder(32_768).encode("customer123", "api_call", properties, None, "id-1")[1]


def test_a_record_is_six_fields_of_msgpack_in_this_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lotus_durable.event.encoder, "time", lambda: 1708337472.5)
    properties = {"region": "US", "mb_used": 150}
    assert msgpack.unpackb(encode(properties)) == ["id-1", "customer123", "api_call", None, properties, 1708337472.5]
    assert decode_record(encode(properties)).time_created == "2024-02-19T10:11:12.500000Z"


def test_a_record_is_read_back_as_the_event() -> None:
    properties: dict[str, JsonValue] = {"a": [1, {"b": None}]}
    record = encode(properties)
    event = decode_record(record)
    assert event == Event("id-1", "customer123", "api_call", event.time_created, properties, event.accepted_at)
    assert decode_record(memoryview(b"x" + record)[1:]) == event


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth - 1):
        value = {"a": value}
    return value


def with_field(index: int, value: object) -> bytes:
    packed: bytes = msgpack.packb([*FIELDS[:index], value, *FIELDS[index + 1 :]])
    return packed


NOT_RECORDS = [
    pytest.param(b"", id="nothing"),
    pytest.param(b"\xc1", id="a byte msgpack never writes"),
    pytest.param(msgpack.packb(FIELDS)[:-1], id="cut short"),
    pytest.param(msgpack.packb(FIELDS) + b"\xc0", id="something behind it"),
    pytest.param(msgpack.packb(None), id="nil"),
    pytest.param(msgpack.packb({}), id="a map"),
    pytest.param(msgpack.packb("abcdef"), id="a string of six"),
    pytest.param(msgpack.packb(FIELDS[:-1]), id="five fields"),
    pytest.param(msgpack.packb([*FIELDS, 1]), id="seven fields"),
    pytest.param(b"\xdd\xff\xff\xff\xff", id="an array of four billion"),
    pytest.param(b"\x91" * 5_000, id="nested beyond msgpack"),
    pytest.param(with_field(0, ""), id="an empty id"),
    *(pytest.param(with_field(index, None), id=f"field {index} nil") for index in (0, 1, 2, 4, 5)),
    *(pytest.param(with_field(index, b"bytes"), id=f"field {index} bytes") for index in range(6)),
    pytest.param(with_field(4, [1]), id="properties a list"),
    pytest.param(with_field(4, {"a": b"x"}), id="bytes in the properties"),
    pytest.param(with_field(4, {"a": [math.nan]}), id="NaN in the properties"),
    pytest.param(with_field(4, {"a": math.inf}), id="infinity in the properties"),
    pytest.param(with_field(4, {b"a": 1}), id="a key of bytes"),
    pytest.param(with_field(4, {1: 1}), id="a key of int"),
    pytest.param(with_field(4, {"a": msgpack.ExtType(5, b"x")}), id="an extension type"),
    pytest.param(with_field(4, {"a": msgpack.Timestamp(5)}), id="a timestamp"),
    pytest.param(with_field(4, nested(65)), id="nested deeper than events are"),
    pytest.param(with_field(4, nested(400)), id="nested much deeper"),
    pytest.param(with_field(5, 1708337472), id="accepted_at an int"),
    pytest.param(with_field(5, math.nan), id="accepted_at NaN"),
    *(
        pytest.param(msgpack.packb([*FIELDS[:3], None, {}, moment]), id=f"accepted at {moment}, and no other time")
        for moment in (math.nan, math.inf, -math.inf, 1e12, 5, None)
    ),
    pytest.param(with_field(1, "x").replace(b"\xa1x", b"\xa1\xff"), id="not UTF-8"),
]


@pytest.mark.parametrize("record", NOT_RECORDS)
def test_what_is_not_a_record_is_not_read_as_one(record: bytes) -> None:
    with pytest.raises(RecordError, match=r"^the record") as caught:
        decode_record(record)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, LotusError)


@pytest.mark.parametrize("record", [*NOT_RECORDS, pytest.param(with_field(4, {"a": [1]}), id="a record")])
def test_there_is_one_opinion_about_the_shape_of_a_record(record: bytes) -> None:
    unpacked, decoded, sent = (outcome(read, record) for read in (unpack_record, decode_record, encode_event))
    if unpacked is not None:
        assert unpacked == decoded == sent
    else:  # decode_record looks into the properties, and lets nothing through that cannot be sent
        assert decoded is not None or sent is None


def outcome(read: Callable[[bytes], object], record: bytes) -> str | None:
    try:
        read(record)
    except RecordError as error:
        return str(error)
    return None


def test_a_record_cut_anywhere_is_not_a_record() -> None:
    record = encode({"a": [1, "text", 1.5]})
    for length in range(len(record)):
        with pytest.raises(RecordError):
            decode_record(record[:length])


def test_the_deepest_properties_an_event_may_have_are_read_back() -> None:
    properties = nested(64)
    event = decode_record(encode(properties))
    assert event.properties == properties
    assert json.loads(json.dumps(event_as_json_object(event)))["properties"] == properties
