"""What the server of 2024 does not do, or answers 500 to, and what the client makes of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from lotus_durable.client import Client
from lotus_durable.errors import APIError, Conflict, InvalidRequest, NotFound, ServerError
from lotus_durable.testing import FakeLotus, Plan
from tests.delivery.scripted_server import Reply, hangs_up, says

from .conftest import Connect
from .losing import call, fails


@pytest.fixture
def client(l24: FakeLotus, connect: Connect) -> Client:
    l24.add_customer("c1")
    return connect(l24, api_version="2024")


@pytest.fixture
def plan(l24: FakeLotus) -> Plan:
    return l24.accounts.add_plan("Pro")


def paths(server: FakeLotus) -> list[str]:
    return [f"{request.method} {request.path.replace('/api/subscriptions/', '')}" for request in server.requests]


# -- auto_renew --


def test_a_subscription_created_with_auto_renew_false_does_not_renew(
    client: Client, l24: FakeLotus, plan: Plan
) -> None:
    created = client.create_subscription(
        customer_id="c1", plan_id=plan.plan_id, start_date=datetime.now(UTC), auto_renew=False, metadata={"a": 1}
    )
    assert created["auto_renew"] is False
    assert created["metadata"] == {"a": 1}
    assert l24.accounts.subscriptions[created["subscription_id"]].auto_renew is False
    assert paths(l24) == ["POST ", f"POST {created['subscription_id']}/update/"]


@pytest.mark.parametrize("auto_renew", [True, None, "True"])
def test_one_that_is_to_renew_is_one_request(client: Client, l24: FakeLotus, plan: Plan, auto_renew: Any) -> None:
    created = client.create_subscription(
        customer_id="c1", plan_id=plan.plan_id, start_date=datetime.now(UTC), auto_renew=auto_renew
    )
    assert created["auto_renew"] is True
    assert paths(l24) == ["POST "]


def test_the_server_of_2022_listens_itself(l22: FakeLotus, connect: Connect) -> None:
    l22.add_customer("c1")
    l22.accounts.add_plan("Five", plan_id="five")
    client = connect(l22, api_version="2022")
    created = client.create_subscription(
        customer_id="c1", plan_id="five", start_date=datetime.now(UTC), auto_renew=False
    )
    assert created["auto_renew"] is False
    assert paths(l22) == ["POST "]


CREATED = says(201, b'{"subscription_id": "sub_1", "auto_renew": true}')
RENEWS: dict[str, tuple[list[Reply], int]] = {
    "it fails": ([CREATED, fails(500)], 2),
    "its answer gets lost again and again": ([CREATED, *[hangs_up] * 5], 6),  # one on the connection kept open
    "it does not listen": ([CREATED, CREATED], 2),
    "the created one has no id": ([says(201, b'{"auto_renew": true}')], 1),
}


@pytest.mark.parametrize("way", RENEWS)
def test_whatever_keeps_it_from_being_turned_off_is_said_with_the_subscriptions_id(way: str, connect: Connect) -> None:
    replies, count = RENEWS[way]
    error, requests = call(
        connect,
        *replies,
        ask=lambda client: client.create_subscription(
            customer_id="c", plan_id="p", start_date="2024-01-01", auto_renew=False
        ),
    )
    assert isinstance(error, APIError)
    assert str(error).startswith("create_subscription: the subscription ")
    assert "was created, and renews" in str(error)
    assert ("sub_1" in str(error)) is (count > 1)
    assert error.outcome_unknown
    assert len(requests) == count


def test_a_lost_answer_to_the_second_request_is_asked_for_again(connect: Connect) -> None:
    result, requests = call(
        connect,
        CREATED,
        hangs_up,
        says(200, b'{"subscription_id": "sub_1", "auto_renew": false}'),
        ask=lambda client: client.create_subscription(
            customer_id="c", plan_id="p", start_date="2024-01-01", auto_renew=False
        ),
    )
    assert result["auto_renew"] is False
    assert requests == ["POST /api/subscriptions/", *["POST /api/subscriptions/sub_1/update/"] * 2]


# -- credits --


@pytest.mark.parametrize(
    ("arguments", "argument"),
    [
        ({"amount_paid": 3}, "amount_paid_currency_code"),
        ({"amount_paid": Decimal("0.01")}, "amount_paid_currency_code"),
        ({"amount_paid_currency_code": "USD"}, "amount_paid"),
        ({"amount_paid": 0, "amount_paid_currency_code": "USD"}, "amount_paid"),
    ],
)
def test_what_was_paid_for_a_credit_needs_its_currency_before_anything_is_sent(
    client: Client, l24: FakeLotus, arguments: dict[str, Any], argument: str
) -> None:
    with pytest.raises(InvalidRequest, match="are needed together") as refused:
        client.create_credit(customer_id="c1", amount=5, currency_code="USD", **arguments)
    assert refused.value.argument == argument
    assert l24.request_count == 0
    assert not l24.accounts.credits


def test_a_credit_that_cost_nothing_needs_no_currency_for_that(client: Client) -> None:
    assert client.create_credit(customer_id="c1", amount=5, currency_code="USD", amount_paid=0)["amount_paid"] == 0


# -- subscriptions that have not begun, or have ended --


def test_one_that_has_not_begun_cannot_be_cancelled_and_that_is_said(client: Client, plan: Plan) -> None:
    created = client.create_subscription(
        customer_id="c1", plan_id=plan.plan_id, start_date=datetime.now(UTC) + timedelta(days=3)
    )
    with pytest.raises(Conflict, match="has not begun, and this server cannot cancel it before") as refused:
        client.cancel_subscription(subscription_id=created["subscription_id"])
    assert (refused.value.status, refused.value.outcome_unknown) == (500, False)


def test_one_that_has_ended_cannot_be_switched_and_that_is_said(client: Client, l24: FakeLotus, plan: Plan) -> None:
    subscription_id = l24.accounts.add_subscription("c1", plan).subscription_id
    client.cancel_subscription(subscription_id=subscription_id)
    other = l24.accounts.add_plan("Other")
    with pytest.raises(Conflict, match="has ended, at ") as refused:
        client.switch_subscription_plan(subscription_id=subscription_id, switch_plan_id=other.plan_id)
    assert (refused.value.status, refused.value.outcome_unknown) == (500, False)


RUNS = json.dumps(
    {
        "start_date": (datetime.now(UTC) - timedelta(days=9)).isoformat(),
        "end_date": (datetime.now(UTC) + timedelta(days=9)).isoformat(),
    }
).encode()


@pytest.mark.parametrize(
    "found",
    [says(200, RUNS), says(200, b"{}"), says(200, b'{"start_date": 1, "end_date": null}'), fails(404), fails(500)],
    ids=["it runs", "no dates", "other dates", "gone", "it fails again"],
)
def test_any_other_failure_stays_one_whose_outcome_is_unknown(found: Reply, connect: Connect) -> None:
    error, _ = call(connect, fails(500), found, ask=lambda client: client.cancel_subscription(subscription_id="s"))
    assert isinstance(error, ServerError)
    assert error.outcome_unknown


# -- ids --


def test_an_id_this_server_cannot_have_given_is_not_found(client: Client) -> None:
    for ask in (
        lambda: client.get_plan(plan_id="billing_plan_5"),
        lambda: client.cancel_subscription(subscription_id="subscription_4"),
        lambda: client.void_credit(credit_id="k"),
        lambda: client.check_metric_access(customer_id="c1", metric_id="calls"),
        lambda: client.create_subscription(customer_id="c1", plan_id="five", start_date=datetime.now(UTC)),
    ):
        with pytest.raises(NotFound, match="must be a string beginning with the prefix"):
            ask()
