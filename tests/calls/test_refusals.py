"""Bad arguments: refused before anything is sent, with the argument's name; and what a server would ignore."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from lotus_durable.errors import ConfigurationError, InvalidRequest, NotSupported
from lotus_durable.testing import FakeLotus

from .conftest import Connect

CREATE = {"customer_id": "c", "plan_id": "p", "start_date": "2024-01-01"}
CREDIT = {"customer_id": "c", "amount": 1, "currency_code": "USD"}

REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("create_customer", {"customer_id": "", "name": "n"}, "customer_id"),
    ("create_customer", {"customer_id": None, "name": "n"}, "customer_id"),
    ("create_customer", {"customer_id": 7, "name": "n"}, "customer_id"),
    ("create_customer", {"customer_id": " c", "name": "n"}, "customer_id"),
    ("create_customer", {"customer_id": "c", "name": " "}, "name"),
    ("create_customer", {"customer_id": "c", "name": "n", "customer_name": "n"}, "customer_name"),
    ("create_customer", {"customer_id": "c", "name": "n", "payment_provider": "stripe"}, "payment_provider_id"),
    ("create_customer", {"customer_id": "c", "name": "n", "payment_provider_id": "x"}, "payment_provider"),
    (
        "create_customer",
        {"customer_id": "c", "payment_provider": "paypal", "payment_provider_id": "x"},
        "payment_provider",
    ),
    ("create_customer", {"customer_id": "c", "name": "n", "properties": [1]}, "properties"),
    ("create_customer", {"customer_id": "c", "name": "n", "address": {"x": object()}}, "address.x"),
    ("create_customer", {"customer_id": "c", "name": "n", "tax_rate": "19"}, "tax_rate"),
    ("create_customer", {"customer_id": "c", "name": "n", "email": 5}, "email"),
    ("get_customer", {"customer_id": ""}, "customer_id"),
    ("get_customer", {"customer_id": ".."}, "customer_id"),
    ("get_customer", {"customer_id": "a/b"}, "customer_id"),
    ("create_subscription", {**CREATE, "plan_id": None}, "billing_plan_id"),
    ("create_subscription", {**CREATE, "billing_plan_id": "p"}, "plan_id"),
    ("create_subscription", {**CREATE, "version_id": "v"}, "version_id"),
    ("create_subscription", {**CREATE, "start_date": "yesterday"}, "start_date"),
    ("create_subscription", {**CREATE, "start_date": None}, "start_date"),
    ("create_subscription", {**CREATE, "end_date": 5}, "end_date"),
    ("create_subscription", {**CREATE, "auto_renew": "yes"}, "auto_renew"),
    ("create_subscription", {**CREATE, "is_new": 1}, "is_new"),
    ("create_subscription", {**CREATE, "subscription_filters": {"a": "b"}}, "subscription_filters"),
    ("create_subscription", {**CREATE, "subscription_filters": [{"a": "b"}]}, "subscription_filters[0]"),
    (
        "create_subscription",
        {**CREATE, "component_fixed_charges_initial_units": [{"metric_id": "m", "units": float("nan")}]},
        "component_fixed_charges_initial_units[0].units",
    ),
    ("create_subscription", {**CREATE, "metadata": {"a": {1: 2}}}, "metadata.a"),
    ("cancel_subscription", {}, "subscription_uid"),
    ("cancel_subscription", {"subscription_uid": "s", "subscription_id": "s"}, "subscription_id"),
    ("cancel_subscription", {"subscription_uid": ""}, "subscription_uid"),
    ("cancel_subscription", {"subscription_uid": "s", "bill_now": "yes"}, "bill_now"),
    ("cancel_subscription", {"subscription_uid": "s", "bill_now": None}, "bill_now"),
    ("cancel_subscription", {"subscription_uid": "s", "revoke_access": "no"}, "revoke_access"),
    ("cancel_subscription", {"subscription_id": "s", "flat_fee_behavior": "prorate"}, "flat_fee_behavior"),
    ("cancel_subscription", {"subscription_id": "s", "usage_behavior": "bill_now"}, "usage_behavior"),
    ("cancel_subscription", {"subscription_id": "s", "invoicing_behavior": ""}, "invoicing_behavior"),
    ("cancel_subscription", {"subscription_id": "s", "bill_now": False, "usage_behavior": "bill_full"}, "bill_now"),
    ("list_subscriptions", {"customer_id": "c", "status": "active"}, "status"),
    ("list_subscriptions", {"customer_id": "c", "status": ["canceled"]}, "status[0]"),
    ("list_subscriptions", {"customer_id": "c", "range_start": "x"}, "range_start"),
    ("update_subscription", {"subscription_id": "s"}, "turn_off_auto_renew"),
    ("update_subscription", {"subscription_id": "a/b", "turn_off_auto_renew": True}, "subscription_id"),
    ("update_subscription", {"subscription_id": "s", "metadata": "x"}, "metadata"),
    ("switch_subscription_plan", {"subscription_id": "s"}, "switch_plan_id"),
    (
        "switch_subscription_plan",
        {"subscription_id": "s", "switch_plan_id": "p", "switch_plan_version_id": "v"},
        "switch_plan_version_id",
    ),
    (
        "switch_subscription_plan",
        {"subscription_id": "s", "switch_plan_id": "p", "usage_behavior": "bill_full"},
        "usage_behavior",
    ),
    ("attach_addon", {"subscription_id": "s"}, "addon_id"),
    ("attach_addon", {"subscription_id": "s", "addon_id": "a", "addon_version_id": "v"}, "addon_version_id"),
    ("attach_addon", {"subscription_id": "s", "addon_id": "a", "quantity": 0}, "quantity"),
    ("attach_addon", {"subscription_id": "..", "addon_id": "a"}, "subscription_id"),
    ("cancel_addon", {"subscription_id": "s"}, "addon_id"),
    ("cancel_addon", {"subscription_id": "s", "addon_version_id": "a/b"}, "addon_version_id"),
    ("cancel_addon", {"subscription_id": "s", "addon_id": "a", "flat_fee_behavior": "no"}, "flat_fee_behavior"),
    ("list_plans", {"duration": "weekly"}, "duration"),
    ("list_plans", {"include_tags": "a"}, "include_tags"),
    ("list_plans", {"include_tags_all": [""]}, "include_tags_all[0]"),
    ("list_plans", {"exclude_tags": [1]}, "exclude_tags[0]"),
    ("list_plans", {"version_custom_type": "custom"}, "version_custom_type"),
    ("list_plans", {"version_status": ["old"]}, "version_status[0]"),
    ("get_plan", {"plan_id": "."}, "plan_id"),
    ("list_credits", {"customer_id": ""}, "customer_id"),
    ("list_credits", {"customer_id": "c", "status": ["void"]}, "status[0]"),
    ("list_credits", {"customer_id": "c", "issued_before": 1.5}, "issued_before"),
    ("create_credit", {**CREDIT, "amount": None}, "amount"),
    ("create_credit", {**CREDIT, "amount": "10"}, "amount"),
    ("create_credit", {**CREDIT, "amount": True}, "amount"),
    ("create_credit", {**CREDIT, "amount": Decimal("NaN")}, "amount"),
    ("create_credit", {**CREDIT, "currency_code": ""}, "currency_code"),
    ("create_credit", {**CREDIT, "expires_at": "never"}, "expires_at"),
    ("create_credit", {**CREDIT, "amount_paid": float("inf")}, "amount_paid"),
    ("update_credit", {"credit_id": "k"}, "description"),
    ("update_credit", {"credit_id": "", "description": "d"}, "credit_id"),
    ("void_credit", {"credit_id": "k.v"}, "credit_id"),
    ("verify_idems_received", {"idempotency_ids": []}, "idempotency_ids"),
    ("verify_idems_received", {"idempotency_ids": "abc"}, "idempotency_ids"),
    ("verify_idems_received", {"idempotency_ids": ["a", 1]}, "idempotency_ids[1]"),
    ("verify_idems_received", {"idempotency_ids": ["a"], "number_days_lookback": 0}, "number_days_lookback"),
    ("get_customer_access", {"customer_id": "c"}, "event_name"),
    ("get_customer_access", {"customer_id": "c", "event_name": "e", "feature_name": "f"}, "feature_name"),
    ("get_customer_access", {"customer_id": "c", "event_name": ""}, "event_name"),
    ("get_customer_access", {"customer_id": "", "feature_name": "f"}, "customer_id"),
    ("get_customer_access", {"customer_id": "c", "metric_id": "m", "feature_id": "f"}, "feature_id"),
    ("get_customer_access", {"customer_id": "c", "event_name": "e", "timeout": 0}, "timeout"),
    ("get_customer_access", {"customer_id": "c", "event_name": "e", "timeout": "1"}, "timeout"),
    (
        "get_customer_access",
        {"customer_id": "c", "event_name": "e", "subscription_filters": ["x"]},
        "subscription_filters[0]",
    ),
    ("get_customer_metric_access", {"customer_id": "c"}, "event_name"),
    ("get_customer_metric_access", {"customer_id": "c", "event_name": "e", "metric_id": "m"}, "metric_id"),
    ("get_customer_feature_access", {"customer_id": "c", "feature_name": ""}, "feature_name"),
    ("check_metric_access", {"customer_id": "c", "metric_id": None}, "metric_id"),
    ("check_feature_access", {"customer_id": None, "feature_id": "f"}, "customer_id"),
]


@pytest.mark.parametrize(("name", "arguments", "refused"), REFUSED)
@pytest.mark.parametrize("send", [True, False])
def test_a_bad_argument_is_refused_before_anything_is_sent(
    l24: FakeLotus, connect: Connect, send: bool, name: str, arguments: dict[str, Any], refused: str
) -> None:
    client = connect(l24, send=send)
    with pytest.raises(InvalidRequest) as raised:
        getattr(client, name)(**arguments)
    assert raised.value.argument == refused
    assert str(raised.value).startswith(f"{refused}: ")
    assert (raised.value.status, raised.value.outcome_unknown) == (None, False)
    assert l24.request_count == 0


ONLY_2024: list[tuple[str, dict[str, Any], str | None]] = [
    ("ping", {}, None),
    ("verify_idems_received", {"idempotency_ids": ["a"]}, None),
    ("create_customer", {"customer_id": "c", "name": "n", "currency": "USD"}, "currency"),
    ("create_customer", {"customer_id": "c", "name": "n", "properties": {}}, "properties"),
    ("create_customer", {"customer_id": "c", "name": "n", "tax_rate": 0}, "tax_rate"),
    ("create_subscription", {**CREATE, "plan_id": None, "version_id": "v"}, "version_id"),
    ("create_subscription", {**CREATE, "subscription_filters": []}, "subscription_filters"),
    ("create_subscription", {**CREATE, "metadata": {}}, "metadata"),
    ("cancel_subscription", {"subscription_uid": "s", "flat_fee_behavior": "refund"}, "flat_fee_behavior"),
    ("cancel_subscription", {"subscription_uid": "s", "usage_behavior": "bill_none"}, "usage_behavior"),
    ("list_subscriptions", {"customer_id": "c"}, "customer_id"),
    ("list_subscriptions", {"status": ["active"]}, "status"),
    ("update_subscription", {"subscription_id": "s", "turn_off_auto_renew": True}, None),
    ("switch_subscription_plan", {"subscription_id": "s", "switch_plan_id": "p"}, None),
    ("attach_addon", {"subscription_id": "s", "addon_id": "a"}, None),
    ("cancel_addon", {"subscription_id": "s", "addon_id": "a"}, None),
    ("list_plans", {"duration": "monthly"}, "duration"),
    ("list_plans", {"version_currency_code": "USD"}, "version_currency_code"),
    ("list_credits", {"customer_id": "c"}, None),
    ("create_credit", CREDIT, None),
    ("update_credit", {"credit_id": "k", "description": "d"}, None),
    ("void_credit", {"credit_id": "k"}, None),
    ("get_customer_access", {"customer_id": "c", "metric_id": "m"}, "metric_id"),
    ("get_customer_access", {"customer_id": "c", "feature_id": "f"}, "feature_id"),
    (
        "get_customer_access",
        {"customer_id": "c", "event_name": "e", "subscription_filters": [{"property_name": "a", "value": "b"}]},
        "subscription_filters",
    ),
    ("get_customer_metric_access", {"customer_id": "c", "event_name": "e"}, None),
    ("get_customer_feature_access", {"customer_id": "c", "feature_name": "f"}, None),
    ("check_metric_access", {"customer_id": "c", "metric_id": "m"}, None),
    ("check_feature_access", {"customer_id": "c", "feature_id": "f"}, None),
]


@pytest.mark.parametrize(("name", "arguments", "refused"), ONLY_2024)
@pytest.mark.parametrize("send", [True, False])
def test_what_the_server_of_2022_cannot_do_is_an_error_and_not_ignored(
    l22: FakeLotus, connect: Connect, send: bool, name: str, arguments: dict[str, Any], refused: str | None
) -> None:
    client = connect(l22, api_version="2022", send=send)
    with pytest.raises(NotSupported, match="the server of 2022") as raised:
        getattr(client, name)(**arguments)
    assert raised.value.argument == refused
    assert l22.request_count == 0


ONLY_2022: list[tuple[str, dict[str, Any], str, type[InvalidRequest]]] = [
    ("create_subscription", {**CREATE, "subscription_uid": "s"}, "subscription_uid", NotSupported),
    ("cancel_subscription", {"subscription_uid": "s", "revoke_access": False}, "revoke_access", NotSupported),
    ("create_customer", {"customer_id": "customer_id", "name": "Corporation Inc."}, "email", InvalidRequest),
    ("list_subscriptions", {}, "customer_id", InvalidRequest),
    ("list_plans", {"version_currency_code": "USD"}, "version_currency_code", NotSupported),
]


@pytest.mark.parametrize(("name", "arguments", "refused", "kind"), ONLY_2022)
def test_what_the_server_of_2024_cannot_do_or_needs_is_an_error_before_the_call_is_sent(
    l24: FakeLotus, connect: Connect, name: str, arguments: dict[str, Any], refused: str, kind: type[InvalidRequest]
) -> None:
    client = connect(l24)
    with pytest.raises(kind, match="the server of 2024") as raised:
        getattr(client, name)(**arguments)
    assert raised.value.argument == refused
    assert {request.path for request in l24.requests} == {"/api/ping/"}


def test_the_server_of_2022_needs_a_name(l22: FakeLotus, connect: Connect) -> None:
    with pytest.raises(InvalidRequest, match=r"^name: the server of 2022 needs it"):
        connect(l22).create_customer(customer_id="c")


def test_without_a_key_nothing_is_sent(l24: FakeLotus, connect: Connect) -> None:
    client = connect(l24, api_key=None)
    with pytest.raises(ConfigurationError, match=r"^api_key: none is set"):
        client.list_customers()
    with pytest.raises(InvalidRequest):  # the argument first: it is wrong with any key
        client.get_customer(customer_id="")
    assert l24.request_count == 0


def test_with_send_false_calls_are_checked_and_answered_with_nothing(l24: FakeLotus, connect: Connect) -> None:
    client = connect(l24, send=False, api_key=None)
    assert client.create_customer(customer_id="c") == {}
    assert client.create_subscription(customer_id="c", plan_id="p", start_date="2024-01-01") == {}
    assert client.cancel_subscription(subscription_id="s") == {}
    assert client.list_customers() == []
    assert client.ping() == {}
    assert client.verify_idems_received(idempotency_ids=["a"]) == {}
    assert client.get_customer_access(customer_id="c", event_name="e").access is True
    assert l24.request_count == 0
