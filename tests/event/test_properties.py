# ruff: noqa: DTZ001  # what becomes of naive datetimes is tested here
from __future__ import annotations

import json
from collections import ChainMap, OrderedDict, UserDict, defaultdict, deque
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from fractions import Fraction
from types import MappingProxyType
from typing import Any, NamedTuple
from unittest.mock import Mock
from uuid import UUID

import pytest

from lotus_durable.errors import InvalidEvent
from lotus_durable.event import encoder
from lotus_durable.event.encoder import EventEncoder
from lotus_durable.event.properties import INT_MAX, INT_MIN, clean_properties
from lotus_durable.event.record import MAX_DEPTH, JsonValue

ROOM = 32_768


class Colour(Enum):
    RED = "red"
    NESTED = ("a", date(2024, 2, 19))


class Level(IntEnum):
    HIGH = 3


class Region(StrEnum):
    US = "us"


class Text(str):
    __slots__ = ()


class Whole(int):
    pass


class Real(float):
    pass


class Endless(Mapping[str, object]):
    """Promises one key and never stops."""

    def __getitem__(self, key: str) -> object:
        return key

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[str]:
        number = 0
        while True:
            yield str(number := number + 1)


class Point(NamedTuple):
    x: int
    y: int


def cleaned(value: object) -> JsonValue:
    return clean_properties({"value": value}, ROOM)["value"]


@pytest.mark.parametrize(
    ("given", "becomes"),
    [
        ("text", "text"),
        ("", ""),
        ("naïve 🎉 \x01\x7f\u2028", "naïve 🎉 \x01\x7f\u2028"),
        (True, True),
        (None, None),
        (INT_MIN, INT_MIN),
        (INT_MAX, INT_MAX),
        (1.5, 1.5),
        (5e-324, 5e-324),
        (1.7976931348623157e308, 1.7976931348623157e308),
        (Text("text"), "text"),
        (Whole(7), 7),
        (Real(0.5), 0.5),
        (datetime(2024, 2, 19, 10, 11, 12, tzinfo=UTC), "2024-02-19T10:11:12.000000Z"),
        (datetime(2024, 2, 19, 10, 11, 12), "2024-02-19T10:11:12.000000Z"),
        (date(2024, 2, 19), "2024-02-19"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Colour.RED, "red"),
        (Colour.NESTED, ["a", "2024-02-19"]),
        (Level.HIGH, 3),
        (Region.US, "us"),
        ((), []),
        ((1, ("a", [None])), [1, ["a", [None]]]),
        (Point(1, 2), [1, 2]),
        ({3, 1, 2}, [1, 2, 3]),
        (frozenset({"b", "a"}), ["a", "b"]),
        ({Decimal("1.5"), 1}, [1, 1.5]),
        (set(), []),
        ({}, {}),
        ({"": {"": []}}, {"": {"": []}}),
        ({Text("key"): 1}, {"key": 1}),
        ({Region.US: 1}, {"us": 1}),
        (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (defaultdict(int, a=1), {"a": 1}),
        (MappingProxyType({"a": (1,)}), {"a": [1]}),
        (ChainMap({"a": 1}, {"a": 2, "b": 3}), {"a": 1, "b": 3}),
        (UserDict({"a": 1}), {"a": 1}),
    ],
)
def test_a_value_becomes_the_plain_type_of_the_table(given: object, becomes: object) -> None:
    result = cleaned(given)
    assert result == becomes
    assert json.dumps(result) == json.dumps(becomes)
    assert type(result) is type(becomes)


def test_a_set_of_things_without_an_order_keeps_them_all() -> None:
    result = cleaned({1, "a", None})
    assert isinstance(result, list)
    assert set(map(repr, result)) == {"1", "'a'", "None"}


def test_keys_keep_their_order() -> None:
    assert list(clean_properties({"b": 1, "a": (), "c": 2}, ROOM)) == ["b", "a", "c"]


@pytest.mark.parametrize("properties", [[], [("a", 1)], "text", 1, Decimal(1), object(), {"a"}, Colour.RED])
def test_properties_that_are_no_mapping_are_refused(properties: object) -> None:
    with pytest.raises(InvalidEvent, match=r"^properties: must be a mapping such as a dict, not ") as caught:
        clean_properties(properties, ROOM)
    assert caught.value.field == "properties"


LONG_KEY = "k" * 1_000


@pytest.mark.parametrize(
    ("properties", "field", "reason"),
    [
        ({"a": "nul\0"}, "properties.a", "NUL character"),
        ({"a": "\ud800"}, "properties.a", "lone surrogate"),
        ({"a": ["\udfff"]}, "properties.a[0]", "lone surrogate"),
        ({"a": float("nan")}, "properties.a", "not a finite number"),
        ({"a": float("-inf")}, "properties.a", "not a finite number"),
        ({"a": Real("inf")}, "properties.a", "not a finite number"),
        ({"a": INT_MAX + 1}, "properties.a", "64 bits; str() of it is sent as text"),
        ({"a": [0, 0, 0, {"b": 2**64 + 1}]}, "properties.a[3].b", "64 bits; str() of it is sent as text"),
        ({"a": INT_MIN - 1}, "properties.a", "64 bits"),
        ({"a": Whole(INT_MAX + 1)}, "properties.a", "64 bits"),
        ({"a": b"bytes"}, "properties.a", "type bytes"),
        ({"a": 1j}, "properties.a", "type complex"),
        ({"a": object()}, "properties.a", "type object"),
        ({"a": Fraction(1, 3)}, "properties.a", "type Fraction"),
        ({"a": time(1)}, "properties.a", "type time"),
        ({"a": deque([1])}, "properties.a", "type deque"),
        ({"a": range(3)}, "properties.a", "type range"),
        ({"a": {}.keys()}, "properties.a", "type dict_keys"),
        ({"a": (n for n in [1])}, "properties.a", "type generator"),
        ({"a": Decimal}, "properties.a", "type type"),
        ({"items": [0, 1, 2, {"price": object()}]}, "properties.items[3].price", "type object"),
        ({"a": [[], [[], {"b": (1, float("nan"))}]]}, "properties.a[1][1].b[1]", "not a finite number"),
        ({"a": {frozenset({b""})}}, "properties.a[*][*]", "type bytes"),
        ({"two words": object()}, "properties['two words']", "type object"),
        ({"9": object()}, "properties['9']", "type object"),
        ({"": object()}, "properties['']", "type object"),
        ({"größe": object()}, "properties.größe", "type object"),
        ({"a\n": object()}, r"properties['a\n']", "type object"),
        ({LONG_KEY: object()}, "properties['" + "k" * 60 + "...']", "type object"),
        ({1: 2}, "properties", "key of type int"),
        ({"a": {"b": {None: 2}}}, "properties.a.b", "key of type NoneType"),
        ({"a": [{("b",): 2}]}, "properties.a[0]", "key of type tuple"),
        ({"a": {b"b": 2}}, "properties.a", "key of type bytes"),
        ({Colour.RED: 1}, "properties", "key of type Colour"),
        ({"a": {"\0": 2}}, "properties.a", r"key '\x00' that contains a NUL"),
        ({"a": {"\ud800": 2}}, "properties.a", r"key '\ud800' that contains a lone surrogate"),
    ],
)
def test_a_value_json_cannot_say_is_refused_with_its_path(properties: object, field: str, reason: str) -> None:
    with pytest.raises(InvalidEvent) as caught:
        clean_properties(properties, ROOM)
    assert caught.value.field == field
    assert reason in caught.value.reason
    assert str(caught.value).encode()  # it can be logged


def test_two_keys_that_become_one_are_refused() -> None:
    class Other(str):
        __slots__ = ()
        __hash__ = object.__hash__

        def __eq__(self, other: object) -> bool:
            return self is other

    with pytest.raises(InvalidEvent, match=r"properties\.a: has two keys with the text 'x'"):
        clean_properties({"a": {Other("x"): 1, Other("x"): 2}}, ROOM)


def nested(depth: int) -> dict[str, Any]:
    value: Any = 1
    for _ in range(depth - 1):
        value = [value]
    return {"a": value}


def test_containers_may_be_nested_up_to_the_limit_and_no_further() -> None:
    assert clean_properties(nested(MAX_DEPTH), ROOM) == nested(MAX_DEPTH)
    with pytest.raises(InvalidEvent, match=r"nested more than 64 levels deep") as caught:
        clean_properties(nested(MAX_DEPTH + 1), ROOM)
    assert caught.value.field == "properties.a" + "[0]" * (MAX_DEPTH - 1)


def test_nesting_beyond_the_recursion_limit_is_refused_like_any_other() -> None:
    with pytest.raises(InvalidEvent, match=r"nested more than 64 levels deep"):
        clean_properties(nested(100_000), 10**9)


def test_a_container_that_contains_itself_is_refused() -> None:
    loop: dict[str, Any] = {"list": [1]}
    loop["list"].append(loop)
    with pytest.raises(InvalidEvent, match=r"contains itself") as caught:
        clean_properties(loop, ROOM)
    assert caught.value.field == "properties.list[1]"


def test_the_same_container_twice_side_by_side_is_no_cycle() -> None:
    shared = {"x": [1]}
    assert clean_properties({"a": shared, "b": [shared, shared]}, ROOM) == {"a": shared, "b": [shared, shared]}


def test_lists_that_hold_one_another_many_times_over_end_at_the_size_limit() -> None:
    value: list[Any] = []
    for _ in range(MAX_DEPTH - 2):
        value = [value] * 10
    with pytest.raises(InvalidEvent, match=r"over max_event_bytes") as caught:
        clean_properties({"a": value}, ROOM)
    assert caught.value.field == "event"


@pytest.mark.parametrize(
    "value",
    [Endless(), {"deep": [Endless()]}, ["x" * ROOM], [0] * (ROOM + 1), {"k" * ROOM: ()}, {("k" * ROOM): "x"}],
)
def test_what_cannot_fit_is_refused_before_it_is_copied(value: object) -> None:
    with pytest.raises(InvalidEvent, match=r"over max_event_bytes"):
        clean_properties({"a": (value,)}, ROOM)


def test_the_callers_objects_are_neither_changed_nor_kept() -> None:
    inner: dict[str, Any] = {"list": [3, {1}], "time": datetime(2024, 2, 19)}
    before = repr(inner)
    result = clean_properties({"inner": inner}, ROOM)
    assert repr(inner) == before
    inner["list"].append("later")
    inner["list"][1].add(2)
    assert result == {"inner": {"list": [3, [1]], "time": "2024-02-19T00:00:00.000000Z"}}


@pytest.mark.parametrize(
    ("properties", "plain"),
    [
        ({}, True),
        ({"a": "x", "b": 1, "c": 1.5, "d": True, "e": None, "f": 2**53, "g": -(2**53)}, True),
        ({"a": "\0"}, False),
        ({"\0": "a"}, False),
        ({1: "a"}, False),
        ({Text("a"): "a"}, False),
        ({"a": Text("a")}, False),
        ({"a": Level.HIGH}, False),
        ({"a": INT_MAX + 1}, False),
        ({"a": INT_MIN - 1}, False),
        ({"a": 1, "b": float("nan")}, False),
        ({"a": float("inf")}, False),
        ({"a": float("-inf")}, False),
        ({"a": []}, False),
        ({"a": {}}, False),
        ({"a": b""}, False),
    ],
)
def test_only_flat_properties_with_nothing_to_do_are_taken_as_they_are(
    properties: dict[Any, Any], plain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean = Mock(return_value={})
    monkeypatch.setattr(encoder, "clean_properties", clean)
    EventEncoder(32_768).encode("customer", "name", properties, None, None)
    assert clean.called is not plain
