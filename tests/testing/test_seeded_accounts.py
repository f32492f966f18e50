"""Seeding a FakeLotus: ids, periods and names."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from lotus_durable.testing import Component, FakeLotus
from lotus_durable.testing.accounts import end_of_period


@pytest.mark.parametrize(
    ("start", "duration", "end"),
    [
        ("2024-01-31", "monthly", "2024-02-28T23:59:59.999999"),
        ("2024-12-15", "monthly", "2025-01-14T23:59:59.999999"),
        ("2023-11-30", "quarterly", "2024-02-28T23:59:59.999999"),
        ("2024-02-29", "yearly", "2025-02-27T23:59:59.999999"),
    ],
)
def test_a_period_ends_with_the_day_before_the_same_day(start: str, duration: str, end: str) -> None:
    first = datetime.fromisoformat(start).replace(tzinfo=UTC)
    assert end_of_period(first, duration) == datetime.fromisoformat(end).replace(tzinfo=UTC)


def test_a_customer_added_twice_is_one() -> None:
    accounts = FakeLotus().accounts
    assert accounts.add_customer("c1", name="One") is accounts.add_customer("c1", name="Other")


def test_features_of_one_name_share_their_id() -> None:
    accounts = FakeLotus().accounts
    one = accounts.add_plan("One", features=["export"])
    other = accounts.add_plan("Other", features=["export"])
    assert one.features == other.features
    assert accounts.features[one.features[0].feature_id] == one.features[0]


def test_a_metric_is_named_after_what_it_counts() -> None:
    assert Component("call").name == "count of call"
    assert Component("call", property_name="mb").name == "sum of mb of call"
    assert Component("call", metric_name="Calls").name == "Calls"


def test_a_subscription_runs_from_yesterday_unless_told() -> None:
    accounts = FakeLotus().accounts
    subscription = accounts.add_subscription("c1", accounts.add_plan("One"))
    assert subscription.is_active(accounts.now())
    assert accounts.subscriptions_of(accounts.customers["c1"]) == [subscription]
