"""Every call of the server of 2022, against FakeLotus and its state."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from lotus_durable.client import Client
from lotus_durable.errors import (
    AuthenticationError,
    Conflict,
    InvalidRequest,
    NotFound,
    ServerError,
)
from lotus_durable.testing import Component, FakeLotus

from .conftest import Connect


@pytest.fixture
def client(l22: FakeLotus, connect: Connect) -> Client:
    l22.accounts.add_plan("Five", plan_id="five", components=[Component("call", limit=2)], features=["export"])
    return connect(l22)


def test_a_customer_is_created_read_and_listed(client: Client) -> None:
    created = client.create_customer(customer_id="c1", name="One")
    assert (created["customer_id"], created["name"]) == ("c1", "One")
    assert client.get_customer(customer_id="c1") == created
    assert client.list_customers() == [created]
    with pytest.raises(Conflict, match="HTTP 409: Customer ID already exists") as refused:
        client.create_customer(customer_id="c1", name="Another")
    assert (refused.value.status, refused.value.detail) == (409, "Customer ID already exists")
    with pytest.raises(NotFound, match="Not found"):
        client.get_customer(customer_id="nobody")


def test_a_name_that_is_too_long_is_refused_by_field(client: Client) -> None:
    with pytest.raises(InvalidRequest, match="name: Ensure this field") as refused:
        client.create_customer(customer_id="c1", name="N" * 101)
    assert list(refused.value.field_errors) == ["name"]
    assert (refused.value.status, refused.value.argument) == (400, None)


def test_plans_are_read(client: Client) -> None:
    assert [plan["billing_plan_id"] for plan in client.list_plans()] == ["five"]
    assert client.get_plan(plan_id="five")["name"] == "Five"
    with pytest.raises(NotFound):
        client.get_plan(plan_id="six")


@pytest.mark.parametrize("start_date", ["2020-01-01T00:00:00Z", "2020-01-01", datetime(2020, 1, 1, 12, tzinfo=UTC)])
def test_a_subscription_is_created_listed_and_cancelled(
    client: Client, l22: FakeLotus, start_date: str | datetime
) -> None:
    l22.add_customer("c1")
    created = client.create_subscription(customer_id="c1", billing_plan_id="five", start_date=start_date)
    assert (created["start_date"], created["status"]) == ("2020-01-01", "active")
    (listed,) = client.list_subscriptions()
    assert listed["customer"]["customer_id"] == "c1"
    for _ in range(2):
        assert client.cancel_subscription(subscription_uid=created["subscription_uid"])["status"] == "success"
    assert l22.accounts.subscriptions[created["subscription_uid"]].status == "active"
    client.cancel_subscription(subscription_id=created["subscription_uid"], bill_now="False", revoke_access=True)
    assert l22.accounts.subscriptions[created["subscription_uid"]].status == "canceled"


@pytest.mark.parametrize("unknown", ["customer_id", "billing_plan_id"])
def test_a_subscription_of_nobody_or_to_nothing_is_not_found(client: Client, l22: FakeLotus, unknown: str) -> None:
    l22.add_customer("c1")
    arguments: dict[str, Any] = {"customer_id": "c1", "billing_plan_id": "five", unknown: "other"}
    with pytest.raises(NotFound, match="does not exist") as refused:
        client.create_subscription(start_date="2024-01-01", **arguments)
    assert list(refused.value.field_errors) == [unknown]
    assert not refused.value.outcome_unknown


def test_a_subscription_that_is_unknown_or_over_cannot_be_cancelled(client: Client, l22: FakeLotus) -> None:
    with pytest.raises(NotFound, match="Subscription not found"):
        client.cancel_subscription(subscription_uid="other")
    l22.accounts.add_subscription("c1", l22.accounts.plans["five"], subscription_id="s").status = "ended"
    with pytest.raises(Conflict, match="Subscription already ended"):
        client.cancel_subscription(subscription_uid="s")


def test_access_follows_the_plan_and_the_usage(client: Client, l22: FakeLotus) -> None:
    l22.accounts.add_subscription("c1", l22.accounts.plans["five"])
    assert client.get_customer_access(customer_id="c1", feature_name="export").access is True
    assert client.get_customer_access(customer_id="c1", feature_name="import").access is False
    assert client.get_customer_access(customer_id="c1", event_name="other").access is True
    with pytest.raises(ServerError) as failed:  # a limit and no usage yet
        client.get_customer_access(customer_id="c1", event_name="call")
    assert "no usage yet" in "".join(failed.value.__notes__)
    seen = []
    for _ in range(3):
        client.track_event(customer_id="c1", event_name="call")
        assert client.drain(20).complete
        seen.append(client.get_customer_access(customer_id="c1", event_name="call").access)
    assert seen == [True, True, False]
    with pytest.raises(NotFound, match="Customer not found"):
        client.get_customer_access(customer_id="nobody", event_name="call")


def test_a_wrong_key_is_told_as_that(client: Client, l22: FakeLotus) -> None:
    l22.rotate_key("another-key")
    for call in (client.list_customers, client.list_plans, client.list_subscriptions):
        with pytest.raises(AuthenticationError, match="refuses the API key"):
            call()
