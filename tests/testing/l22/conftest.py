"""The server of 2022, with a customer, a plan and a client."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lotus_durable.testing import Component, FakeLotus, Plan
from tests.testing.conftest import RawClient

SUBSCRIPTIONS, ACCESS = "/api/subscriptions/", "/api/customer_access/"
REQUIRED = ["This field is required."]


@pytest.fixture
def server(start: Callable[..., FakeLotus]) -> FakeLotus:
    return start("L22")


@pytest.fixture
def plan(server: FakeLotus) -> Plan:
    """A plan that ends access after two calls, and one feature."""
    server.add_customer("c1")
    return server.accounts.add_plan(
        "Five", plan_id="billing_plan_5", components=[Component("call", limit=2)], features=["export"]
    )


def subscribe(client: RawClient, **fields: Any) -> Any:
    body = {"customer_id": "c1", "billing_plan_id": "billing_plan_5", "start_date": "2024-02-01", **fields}
    return client.post(SUBSCRIPTIONS, body)
