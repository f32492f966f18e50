"""No number changes in silence: Decimal and timedelta."""

from __future__ import annotations

import json
import math
from datetime import timedelta
from decimal import Decimal, localcontext

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lotus_durable.errors import InvalidEvent

from .encoding import cleaned, refusal

# Decimal ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "becomes"),
    [
        ("19.99", 19.99),
        ("19.990", 19.99),
        ("3", 3.0),
        ("-0.1", -0.1),
        ("0", 0.0),
        ("0E-400", 0.0),
        ("-0.0", -0.0),
        ("1E+22", 1e22),
        ("123456789012345.6", 123456789012345.6),
        ("9007199254740993", None),
        ("9007199254740994", 9007199254740994.0),
        ("1.7976931348623157E+308", 1.7976931348623157e308),
        ("5E-324", 5e-324),
        ("0.30000000000000004", 0.30000000000000004),
        ("0.1000000000000000055511151231257827", None),
        ("12345678901234567890.12", None),
        ("0.12345678901234567890", None),
        ("1.00000000000000000001", None),
        ("2E-324", None),
    ],
)
def test_a_decimal_is_sent_as_the_number_with_the_same_digits_or_refused(given: str, becomes: float | None) -> None:
    if becomes is None:
        reason = refusal(Decimal(given))
        assert "str() of it" in reason
    else:
        result = cleaned(Decimal(given))
        assert (repr(result), type(result)) == (repr(becomes), float)


DIGITS_LOST = (
    "has digits that a float of 64 bits cannot hold; "
    "str() of it sends them all, as text, and float() of it the nearest number"
)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("1E-400", "is too close to zero for a float of 64 bits; str() of it is sent as text"),
        ("-1E-400", "is too close to zero for a float of 64 bits; str() of it is sent as text"),
        ("1E+309", "is too large for a float of 64 bits; str() of it is sent as text"),
        ("12345678901234567890.12", DIGITS_LOST),
        ("NaN", "is not a finite number, which JSON cannot express"),
        ("sNaN", "is not a finite number, which JSON cannot express"),
        ("-Infinity", "is not a finite number, which JSON cannot express"),
    ],
)
def test_a_decimal_that_would_become_another_number_is_refused_with_path_reason_and_remedy(
    given: str, reason: str
) -> None:
    assert refusal(Decimal(given)) == f"properties.a[3].b: {reason}"


def test_a_third_is_refused_and_both_remedies_work() -> None:
    third = Decimal(1) / 3
    assert "has digits" in refusal(third)
    assert cleaned(float(third)) == 0.3333333333333333
    assert cleaned(str(third)) == "0.3333333333333333333333333333"


def test_the_decimal_context_of_the_program_does_not_matter() -> None:
    with localcontext() as context:
        context.prec = 3
        assert cleaned(Decimal("123456.75")) == 123456.75
        assert "has digits" in refusal(Decimal("12345678901234567890.12"))


@settings(max_examples=200)
@given(st.decimals(allow_nan=False, allow_infinity=False) | st.floats(allow_nan=False, allow_infinity=False).map(repr))
def test_no_decimal_changes_its_value_on_the_way_to_json(value: Decimal | str) -> None:
    number = Decimal(value)
    try:
        sent = json.dumps(cleaned(number))
    except InvalidEvent:
        assert isinstance(value, Decimal)  # what a float was written as always fits
        return
    assert Decimal(sent) == number


# timedelta ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "becomes"),
    [
        (timedelta(minutes=90), 5400.0),
        (timedelta(0), 0.0),
        (timedelta(microseconds=-1), -1e-06),
        (timedelta(days=1, milliseconds=250), 86400.25),
        (timedelta.max, 86399999999999.999999),
    ],
)
def test_a_timedelta_becomes_its_seconds(given: timedelta, becomes: float) -> None:
    result = cleaned(given)
    assert (result, type(result)) == (becomes, float)


def test_a_timedelta_subclass_says_its_own_seconds() -> None:
    class Nanoseconds(timedelta):
        def total_seconds(self) -> float:
            return 1.5e-9

    class Nothing(timedelta):
        def total_seconds(self) -> float:
            return math.nan

    assert cleaned(Nanoseconds()) == 1.5e-9
    assert "not a finite number" in refusal(Nothing())
