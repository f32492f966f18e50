"""From records to the body of a request."""

from __future__ import annotations

import json
import math
import struct
import sys
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lotus_durable.delivery import wire
from lotus_durable.delivery.wire import encode_events

from .answers import encode_event, encoded_without_orjson


@pytest.fixture(params=["orjson", "stdlib"])
def encoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have it done by one of the two."""
    assert wire.orjson_dumps() is not None
    if request.param == "stdlib":
        monkeypatch.setattr(wire, "orjson_dumps", lambda: None)


def record(**changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "idempotency_id": "id-1",
        "customer_id": "acme",
        "event_name": "api_call",
        "time_created": "2024-02-19T10:11:12.500000Z",
        "properties": {"region": "eu", "bytes": 512},
        "accepted_at": 1_700_000_000.25,
    }
    packed = msgpack.packb([changes.get(name, value) for name, value in fields.items()])
    assert isinstance(packed, bytes)
    return packed


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"a": value}
    return value


json_leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
json_values = st.recursive(
    json_leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@pytest.mark.usefixtures("encoder")
def test_an_event_goes_out_with_five_fields_and_without_the_time_it_was_accepted() -> None:
    idempotency_id, time_created, event = encode_event(record())
    assert (idempotency_id, time_created) == ("id-1", "2024-02-19T10:11:12.500000Z")
    assert json.loads(event) == {
        "event_name": "api_call",
        "customer_id": "acme",
        "idempotency_id": "id-1",
        "time_created": "2024-02-19T10:11:12.500000Z",
        "properties": {"region": "eu", "bytes": 512},
    }
    assert b" " not in event


@given(properties=st.dictionaries(st.text(), json_values, max_size=5), customer_id=st.text())
def test_both_encoders_say_the_same(properties: dict[str, Any], customer_id: str) -> None:
    packed = record(properties=properties, customer_id=customer_id)
    quick, standard = encode_event(packed), encoded_without_orjson(packed)
    assert json.loads(quick[2]) == json.loads(standard[2])
    assert json.loads(quick[2])["properties"] == properties
    assert quick[:2] == standard[:2]


@pytest.mark.usefixtures("encoder")
@given(
    st.lists(
        st.fixed_dictionaries(
            {"customer_id": st.text(), "properties": st.dictionaries(st.text(), json_values, max_size=3)},
            optional={"time_created": st.none(), "accepted_at": st.floats(0.0, 2e9)},
        ),
        min_size=1,
        max_size=5,
    )
)
def test_of_many_events_each_is_encoded_as_if_it_were_alone(changes: list[dict[str, Any]]) -> None:
    packed = [record(idempotency_id=f"id-{number}", **each) for number, each in enumerate(changes)]
    ids, times, events = encode_events(packed)
    alone = [encode_event(each) for each in packed]
    assert [*zip(ids, times, strict=True)] == [each[:2] for each in alone]
    # One encoder writes 1e-08 and the other 1e-8, and one odd number among many may choose for them.
    assert [*map(json.loads, events)] == [json.loads(each[2]) for each in alone]


@pytest.mark.usefixtures("encoder")
@pytest.mark.parametrize(
    "wrong", [b"\xc1", record(properties={"price": math.inf}), record(event_name=1), record()[:-1]]
)
def test_many_events_are_refused_for_one_that_cannot_be_sent_and_it_is_named(wrong: bytes) -> None:
    with pytest.raises(ValueError, match="the record") as alone:
        encode_event(wrong)
    with pytest.raises(ValueError, match="the record") as among_others:
        encode_events([record(), wrong, record()])
    assert str(among_others.value) == str(alone.value)


def test_numbers_whose_bytes_look_like_no_number_are_sent_as_they_are() -> None:
    [number] = struct.unpack(">d", b"\x40\xca\xff\xcb\x7f\xf0\x00\x00")
    packed = record(properties={"number": number, "integer": 0xCB7F})
    assert json.loads(encode_event(packed)[2])["properties"] == {"number": number, "integer": 0xCB7F}


@pytest.mark.usefixtures("encoder")
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_json_does_not_have_is_refused_and_not_sent_as_null(number: float) -> None:
    with pytest.raises(ValueError, match="cannot be written as JSON"):
        encode_event(record(properties={"deep": [{"price": number}]}))


@pytest.mark.usefixtures("encoder")
def test_a_null_and_the_word_null_are_no_reason_to_refuse() -> None:
    properties = {"nothing": None, "word": "null"}
    assert json.loads(encode_event(record(properties=properties))[2])["properties"] == properties


@pytest.mark.usefixtures("encoder")
def test_nesting_beyond_what_orjson_takes_is_encoded() -> None:
    assert encode_event(record(properties=nested(300)))[2].count(b"{") == 302


def test_nesting_without_end_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="not msgpack"):
        encode_event(b"\x96\xa2id\xa1c\xa1e\xa1t" + b"\x81\xa1a" * 5_000 + b"\x80" + msgpack.packb(1.0))


def test_nesting_beyond_what_the_encoder_takes_is_a_value_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def dumps(_: object) -> bytes:
        raise RecursionError("maximum recursion depth exceeded while encoding a JSON object")

    monkeypatch.setattr(wire, "orjson_dumps", lambda: None)
    monkeypatch.setattr(wire, "stdlib_dumps", dumps)
    with pytest.raises(ValueError, match="cannot be written as JSON: maximum recursion depth"):
        encode_event(record())


@pytest.mark.usefixtures("encoder")
@pytest.mark.parametrize(
    "value",
    [b"bytes", msgpack.ExtType(5, b"x"), msgpack.Timestamp(1, 0)],
    ids=["bytes", "extension", "timestamp"],
)
def test_a_value_that_json_does_not_have_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="cannot be written as JSON"):
        encode_event(record(properties={"value": value}))


@pytest.mark.parametrize(
    ("packed", "reason"),
    [
        (b"", "not msgpack"),
        (record()[:-1], "not msgpack"),
        (record() + b"\x00", "not msgpack"),
        (b"\xc1", "not msgpack"),
        (b"\x96\xa1\xff" + record()[6:], "not msgpack"),
        (b"\x81\x90\x01", "not msgpack"),
        (msgpack.packb({"a": 1}), "not an array of 6"),
        (msgpack.packb(None), "not an array of 6"),
        (msgpack.packb(["id", "c", "n", "t", {}]), "not an array of 6"),
        (msgpack.packb(["id", "c", "n", "t", {}, 1.0, 2]), "not an array of 6"),
        (record(idempotency_id=7), "idempotency_id is int, not str"),
        (record(idempotency_id=""), "idempotency_id is empty"),
        (record(customer_id=None), "customer_id is NoneType, not str"),
        (record(event_name=b"raw"), "event_name is bytes, not str"),
        (record(time_created=1.5), "time_created is float, not str"),
        (record(properties=[1]), "properties is list, not dict"),
        (record(properties={1: 2}), "not msgpack"),
        (record(accepted_at="now"), "accepted_at is str, not float"),
    ],
)
def test_a_record_of_another_shape_is_refused_by_name(packed: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        encode_event(packed)


@given(st.binary())
def test_no_bytes_raise_anything_but_a_value_error(packed: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # whatever the reason
        encode_event(packed)


@given(position=st.integers(0, 10_000), value=st.integers(0, 255))
def test_a_changed_byte_raises_a_value_error_or_gives_an_event(position: int, value: int) -> None:
    packed = bytearray(record())
    packed[position % len(packed)] = value
    try:
        idempotency_id, _, event = encode_event(bytes(packed))
    except ValueError:
        return
    assert json.loads(event)["idempotency_id"] == idempotency_id


def test_without_orjson_the_standard_library_encodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "orjson", None)
    wire.orjson_dumps.cache_clear()
    try:
        assert wire.orjson_dumps() is None
        assert encode_event(record())[0] == "id-1"
    finally:
        wire.orjson_dumps.cache_clear()
