"""What was not recorded of plans on the server of 2024."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from lotus_durable.testing import Component, FakeLotus, Plan

from .test_customers_l24 import assert_problem

if TYPE_CHECKING:
    from tests.testing.conftest import RawClient

PLANS = "/api/plans/"
UNKNOWN_ID = "0" * 32


@pytest.fixture
def plan(server: FakeLotus) -> Plan:
    accounts = server.accounts
    accounts.add_plan("Year", duration="yearly", currency="EUR", tags=["old"])
    accounts.add_plan("Extra", addon=True)
    plan = accounts.add_plan("Month", tags=["new", "main"], features=["export"])
    accounts.add_subscription("c1", plan, start=datetime(2024, 2, 1, tzinfo=UTC))
    return plan


def test_a_plan_can_be_read_with_or_without_hyphens(client: RawClient, plan: Plan) -> None:
    got = client.get(f"{PLANS}{plan.plan_id}/").json()
    assert (got["plan_name"], got["active_subscriptions"]) == ("Month", 1)
    assert got["versions"][0]["plan_name"] == "Month"
    assert "version_id" not in got["versions"][0]  # it is told nowhere but in a subscription
    digits = plan.plan_id.removeprefix("plan_")
    assert client.get(f"{PLANS}{digits[:8]}-{digits[8:]}/").json() == got
    assert client.get(f"{PLANS}plan_{UNKNOWN_ID}/").status == 404
    assert client.get(f"{PLANS}billing_plan_5/").status == 400


def test_the_limits_of_a_plan_are_its_tiers(client: RawClient, server: FakeLotus) -> None:
    components = [Component("call", limit=10, free_limit=4), Component("ping", limit=5, free_limit=5), Component("x")]
    plan = server.accounts.add_plan("Tiers", components=components)
    got = client.get(f"{PLANS}{plan.plan_id}/").json()["versions"][0]["components"]
    tiers = [[(t["type"], t["range_start"], t["range_end"]) for t in component["tiers"]] for component in got]
    assert tiers == [
        [("free", 0, 4), ("per_unit", 4, 10)],
        [("free", 0, 5)],
        [("per_unit", 0, None)],
    ]


def test_an_unknown_duration_is_refused(client: RawClient) -> None:
    answer = client.get(PLANS, duration="weekly")
    assert_problem(answer, 400, "invalid_choice", '"weekly" is not a valid choice.', "duration")
