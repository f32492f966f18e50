"""Money and limits come back as ``Decimal``, with the digits that were on the wire."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lotus_durable.calls.answers import exact_value
from lotus_durable.http.answer import NOT_JSON, Answer
from lotus_durable.testing import Component, FakeLotus
from tests.delivery.scripted_server import says

from .conftest import Connect
from .losing import call


def read(body: bytes) -> Any:
    return exact_value(Answer(200, "application/json", body))


def test_money_is_a_decimal_of_the_digits_on_the_wire(connect: Connect) -> None:
    credit = b'{"amount": 1234567890.01234567890, "amount_paid": 5, "amount_remaining": "0.10", '
    credit += b'"drawdowns": [{"amount": -1.5}]}'
    result, _ = call(
        connect, says(201, credit), ask=lambda client: client.update_credit(credit_id="k", description="d")
    )
    assert [str(result[name]) for name in ("amount", "amount_paid", "amount_remaining")] == [
        "1234567890.01234567890", "5", "0.10",
    ]  # fmt: skip
    assert all(isinstance(result[name], Decimal) for name in ("amount", "amount_paid", "amount_remaining"))
    assert str(result["drawdowns"][0]["amount"]) == "-1.5"


@pytest.mark.parametrize("generation", ["L22", "L24"])
def test_nothing_that_a_server_answers_is_a_float(
    generation: str, request: pytest.FixtureRequest, connect: Connect
) -> None:
    server: FakeLotus = request.getfixturevalue(generation.lower())
    plan = server.accounts.add_plan("Pro", components=[Component("call", limit=5)])
    client = connect(server)
    client.create_customer(customer_id="c1", name="C", email="c1@example.com")
    server.accounts.add_subscription("c1", plan)
    answers: list[Any] = [client.list_customers(), client.get_customer(customer_id="c1"), client.list_plans()]
    if generation == "L24":
        answers += [
            client.create_credit(customer_id="c1", amount=10, currency_code="USD"),
            client.list_credits(customer_id="c1"),
            client.get_customer_metric_access(customer_id="c1", event_name="call"),
            client.get_customer_access(customer_id="c1", event_name="call").answer,
        ]
    numbers = [number for answer in answers for number in numbers_of(answer)]
    assert not [number for number in numbers if isinstance(number, float)]
    assert any(isinstance(number, Decimal) for number in numbers)
    owed = client.get_customer(customer_id="c1")["balance" if generation == "L22" else "total_amount_due"]
    assert isinstance(owed, Decimal)


def numbers_of(value: Any) -> list[object]:
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return [number for one in inner for number in numbers_of(one)]
    return [value] if isinstance(value, int | float | Decimal) else []


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_no_digit_is_lost_on_the_way_back(amount: Decimal) -> None:
    for text in (f"{amount:f}", f'"{amount}"'):
        assert read(f'{{"amount": {text}}}'.encode())["amount"].as_tuple() == Decimal(text.strip('"')).as_tuple()


def test_what_is_no_number_stays_what_it_is() -> None:
    value = read(
        b'{"amount": "a lot", "balance": null, "tax_rate": "NaN", "version": 3, "name": "5", "amount_paid": true}'
    )
    assert value == {
        "amount": "a lot", "balance": None, "tax_rate": "NaN", "version": 3, "name": "5", "amount_paid": True,
    }  # fmt: skip


@pytest.mark.parametrize("depth", [10, 400, 900, 100_000])
def test_however_deep_an_answer_is_nothing_is_raised(depth: int) -> None:
    value = read(b"[" * depth + b"1.5" + b"]" * depth)
    assert value is NOT_JSON or isinstance(value, list)
