"""Every call of the server of 2024, against FakeLotus, its state and its rules."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from lotus_durable.client import Client
from lotus_durable.errors import (
    AuthenticationError,
    Conflict,
    InvalidRequest,
    NotFound,
    UnexpectedAnswer,
)
from lotus_durable.testing import Component, FakeLotus, Feature, Plan
from tests.rig import answers_hashes

from .conftest import Connect

CALLS = Component("call", limit=2, free_limit=1)
EXPORT = Feature("export")
UNKNOWN = "0" * 32


@pytest.fixture
def client(l24: FakeLotus, connect: Connect) -> Client:
    l24.add_customer("c1")
    return connect(l24)


@pytest.fixture
def plan(l24: FakeLotus) -> Plan:
    return l24.accounts.add_plan("Pro", components=[CALLS], features=[EXPORT], tags=["a", "b"])


@pytest.fixture
def subscription_id(l24: FakeLotus, plan: Plan) -> str:
    return l24.accounts.add_subscription("c1", plan).subscription_id


def soon(days: int = 7) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


def test_ping_says_whose_key_it_is(client: Client, l24: FakeLotus) -> None:
    assert client.ping() == {"organization_id": l24.accounts.organization_id}


# -- customers --


def test_a_customer_is_created_with_everything_read_and_listed(client: Client, l24: FakeLotus) -> None:
    l24.accounts.payment_providers = {"stripe"}
    created = client.create_customer(
        customer_id="c2",
        name="Zoë",
        currency="EUR",
        email="c2@example.com",
        payment_provider="stripe",
        payment_provider_id="cus_1",
        properties={"tier": 1, "since": datetime(2024, 1, 1, tzinfo=UTC)},
        address={"city": "Paris", "country": "FR", "line1": "1", "postal_code": "75001"},
        tax_rate=Decimal("19.6"),
    )
    assert (created["customer_name"], created["default_currency"]["code"]) == ("Zoë", "EUR")
    assert (created["tax_rate"], created["payment_provider"]) == (Decimal("19.6"), "stripe")
    assert client.get_customer(customer_id="c2") == created
    assert [one["customer_id"] for one in client.list_customers()] == ["c1", "c2"]
    assert l24.accounts.customers["c2"].details["properties"]["since"] == "2024-01-01T00:00:00.000000Z"


def test_a_customer_that_does_not_fit_is_refused_by_field(client: Client) -> None:
    with pytest.raises(InvalidRequest, match="email: Enter a valid email address") as refused:
        client.create_customer(customer_id="c2", email="nobody")
    assert (refused.value.code, list(refused.value.field_errors)) == ("invalid", ["email"])
    with pytest.raises(NotFound, match="does not exist"):
        client.create_customer(customer_id="c2", email="c2@example.com", currency="XXX")


def test_an_id_or_an_address_that_is_taken_is_a_conflict(client: Client) -> None:
    client.create_customer(customer_id="c2", email="c2@example.com")
    for customer_id, email in (("c2", "other@example.com"), ("c3", "c2@example.com")):
        with pytest.raises(Conflict) as refused:
            client.create_customer(customer_id=customer_id, email=email)
        assert refused.value.code == "duplicate_resource"


# -- plans --


def test_plans_are_filtered_by_the_server_and_by_duration_here(client: Client, l24: FakeLotus, plan: Plan) -> None:
    l24.accounts.add_plan("Yearly", duration="yearly", currency="EUR", tags=["a"])

    def names(**filters: Any) -> list[str]:
        return [one["plan_name"] for one in client.list_plans(**filters)]

    assert names() == ["Yearly", "Pro"]  # the newest first
    assert names(include_tags=["b", "x"]) == ["Pro"]
    assert names(include_tags_all=["a", "b"]) == ["Pro"]
    assert names(exclude_tags=["b"]) == ["Yearly"]
    assert names(duration="yearly") == ["Yearly"]  # the server answers 500 to this filter
    assert names(duration="monthly", include_tags=["a"]) == ["Pro"]
    assert names(version_custom_type="all", version_status=["active"]) == ["Yearly", "Pro"]
    assert client.get_plan(plan_id=plan.plan_id)["plan_name"] == "Pro"
    with pytest.raises(NotFound):
        client.get_plan(plan_id=f"plan_{UNKNOWN}")
    with pytest.raises(NotFound, match="beginning with the prefix addon_"):
        client.get_plan(plan_id="five")


# -- subscriptions --


@pytest.mark.parametrize("by", ["plan_id", "billing_plan_id", "version_id"])
def test_a_subscription_is_created_by_plan_or_version(client: Client, l24: FakeLotus, plan: Plan, by: str) -> None:
    l24.accounts.filter_names = {"region"}
    chosen: dict[str, Any] = {by: plan.version_id if by == "version_id" else plan.plan_id}
    created = client.create_subscription(
        customer_id="c1",
        start_date=datetime.now(UTC),
        end_date=soon(),
        auto_renew="False",
        subscription_filters=[{"property_name": "region", "value": "US"}],
        component_fixed_charges_initial_units=[{"metric_id": CALLS.metric_id, "units": Decimal("1.5")}],
        metadata={"a": 1},
        **chosen,
    )
    assert created["billing_plan"]["plan_id"] == plan.plan_id
    assert (created["auto_renew"], created["metadata"]) == (False, {"a": 1})
    assert created["subscription_filters"] == [{"property_name": "region", "value": "US"}]


def test_an_overlapping_subscription_is_a_conflict(client: Client, plan: Plan) -> None:
    client.create_subscription(customer_id="c1", plan_id=plan.plan_id, start_date=datetime.now(UTC))
    with pytest.raises(Conflict, match="Overlapping subscriptions") as refused:
        client.create_subscription(customer_id="c1", plan_id=plan.plan_id, start_date=datetime.now(UTC))
    assert (refused.value.code, refused.value.outcome_unknown) == ("overlapping_plans", False)


@pytest.mark.parametrize(
    ("bill_now", "expected"),
    [(True, ("bill_full", "invoice_now")), ("False", ("bill_none", "add_to_next_invoice"))],
)
def test_a_subscription_is_cancelled_and_ends_at_once(
    client: Client, l24: FakeLotus, subscription_id: str, bill_now: Any, expected: tuple[str, str]
) -> None:
    cancelled = client.cancel_subscription(subscription_uid=subscription_id, bill_now=bill_now)
    assert cancelled["subscription_id"] == subscription_id
    sent = l24.requests[-1].json()
    assert (sent["usage_behavior"], sent["invoicing_behavior"]) == expected
    assert not l24.accounts.subscriptions[subscription_id].is_active(l24.accounts.now())
    with pytest.raises(Conflict, match="already ended") as refused:
        client.cancel_subscription(subscription_id=subscription_id)
    assert refused.value.code == "invalid_state"
    with pytest.raises(NotFound):
        client.cancel_subscription(subscription_id=f"sub_{UNKNOWN}")


def test_subscriptions_are_listed_by_state_plan_and_time(client: Client, plan: Plan, subscription_id: str) -> None:
    def ids(**filters: Any) -> list[str]:
        return [one["subscription_id"] for one in client.list_subscriptions(customer_id="c1", **filters)]

    assert ids() == [subscription_id]
    assert ids(plan_id=plan.plan_id, range_start=datetime.now(UTC), range_end=soon()) == [subscription_id]
    assert ids(status=["ended", "not_started"]) == []
    assert ids(range_end="2020-01-01") == []
    with pytest.raises(NotFound):
        client.list_subscriptions(customer_id="nobody")


def test_a_subscription_is_updated(client: Client, subscription_id: str) -> None:
    updated = client.update_subscription(
        subscription_id=subscription_id, turn_off_auto_renew="True", end_date=soon(), metadata={"why": "left"}
    )
    assert (updated["auto_renew"], updated["metadata"]) == (False, {"why": "left"})
    with pytest.raises(InvalidRequest, match="end date"):
        client.update_subscription(subscription_id=subscription_id, end_date="2020-01-01")


def test_a_plan_is_switched_and_the_subscription_has_a_new_id(
    client: Client, l24: FakeLotus, plan: Plan, subscription_id: str
) -> None:
    bigger = l24.accounts.add_plan("Bigger", components=[CALLS])
    switched = client.switch_subscription_plan(
        subscription_id=subscription_id,
        switch_plan_id=bigger.plan_id,
        invoicing_behavior="add_to_next_invoice",
        usage_behavior="keep_separate",
    )
    assert switched["billing_plan"]["plan_id"] == bigger.plan_id
    assert switched["subscription_id"] != subscription_id
    back = client.switch_subscription_plan(
        subscription_id=switched["subscription_id"], switch_plan_version_id=plan.version_id
    )
    with pytest.raises(InvalidRequest, match="Cannot switch to the same plan"):
        client.switch_subscription_plan(subscription_id=back["subscription_id"], switch_plan_id=plan.plan_id)


def test_an_addon_is_attached_and_cancelled(client: Client, l24: FakeLotus, subscription_id: str) -> None:
    addon = l24.accounts.add_plan("Extra", features=["extra"], addon=True)
    named: list[dict[str, Any]] = [{"addon_id": addon.plan_id}, {"addon_version_id": addon.version_id}]
    for arguments in named:
        attached = client.attach_addon(subscription_id=subscription_id, quantity=2, metadata={"a": 1}, **arguments)
        assert attached["addon"]["addon_id"] == addon.plan_id
        cancelled = client.cancel_addon(
            subscription_id=subscription_id, flat_fee_behavior="refund", usage_behavior="bill_none", **arguments
        )
        assert cancelled["addon_subscription_id"] == attached["addon_subscription_id"]
        del l24.accounts.subscriptions[attached["addon_subscription_id"]]
        l24.accounts.subscriptions[subscription_id].addons.clear()
    with pytest.raises(NotFound, match="not found for subscription"):
        client.cancel_addon(subscription_id=subscription_id, addon_id=addon.plan_id)


# -- credits --


def test_a_credit_is_created_listed_updated_and_voided(client: Client) -> None:
    amount = Decimal("1234567890.0123456789")
    created = client.create_credit(
        customer_id="c1",
        amount=amount,
        currency_code="USD",
        description="Sorry",
        expires_at=soon(),
        amount_paid=0.1,
        amount_paid_currency_code="EUR",
    )
    assert created["amount"] == Decimal("1234567890.0123458")  # all that this server keeps in its JSON number
    assert created["amount_paid"] == Decimal("0.1")
    filters: list[dict[str, Any]] = [
        {},
        {"currency_code": "USD", "status": ["active"]},
        {"effective_before": soon(), "expires_after": soon(1), "issued_after": "2020-01-01"},
    ]
    for chosen in filters:
        assert [one["credit_id"] for one in client.list_credits(customer_id="c1", **chosen)] == [created["credit_id"]]
    assert client.list_credits(customer_id="c1", expires_before=soon(1)) == []
    updated = client.update_credit(credit_id=created["credit_id"], description="Very sorry", expires_at=soon(9))
    assert updated["description"] == "Very sorry"
    assert client.void_credit(credit_id=created["credit_id"])["status"] == "inactive"
    once_more: list[Callable[[], object]] = [
        lambda: client.void_credit(credit_id=created["credit_id"]),
        lambda: client.update_credit(credit_id=created["credit_id"], description="x"),
    ]
    for again in once_more:
        with pytest.raises(Conflict, match="active"):
            again()


def test_a_credit_that_does_not_fit_is_refused(client: Client) -> None:
    with pytest.raises(InvalidRequest, match="Amount must be greater than 0"):
        client.create_credit(customer_id="c1", amount=0, currency_code="USD")
    with pytest.raises(InvalidRequest, match="no more than 10 decimal places"):
        client.create_credit(customer_id="c1", amount=Decimal("0.12345678901"), currency_code="USD")
    with pytest.raises(NotFound):
        client.create_credit(customer_id="nobody", amount=1, currency_code="USD")
    with pytest.raises(NotFound):
        client.void_credit(credit_id=f"baladj_{UNKNOWN}")


# -- verify_idems_received --


def test_what_was_received_is_verified(client: Client, l24: FakeLotus) -> None:
    ids = [client.track_event(customer_id="c1", event_name="call") for _ in range(3)]
    assert client.drain(20).complete
    l24.lose_events(ids[1])
    assert client.verify_idems_received(idempotency_ids=[*ids, "never"])["ids_not_found"] == [ids[1], "never"]
    assert client.verify_idems_received(idempotency_ids=ids[:1], number_days_lookback=1)["ids_not_found"] == []


def test_a_server_that_answers_hashes_is_not_believed(client: Client, l24: FakeLotus) -> None:
    l24.faults = answers_hashes()
    with pytest.raises(UnexpectedAnswer, match="names ids that were not asked for"):
        client.verify_idems_received(idempotency_ids=["a"])


# -- access, call by call --


@pytest.mark.usefixtures("subscription_id")
def test_usage_and_limits_are_told_for_each_subscription(client: Client, plan: Plan) -> None:
    (by_event,) = client.get_customer_metric_access(customer_id="c1", event_name="call")
    (by_metric,) = client.get_customer_metric_access(customer_id="c1", metric_id=CALLS.metric_id)
    assert by_event == by_metric
    assert by_event["plan_id"] == plan.plan_id
    assert by_event["usage_per_component"][0]["metric_total_limit"] == 2
    (feature,) = client.get_customer_feature_access(customer_id="c1", feature_name="export")
    assert feature["access"] is True
    metric = client.check_metric_access(customer_id="c1", metric_id=CALLS.metric_id)
    assert (metric["access"], len(metric["access_per_subscription"])) == (True, 1)
    assert client.check_feature_access(customer_id="c1", feature_id=EXPORT.feature_id)["access"] is True


def test_filters_choose_the_subscription(client: Client, l24: FakeLotus, plan: Plan) -> None:
    l24.accounts.add_subscription("c1", plan).filters = (("region", "US"),)
    here: list[Any] = [{"property_name": "region", "value": "US"}]
    there: list[Any] = [{"property_name": "region", "value": "EU"}]
    questions: list[dict[str, Any]] = [
        {"event_name": "call"},
        {"feature_name": "export"},
        {"metric_id": CALLS.metric_id},
        {"feature_id": EXPORT.feature_id},
    ]
    for arguments in questions:
        assert client.get_customer_access(customer_id="c1", subscription_filters=here, **arguments).access is True
        assert client.get_customer_access(customer_id="c1", subscription_filters=there, **arguments).access is False


def test_a_wrong_key_is_told_as_that_in_every_form(client: Client, l24: FakeLotus) -> None:
    client.ping()
    l24.rotate_key("another-key")
    calls: list[Callable[[], object]] = [
        client.list_customers,
        lambda: client.get_customer_access(customer_id="c1", event_name="call"),
        lambda: client.check_feature_access(customer_id="c1", feature_id=EXPORT.feature_id),
    ]
    for call in calls:
        with pytest.raises(AuthenticationError, match="refuses the API key"):
            call()
