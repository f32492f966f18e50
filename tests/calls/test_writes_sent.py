"""What each call that changes something sends to each generation of the server, to the letter."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from lotus_durable._version import __version__
from lotus_durable.calls.lazy import NAMES
from lotus_durable.testing import FakeLotus
from tests.delivery.scripted_server import ScriptedServer, says

from .conftest import KEY, Connect
from .sending import DAY, SUBSCRIPTIONS, sent
from .test_reads_sent import READS

FILTERS = [{"property_name": "region", "value": "US"}, {"property_name": "tier", "value": 2}]
FILTERS_SENT = [{"property_name": "region", "value": "US"}, {"property_name": "tier", "value": "2"}]
UNITS = [{"metric_id": "m", "units": Decimal("1.10")}]
UNITS_SENT = [{"metric_id": "m", "units": "1.10"}]

WRITES: list[tuple[str, str, dict[str, Any], str, dict[str, Any]]] = [
    (
        "create_customer",
        "2022",
        {"customer_id": "some.one@example.com", "name": "Corporation Inc."},
        "/api/customers/",
        {"customer_id": "some.one@example.com", "name": "Corporation Inc."},
    ),
    (
        "create_customer",
        "2022",
        {"customer_id": "c", "customer_name": "C", "email": "c@example.com"},
        "/api/customers/",
        {"customer_id": "c", "name": "C"},
    ),
    (
        "create_customer",
        "2024",
        {"customer_id": "c", "email": "c@example.com"},
        "/api/customers/",
        {"customer_id": "c", "email": "c@example.com"},
    ),
    (
        "create_customer",
        "2024",
        {
            "customer_id": "c",
            "name": "Zoë",
            "currency": "EUR",
            "email": "c@example.com",
            "payment_provider": "stripe",
            "payment_provider_id": "cus_1",
            "properties": {"tier": 1},
            "address": {"city": "Paris"},
            "billing_address": {"city": "Lyon"},
            "shipping_address": {},
            "tax_rate": Decimal("19.60"),
        },
        "/api/customers/",
        {
            "customer_id": "c",
            "customer_name": "Zoë",
            "default_currency_code": "EUR",
            "email": "c@example.com",
            "payment_provider": "stripe",
            "payment_provider_id": "cus_1",
            "properties": {"tier": 1},
            "address": {"city": "Paris"},
            "billing_address": {"city": "Lyon"},
            "shipping_address": {},
            "tax_rate": "19.60",
        },
    ),
    (
        "create_subscription",
        "2022",
        {"customer_id": "c", "billing_plan_id": "p", "start_date": "2020-01-01T00:00:00Z"},
        SUBSCRIPTIONS,
        {"customer_id": "c", "billing_plan_id": "p", "start_date": "2020-01-01"},
    ),
    (
        "create_subscription",
        "2022",
        {
            "customer_id": "c",
            "plan_id": "p",
            "start_date": DAY,
            "end_date": date(2024, 3, 1),
            "auto_renew": "False",
            "is_new": True,
            "subscription_uid": "s.1",
        },
        SUBSCRIPTIONS,
        {
            "customer_id": "c",
            "billing_plan_id": "p",
            "start_date": "2024-02-19",
            "end_date": "2024-03-01",
            "auto_renew": False,
            "is_new": True,
            "subscription_uid": "s.1",
        },
    ),
    (
        "create_subscription",
        "2024",
        {"customer_id": "c", "billing_plan_id": "p", "start_date": "2020-01-01T00:00:00Z"},
        SUBSCRIPTIONS,
        {"customer_id": "c", "plan_id": "p", "start_date": "2020-01-01T00:00:00.000000Z"},
    ),
    (
        "create_subscription",
        "2024",
        {
            "customer_id": "c",
            "version_id": "v",
            "start_date": date(2024, 1, 1),
            "end_date": DAY,
            "auto_renew": True,
            "is_new": "True",
            "subscription_filters": FILTERS,
            "component_fixed_charges_initial_units": UNITS,
            "metadata": {"a": [1]},
        },
        SUBSCRIPTIONS,
        {
            "customer_id": "c",
            "version_id": "v",
            "start_date": "2024-01-01T00:00:00.000000Z",
            "end_date": "2024-02-19T10:30:00.000000Z",
            "auto_renew": True,
            "is_new": True,
            "subscription_filters": FILTERS_SENT,
            "component_fixed_charges_initial_units": UNITS_SENT,
            "metadata": {"a": [1]},
        },
    ),
    (
        "cancel_subscription",
        "2022",
        {"subscription_uid": "subscription_4", "bill_now": "True"},
        "/api/cancel_subscription/",
        {"subscription_uid": "subscription_4", "bill_now": True},
    ),
    (
        "cancel_subscription",
        "2022",
        {"subscription_id": "s/4", "bill_now": "False", "revoke_access": True},
        "/api/cancel_subscription/",
        {"subscription_uid": "s/4", "bill_now": False, "revoke_access": True},
    ),
    (
        "cancel_subscription",
        "2024",
        {"subscription_uid": "s"},
        f"{SUBSCRIPTIONS}s/cancel/",
        {"usage_behavior": "bill_full", "invoicing_behavior": "invoice_now"},
    ),
    (
        "cancel_subscription",
        "2024",
        {"subscription_id": "s", "bill_now": False, "flat_fee_behavior": "refund", "revoke_access": True},
        f"{SUBSCRIPTIONS}s/cancel/",
        {"flat_fee_behavior": "refund", "usage_behavior": "bill_none", "invoicing_behavior": "add_to_next_invoice"},
    ),
    (
        "cancel_subscription",
        "2024",
        {"subscription_id": "s", "usage_behavior": "bill_none"},
        f"{SUBSCRIPTIONS}s/cancel/",
        {"usage_behavior": "bill_none"},
    ),
    (
        "update_subscription",
        "2024",
        {"subscription_id": "s", "turn_off_auto_renew": True, "end_date": DAY, "metadata": {}},
        f"{SUBSCRIPTIONS}s/update/",
        {"turn_off_auto_renew": True, "end_date": "2024-02-19T10:30:00.000000Z", "metadata": {}},
    ),
    (
        "switch_subscription_plan",
        "2024",
        {"subscription_id": "s", "switch_plan_id": "p"},
        f"{SUBSCRIPTIONS}s/switch_plan/",
        {"switch_plan_id": "p"},
    ),
    (
        "switch_subscription_plan",
        "2024",
        {
            "subscription_id": "s",
            "switch_plan_version_id": "v",
            "invoicing_behavior": "add_to_next_invoice",
            "usage_behavior": "keep_separate",
            "component_fixed_charges_initial_units": UNITS,
        },
        f"{SUBSCRIPTIONS}s/switch_plan/",
        {
            "switch_plan_version_id": "v",
            "invoicing_behavior": "add_to_next_invoice",
            "usage_behavior": "keep_separate",
            "component_fixed_charges_initial_units": UNITS_SENT,
        },
    ),
    (
        "attach_addon",
        "2024",
        {"subscription_id": "s", "addon_id": "a"},
        f"{SUBSCRIPTIONS}s/addons/attach/",
        {"addon_id": "a", "quantity": 1},
    ),
    (
        "attach_addon",
        "2024",
        {"subscription_id": "s", "addon_version_id": "v", "quantity": 3, "metadata": {"a": None}},
        f"{SUBSCRIPTIONS}s/addons/attach/",
        {"addon_version_id": "v", "quantity": 3, "metadata": {"a": None}},
    ),
    ("cancel_addon", "2024", {"subscription_id": "s", "addon_id": "a"}, f"{SUBSCRIPTIONS}s/addons/a/cancel/", {}),
    (
        "cancel_addon",
        "2024",
        {
            "subscription_id": "s",
            "addon_version_id": "v",
            "flat_fee_behavior": "charge_prorated",
            "usage_behavior": "bill_full",
            "invoicing_behavior": "invoice_now",
        },
        f"{SUBSCRIPTIONS}s/addons/v/cancel/",
        {"flat_fee_behavior": "charge_prorated", "usage_behavior": "bill_full", "invoicing_behavior": "invoice_now"},
    ),
    (
        "create_credit",
        "2024",
        {"customer_id": "c", "amount": Decimal("1234567890.0123456789"), "currency_code": "USD"},
        "/api/credits/",
        {"customer_id": "c", "amount": "1234567890.0123456789", "currency_code": "USD"},
    ),
    (
        "create_credit",
        "2024",
        {
            "customer_id": "c",
            "amount": 10,
            "currency_code": "USD",
            "description": "Sorry",
            "effective_at": DAY,
            "expires_at": "2025-01-01",
            "amount_paid": 0.1,
            "amount_paid_currency_code": "EUR",
        },
        "/api/credits/",
        {
            "customer_id": "c",
            "amount": "10",
            "currency_code": "USD",
            "description": "Sorry",
            "effective_at": "2024-02-19T10:30:00.000000Z",
            "expires_at": "2025-01-01T00:00:00.000000Z",
            "amount_paid": "0.1",
            "amount_paid_currency_code": "EUR",
        },
    ),
    (
        "update_credit",
        "2024",
        {"credit_id": "k", "description": "d", "expires_at": "2025-01-01"},
        "/api/credits/k/update/",
        {"description": "d", "expires_at": "2025-01-01T00:00:00.000000Z"},
    ),
    ("void_credit", "2024", {"credit_id": "k"}, "/api/credits/k/void/", {}),
    (
        "verify_idems_received",
        "2024",
        {"idempotency_ids": ["a", "b", "a"]},
        "/api/verify_idems_received/",
        {"idempotency_ids": ["a", "b"], "number_days_lookback": 30},
    ),
    (
        "verify_idems_received",
        "2024",
        {"idempotency_ids": ("a",), "number_days_lookback": 2},
        "/api/verify_idems_received/",
        {"idempotency_ids": ["a"], "number_days_lookback": 2},
    ),
]


@pytest.mark.parametrize(("name", "version", "arguments", "path", "body"), WRITES)
def test_a_write_is_sent_like_this(
    connect: Connect, name: str, version: str, arguments: dict[str, Any], path: str, body: dict[str, Any]
) -> None:
    request = sent(connect, version, name, arguments)
    assert request.line == f"POST {path} HTTP/1.1"
    assert json.loads(request.body) == body
    assert request.headers["content-length"] == str(len(request.body))
    assert request.headers["content-type"] == "application/json"


def test_one_form_of_create_customer_is_right_for_both_servers(
    l22: FakeLotus, l24: FakeLotus, connect: Connect
) -> None:
    for server in (l22, l24):
        connect(server).create_customer(customer_id="c1", name="C", email="c1@example.com")
        assert server.accounts.customers["c1"].name == "C"
    assert l24.accounts.customers["c1"].email == "c1@example.com"
    assert l22.requests[-1].json() == {"customer_id": "c1", "name": "C"}


def test_every_call_is_in_these_tables() -> None:
    assert set(NAMES) == {name for name, *_ in READS} | {name for name, *_ in WRITES}


def test_the_headers_are_those_both_servers_take(connect: Connect) -> None:
    request = sent(connect, "2024", "create_customer", {"customer_id": "c", "email": "c@example.com"})
    assert {name: value for name, value in request.headers.items() if name not in ("host", "content-length")} == {
        "x-api-key": KEY,
        "content-type": "application/json",
        "accept": "application/json",
        "accept-encoding": "identity",
        "user-agent": f"lotus-durable/{__version__}",
    }


def test_a_host_may_have_a_path(connect: Connect) -> None:
    with ScriptedServer(says(200, b"[]")) as server:
        client = connect(server, api_version="2024", host=f"{server.host}/lotus/")
        client.list_plans(include_tags=["a"])
        client.release()
    assert server.requests[0].line == "GET /lotus/api/plans/?include_tags=a HTTP/1.1"
