"""What must hold for every event there can be, searched by hypothesis."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from typing import Any

import msgpack
from hypothesis import given, settings
from hypothesis import strategies as st

from lotus_durable.errors import InvalidEvent
from lotus_durable.event.encoder import EventEncoder
from lotus_durable.event.record import RecordError, decode_record, event_as_json_object
from lotus_durable.event.timestamps import Clock
from tests.delivery.answers import encode_event, encoded_without_orjson

LIMIT = 32_768
RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)
ENCODER = EventEncoder(LIMIT)

events = settings(max_examples=60)


class Odd(Enum):
    TEXT = "text"
    LOOP = ("a", None)


@dataclass
class Line:
    price: object


class Model:
    def __init__(self, value: object) -> None:
        self.value = value

    def model_dump(self, *, mode: str) -> object:
        return {mode: self.value}


class Raising:
    """Fails in the ways hypothesis itself does not trip over; the others are in test_properties_hostile."""

    def __iter__(self) -> Any:
        raise RuntimeError("iter")

    def __str__(self) -> str:
        raise RuntimeError("str")

    def __float__(self) -> float:
        raise RuntimeError("float")

    def __int__(self) -> int:
        raise RuntimeError("int")


class RaisingDict(dict[str, object]):
    def items(self) -> Any:
        raise LookupError("items")


good_text = st.text(st.characters(exclude_characters="\0", codec="utf-8"))
json_leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | good_text
)
json_values = st.recursive(json_leaves, lambda inner: st.lists(inner) | st.dictionaries(good_text, inner), max_leaves=8)
json_objects = st.dictionaries(good_text, json_values)

any_text = st.text(st.characters(exclude_categories=()))
any_leaves = (
    json_leaves
    | any_text
    | st.integers()
    | st.floats()
    | st.decimals()
    | st.fractions()
    | st.complex_numbers()
    | st.binary()
    | st.datetimes(timezones=st.none() | st.timezones())
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.uuids()
    | st.sampled_from([*Odd, Odd, object(), ..., Decimal, Fraction(1, 2), range(3)])
    | st.sampled_from([Raising, RaisingDict]).map(lambda kind: kind())
)
hashables = (
    st.none()
    | st.booleans()
    | st.integers()
    | any_text
    | st.floats()
    | st.decimals(allow_nan=False)
    | st.uuids()
    | st.dates()
)
any_values = st.recursive(
    any_leaves,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.sets(hashables)
        | st.frozensets(hashables)
        | st.dictionaries(hashables, inner)
        | st.lists(inner).map(iter)
        | inner.map(Line)
        | inner.map(Model)
    ),
    max_leaves=10,
)


@events
@given(any_values, any_values, any_values, any_values, any_values)
def test_arbitrary_arguments_are_refused_or_make_an_event_that_can_be_sent(
    customer_id: object, event_name: object, properties: object, time_created: object, idempotency_id: object
) -> None:
    fields: set[str] = set()
    messages: list[str] = []
    for arguments in (
        (customer_id, event_name, properties, time_created, idempotency_id),
        (customer_id, "name", None, None, None),
        ("customer", event_name, None, None, None),
        ("customer", "name", properties, None, None),
        ("customer", "name", {"a": properties}, None, None),
        ("customer", "name", None, time_created, None),
        ("customer", "name", None, None, idempotency_id),
    ):
        try:
            chosen_id, record = ENCODER.encode(*arguments)
        except InvalidEvent as refused:
            fields.add(re.split(r"[.\[]", refused.field)[0])
            messages.append(str(refused))
            continue
        event = decode_record(record)
        assert event.idempotency_id == chosen_id
        assert RFC_3339.fullmatch(event.time_created)
        sent = sent_by_both_encoders(record)
        assert sent == event_as_json_object(event)
        assert "\\u0000" not in json.dumps(sent).replace("\\\\", "")
    assert fields <= {"customer_id", "event_name", "properties", "time_created", "idempotency_id", "event"}
    assert all(message.encode() for message in messages)  # they can be logged


def sent_by_both_encoders(record: bytes) -> dict[str, Any]:
    """What the flusher sends for a record, the same value whichever JSON encoder is installed."""
    quick, standard = encode_event(record), encoded_without_orjson(record)
    assert quick[:2] == standard[:2]
    values: list[dict[str, Any]] = [json.loads(event) for _, _, event in (quick, standard)]
    assert repr(values[0]) == repr(values[1])  # repr tells 1 from 1.0 and from True
    return values[0]


@events
@given(json_objects)
def test_whatever_json_can_say_is_sent_as_it_is_by_both_encoders(properties: dict[str, Any]) -> None:
    _, record = ENCODER.encode("customer", "name", properties, None, None)
    assert repr(sent_by_both_encoders(record)["properties"]) == repr(properties)


@events
@given(json_objects)
def test_the_json_of_an_event_is_at_most_six_times_its_record(properties: dict[str, Any]) -> None:
    _, record = ENCODER.encode("customer", "name", properties, None, None)
    body = json.dumps(event_as_json_object(decode_record(record)), separators=(",", ":"))
    assert len(body) <= 6 * len(record)


@events
@given(st.datetimes(timezones=st.none() | st.timezones()))
def test_a_datetime_with_or_without_a_zone_keeps_its_instant(moment: datetime) -> None:
    try:
        _, record = ENCODER.encode("customer", "name", None, moment, None)
    except InvalidEvent:
        assert moment.year in {1, 9999}
        return
    written = decode_record(record).time_created
    assert RFC_3339.fullmatch(written)
    in_utc = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    assert datetime.fromisoformat(written) - in_utc.astimezone(UTC) == timedelta(0)


@events
@given(st.text(alphabet="0123456789-+:.TZtz ", max_size=40) | any_text)
def test_any_string_is_refused_as_a_time_or_written_in_the_one_form(text: str) -> None:
    try:
        _, record = ENCODER.encode("customer", "name", None, text, None)
    except InvalidEvent:
        return
    assert RFC_3339.fullmatch(decode_record(record).time_created)


@events
@given(st.lists(st.floats(0, 4e9), min_size=1))
def test_a_clock_that_jumps_anywhere_is_written_within_a_microsecond(moments: list[float]) -> None:
    clock = Clock()
    for moment in moments:
        written = clock.text(moment)
        assert RFC_3339.fullmatch(written)
        exact = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=moment)
        assert abs(datetime.fromisoformat(written) - exact) <= timedelta(microseconds=1)


@events
@given(st.data())
def test_damaged_bytes_are_an_event_that_can_be_sent_or_no_record(data: st.DataObject) -> None:
    _, record = ENCODER.encode("customer", "name", data.draw(json_objects), None, "id")
    damaged = bytearray(record)
    for position in data.draw(st.lists(st.integers(0, len(record) - 1), max_size=3)):
        damaged[position] = data.draw(st.integers(0, 255))
    check_decoding(bytes(damaged))


@events
@given(st.binary() | json_values.map(msgpack.packb))
def test_foreign_bytes_are_an_event_that_can_be_sent_or_no_record(record: bytes) -> None:
    check_decoding(record)


def check_decoding(record: bytes) -> None:
    try:
        event = decode_record(record)
    except RecordError:
        return
    assert sent_by_both_encoders(record) == event_as_json_object(event)
