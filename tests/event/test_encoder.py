from __future__ import annotations

import math
import uuid
from datetime import UTC, datetime

import msgpack
import pytest

import lotus_durable.event.encoder
from lotus_durable.errors import InvalidEvent
from lotus_durable.event.encoder import EventEncoder
from lotus_durable.event.record import decode_record, event_as_json_object
from tests.delivery.answers import encode_event

from .encoding import LIMIT, encode, encoded


def test_the_wire_has_the_five_fields_of_the_server(encoder: EventEncoder) -> None:
    event = encoded(encoder, properties={"a": 1}, time_created="2024-02-19T10:11:12Z", idempotency_id="id-1")
    assert event_as_json_object(event) == {
        "event_name": "api_call",
        "customer_id": "customer123",
        "idempotency_id": "id-1",
        "time_created": "2024-02-19T10:11:12.000000Z",
        "properties": {"a": 1},
    }


def test_the_time_left_out_is_the_moment_of_the_call(encoder: EventEncoder) -> None:
    event = encoded(encoder)
    moment = datetime.strptime(event.time_created, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    assert math.isclose(moment.timestamp(), event.accepted_at, abs_tol=2e-6)


def test_the_time_stays_right_when_the_clock_steps_backwards(
    encoder: EventEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = iter([1708337472.25, 1708337472.5, 1708337400.75])
    monkeypatch.setattr(lotus_durable.event.encoder, "time", lambda: next(moments))
    assert [encoded(encoder).time_created for _ in range(3)] == [
        "2024-02-19T10:11:12.250000Z",
        "2024-02-19T10:11:12.500000Z",
        "2024-02-19T10:10:00.750000Z",
    ]


@pytest.mark.parametrize("time_created", [None, "2024-02-19T10:11:12Z"])
def test_a_clock_that_says_whole_seconds_makes_a_record_like_any_other(
    encoder: EventEncoder, monkeypatch: pytest.MonkeyPatch, time_created: str | None
) -> None:
    monkeypatch.setattr(lotus_durable.event.encoder, "time", lambda: 1708337472)
    _, record = encode(encoder, time_created=time_created)
    event = decode_record(record)
    assert (event.accepted_at, type(event.accepted_at)) == (1708337472.0, float)
    assert event.time_created == "2024-02-19T10:11:12.000000Z"
    assert encode_event(record)[1] == event.time_created


def test_properties_left_out_are_an_empty_object(encoder: EventEncoder) -> None:
    assert encoded(encoder).properties == {}
    assert encoded(encoder, properties={}).properties == {}


def test_properties_that_need_converting_are_converted(encoder: EventEncoder) -> None:
    assert encoded(encoder, properties={"t": (1, {"u": uuid.UUID(int=0)})}).properties == {
        "t": [1, {"u": "00000000-0000-0000-0000-000000000000"}]
    }


def test_the_callers_dict_may_change_after_the_call_and_is_not_changed_by_it(encoder: EventEncoder) -> None:
    properties = {"list": [1, (2,)], "flat": 1}
    _, record = encode(encoder, properties=properties)
    assert properties == {"list": [1, (2,)], "flat": 1}
    properties["flat"] = 2
    assert decode_record(record).properties == {"list": [1, [2]], "flat": 1}


# Ids ----------------------------------------------------------------------------------------------------------------


def test_every_digit_of_a_generated_id_is_random_but_the_version_and_the_moment() -> None:
    encoder = EventEncoder(LIMIT)
    columns = [set(column) for column in zip(*(encode(encoder)[0][:24] for _ in range(2_000)), strict=True)]
    digits = set("0123456789abcdef")
    expected = [digits] * 24
    for place in (8, 13, 18, 23):
        expected[place] = {"-"}
    expected[14], expected[19] = {"4"}, set("89ab")
    assert columns == expected


def test_a_given_id_is_kept(encoder: EventEncoder) -> None:
    idempotency_id, record = encode(encoder, idempotency_id="order-17")
    assert idempotency_id == decode_record(record).idempotency_id == "order-17"


# Times and properties -----------------------------------------------------------------------------------------------


def test_a_time_that_is_none_is_refused(encoder: EventEncoder) -> None:
    with pytest.raises(InvalidEvent, match=r"^time_created: must look like"):
        encode(encoder, time_created="yesterday")


@pytest.mark.parametrize(
    ("properties", "field"),
    [
        ({"a": "\ud800"}, "properties.a"),
        ({"a": "\0"}, "properties.a"),
        ({"\ud800": 1}, "properties"),
        ({"a": 1, "b": {"c": "\ud800"}}, "properties.b.c"),
        ({"a": 2**63}, "properties.a"),
        ({"a": float("inf")}, "properties.a"),
        ([], "properties"),
    ],
)
def test_properties_json_cannot_say_are_refused_with_the_path(
    encoder: EventEncoder, properties: object, field: str
) -> None:
    with pytest.raises(InvalidEvent) as caught:
        encode(encoder, properties=properties)
    assert caught.value.field == field


# Size ---------------------------------------------------------------------------------------------------------------


def test_a_record_may_be_as_long_as_the_limit_and_no_longer(encoder: EventEncoder) -> None:
    overhead = len(encode(encoder, properties={"a": "x" * 30_000})[1]) - 30_000
    _, record = encode(encoder, properties={"a": "x" * (LIMIT - overhead)})
    assert len(record) == LIMIT
    with pytest.raises(InvalidEvent) as caught:
        encode(encoder, properties={"a": "x" * (LIMIT - overhead + 1)})
    assert caught.value.field == "event"
    assert caught.value.reason == "takes 32769 bytes, over max_event_bytes (32768)"


@pytest.mark.parametrize(
    "arguments",
    [{"properties": {"a": "x" * LIMIT}}, {"properties": {"a": ["x" * LIMIT]}}, {"properties": {"a": [0] * LIMIT}}],
)
def test_a_record_over_the_limit_is_refused_wherever_its_bytes_are(
    encoder: EventEncoder, arguments: dict[str, object]
) -> None:
    with pytest.raises(InvalidEvent, match=r"^event: takes .* bytes, over max_event_bytes"):
        encode(encoder, **arguments)


# After a refusal ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        {"properties": {"long": "x" * 1_000, "bad": "\ud800"}},
        {"customer_id": "\ud800"},
        {"properties": {"a": "x" * LIMIT}},
        {"properties": {"a": object()}},
        {"time_created": 5},
        {"event_name": ""},
    ],
)
def test_nothing_of_a_refused_event_is_in_the_next_record(encoder: EventEncoder, arguments: dict[str, object]) -> None:
    with pytest.raises(InvalidEvent):
        encode(encoder, **arguments)
    assert encoded(encoder, properties={"a": 1}).properties == {"a": 1}


def test_the_packer_itself_keeps_nothing_of_what_it_could_not_pack() -> None:
    packer = msgpack.Packer()
    with pytest.raises(UnicodeEncodeError):
        packer.pack(["left over", "\ud800"])
    assert packer.pack("next") == msgpack.packb("next")


def test_what_msgpack_refuses_for_a_reason_of_its_own_is_refused_too(encoder: EventEncoder) -> None:
    def refuse(_: object) -> bytes:
        raise ValueError("unicode string is too large")

    encoder._pack = refuse
    with pytest.raises(InvalidEvent, match=r"^event: cannot be written as msgpack$") as caught:
        encode(encoder)
    assert isinstance(caught.value.__cause__, ValueError)
