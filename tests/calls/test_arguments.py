"""What each reader of an argument makes of it, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any, Literal
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lotus_durable.calls import arguments
from lotus_durable.errors import InvalidRequest


class Text(str):
    """Somebody's own kind of text."""

    __slots__ = ()

    def strip(self, *_: object) -> str:
        return ""


@pytest.mark.parametrize(
    ("read", "given_value", "sent"),
    [
        (arguments.text, "Zoë & co", "Zoë & co"),
        (arguments.text, Text("x"), "x"),
        (arguments.identifier, "a.b/c", "a.b/c"),
        (arguments.path_part, "a b", "a%20b"),
        (arguments.path_part, "Zoë", "Zo%C3%AB"),
        (arguments.path_part, "a%2Fb", "a%252Fb"),
        (arguments.path_part, "%2e%2e", "%252e%252e"),
        (arguments.path_part, "a?b#c&d=e;f\\g", "a%3Fb%23c%26d%3De%3Bf%5Cg"),
        (arguments.boolean, True, True),
        (arguments.boolean, "True", True),
        (arguments.boolean, "False", False),
        (arguments.boolean, "false", False),
        (arguments.day, "2020-01-01T00:00:00Z", "2020-01-01"),
        (arguments.day, "2020-01-01", "2020-01-01"),
        (arguments.day, date(2020, 1, 1), "2020-01-01"),
        (arguments.day, datetime(2020, 1, 1, 23, 30, tzinfo=timezone(-timedelta(hours=2))), "2020-01-02"),
        (arguments.moment, "2020-01-01T00:00:00Z", "2020-01-01T00:00:00.000000Z"),
        (arguments.moment, "2020-01-01 02:00:00+02:00", "2020-01-01T00:00:00.000000Z"),
        (arguments.moment, "2020-01-01", "2020-01-01T00:00:00.000000Z"),
        (arguments.moment, date(2020, 1, 1), "2020-01-01T00:00:00.000000Z"),
        (arguments.moment, datetime(2020, 1, 1, 12, tzinfo=UTC), "2020-01-01T12:00:00.000000Z"),
        (arguments.moment, datetime(2020, 1, 1, 12), "2020-01-01T12:00:00.000000Z"),  # noqa: DTZ001  # naive is UTC
        (arguments.number, 5, "5"),
        (arguments.number, 0.1, "0.1"),
        (arguments.number, 1e22, "10000000000000000000000"),
        (arguments.number, 1e-7, "0.0000001"),
        (arguments.number, Decimal("0.12345678901234567890"), "0.12345678901234567890"),
        (arguments.number, Decimal("1E+3"), "1000"),
        (arguments.number, Decimal("10.50"), "10.50"),
        (arguments.count, 3, 3),
        (arguments.duration, 3, 3.0),
        (arguments.json_object, {"a": (1, None)}, {"a": [1, None]}),
        (arguments.listed(arguments.text), ("a", "b"), ["a", "b"]),
        (arguments.choice(Literal["a", "b"]), "b", "b"),
        (
            arguments.subscription_filter,
            {"property_name": "region", "value": 7},
            {"property_name": "region", "value": "7"},
        ),
        (arguments.initial_units, {"metric_id": "m", "units": Decimal("1.5")}, {"metric_id": "m", "units": "1.5"}),
    ],
)
def test_an_argument_is_sent_as_the_server_reads_it(
    read: Callable[[str, Any], object], given_value: object, sent: object
) -> None:
    result = read("argument", given_value)
    assert result == sent
    assert type(result) is type(sent)


@pytest.mark.parametrize(
    ("read", "value", "message"),
    [
        (arguments.text, None, "argument: is required"),
        (arguments.text, "", "argument: must not be empty"),
        (arguments.text, " \t", "argument: must not be empty"),
        (arguments.text, 7, "argument: must be a str, not int"),
        (arguments.text, b"x", "argument: must be a str, not bytes"),
        (arguments.text, "a\0", "argument: contains a NUL"),
        (arguments.text, "\ud800", "argument: contains a lone surrogate"),
        (arguments.identifier, " a", "argument: has white space before"),
        (arguments.identifier, "a\n", "argument: has white space before"),
        (arguments.path_part, "..", "argument: has a dot or a slash"),
        (arguments.path_part, "a/b", "argument: has a dot or a slash"),
        (arguments.path_part, "user@example.com", "argument: has a dot or a slash"),
        (arguments.path_part, "", "argument: must not be empty"),
        (arguments.boolean, "yes", "argument: must be True or False"),
        (arguments.boolean, 1, "argument: must be True or False"),
        (arguments.boolean, None, "argument: must be True or False"),
        (arguments.choice(Literal["a", "b"]), "c", "argument: must be one of a, b"),
        (arguments.choice(Literal["a", "b"]), ["a"], "argument: must be one of a, b"),
        (arguments.moment, None, "argument: is required"),
        (arguments.moment, 1577836800, "argument: must be a datetime or an RFC 3339 string; unix time"),
        (arguments.moment, "2020-02-30", "argument: is not a day that exists"),
        (arguments.moment, "2020-02-30T00:00:00Z", "argument: is not a time that exists"),
        (arguments.moment, "tomorrow", "argument: must look like"),
        (arguments.day, "2020-1-1", "argument: must look like"),
        (arguments.number, None, "argument: is required"),
        (arguments.number, "5", "argument: must be a Decimal, an int or a float, not str"),
        (arguments.number, True, "argument: must be a Decimal, an int or a float, not bool"),
        (arguments.number, Fraction(1, 3), "argument: must be a Decimal, an int or a float, not Fraction"),
        (arguments.number, float("nan"), "argument: must be a finite number"),
        (arguments.number, Decimal("Infinity"), "argument: must be a finite number"),
        (arguments.number, Decimal("sNaN"), "argument: must be a finite number"),
        (arguments.number, Decimal("1e9999999"), "argument: has more than 100 digits"),
        (arguments.number, Decimal("1e-9999999"), "argument: has more than 100 digits"),
        (arguments.count, 0, "argument: must be a whole number of at least 1"),
        (arguments.count, 10**1000, "argument: has more than 100 digits"),
        (arguments.count, 1.0, "argument: must be a whole number of at least 1"),
        (arguments.count, True, "argument: must be a whole number of at least 1"),
        (arguments.duration, 0, "argument: must be a number of seconds above 0"),
        (arguments.duration, float("inf"), "argument: must be a number of seconds above 0"),
        (arguments.duration, 10**1000, "argument: has more than 100 digits"),
        (arguments.json_object, "{}", "argument: must be a mapping such as a dict, not str"),
        (arguments.json_object, {"a": [{"b": object()}]}, "argument.a[0].b: is of type object"),
        (arguments.json_object, {"a": float("nan")}, "argument.a: is not a finite number"),
        (arguments.json_object, {"a": "x" * 2**21}, "argument: takes more than 1048576 bytes"),
        (arguments.listed(arguments.text), "abc", "argument: must be a list, not str"),
        (arguments.listed(arguments.text), {"a"}, "argument: must be a list, not set"),
        (arguments.listed(arguments.text), ["a", ""], "argument[1]: must not be empty"),
        (arguments.subscription_filter, {"property_name": "a"}, "argument: must be a mapping with property_name and"),
        (arguments.subscription_filter, {"property_name": "a", "value": True}, "argument.value: must be a str"),
        (arguments.subscription_filter, {"property_name": "a", "value": 10**1000}, "argument.value: has more than 100"),
        (arguments.subscription_filter, [("property_name", "a")], "argument: must be a mapping"),
        (arguments.initial_units, {"metric_id": "", "units": 1}, "argument.metric_id: must not be empty"),
        (arguments.initial_units, {"metric_id": "m", "units": "1"}, "argument.units: must be a Decimal"),
    ],
)
def test_what_cannot_be_sent_is_refused_with_the_arguments_name(
    read: Callable[[str, Any], object], value: object, message: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read("argument", value)
    assert str(refused.value).startswith(message)
    assert refused.value.argument is not None
    assert str(refused.value).startswith(f"{refused.value.argument}: ")
    assert refused.value.__context__ is None
    assert (refused.value.status, refused.value.outcome_unknown) == (None, False)


def test_exactly_one_of_several_is_named() -> None:
    assert arguments.exactly_one(a=None, b=0) == "b"
    with pytest.raises(InvalidRequest, match=r"^a: one of a, b or c is needed$"):
        arguments.exactly_one(a=None, b=None, c=None)
    with pytest.raises(InvalidRequest, match=r"^c: only one of a, b or c can be given$"):
        arguments.exactly_one(a=1, b=None, c=2)


def test_a_change_of_nothing_is_refused() -> None:
    arguments.at_least_one(a=None, b=False)
    with pytest.raises(InvalidRequest, match=r"^a: one of a or b is needed"):
        arguments.at_least_one(a=None, b=None)


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**20), max_value=10**20))
def test_no_digit_of_a_decimal_is_lost(amount: Decimal) -> None:
    try:
        sent = arguments.number("amount", amount)
    except InvalidRequest:
        assert -int(amount.as_tuple().exponent) >= 100
    else:
        assert Decimal(sent) == amount
        assert "e" not in sent.lower()


@given(st.floats(min_value=1e-80, max_value=1e90) | st.integers())
def test_no_digit_of_a_number_is_lost(amount: float) -> None:
    if isinstance(amount, int) and len(str(abs(amount))) > 100:
        with pytest.raises(InvalidRequest, match="digits"):
            arguments.number("amount", amount)
        return
    assert Decimal(arguments.number("amount", amount)) == Decimal(repr(amount))


@given(st.text())
def test_a_part_of_a_path_is_one_part_and_reads_back_as_it_was(text: str) -> None:
    try:
        part = arguments.path_part("id", text)
    except InvalidRequest:
        return
    assert unquote(part) == text
    assert part.isascii()
    assert not set(part) & set("/.?#\\ ")
