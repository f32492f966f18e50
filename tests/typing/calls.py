"""How the calls that answer look to a type checker: checked by mypy, never run.

A line that must be refused carries an ignore; mypy runs strictly, so an ignore that is not needed is an error too.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import lotus_durable as lotus
from lotus_durable.calls.answers import Credit, Customer, Ping, Subscription


def functions_have_the_signatures_of_their_calls() -> None:
    customer: Customer = lotus.create_customer(customer_id="c", name="n", currency="USD")
    customers: list[Customer] = lotus.list_customers()
    subscription: Subscription = lotus.create_subscription(
        customer_id="c", billing_plan_id="p", start_date="2020-01-01T00:00:00Z"
    )
    lotus.cancel_subscription(subscription_uid="s", bill_now="True")
    access: lotus.Access = lotus.get_customer_access(customer_id="c", event_name="e")
    used: list[Decimal | None] = [usage.usage for usage in access.usages]
    del customer, customers, subscription, used

    lotus.create_customer("c", "n")  # type: ignore[call-arg]
    lotus.create_customer(customer_id=5)  # type: ignore[arg-type]
    lotus.create_customer(customer="c")  # type: ignore[call-arg]
    lotus.cancel_subscription(subscription_uid="s", bill_now="yes")  # type: ignore[arg-type]
    lotus.cancel_subscription(subscription_uid="s", usage_behavior="prorate")  # type: ignore[arg-type]
    lotus.get_plan()  # type: ignore[call-arg]


def methods_have_them_too(client: lotus.Client) -> None:
    ping: Ping = client.ping()
    credit: Credit = client.create_credit(
        customer_id="c", amount=Decimal("0.1"), currency_code="USD", expires_at=date(2025, 1, 1)
    )
    client.update_subscription(subscription_id="s", end_date=datetime.now(UTC), metadata={"a": [1]})
    client.list_plans(duration="monthly", include_tags=["a"])
    del ping, credit

    client.create_credit(customer_id="c", amount="0.1", currency_code="USD")  # type: ignore[arg-type]
    client.list_plans(duration="weekly")  # type: ignore[arg-type]
    client.get_customer("c")  # type: ignore[call-arg]


def access_has_no_truth_value(client: lotus.Client) -> bool:
    return client.get_customer_access(customer_id="c", feature_name="f").access
