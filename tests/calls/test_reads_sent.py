"""What each call that asks sends to each generation of the server, to the letter."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from .conftest import Connect
from .sending import DAY, SUBSCRIPTIONS, sent

FILTERS = [{"property_name": "region", "value": "US"}]
FILTER_QUERY = (
    "subscription_filters=%5B%7B%22property_name%22%3A%20%22region%22%2C%20%22value%22%3A%20%22US%22%7D%5D"
    "&subscription_filters%5B0%5Dproperty_name=region&subscription_filters%5B0%5Dvalue=US"
)
TAGS = "include_tags=a&include_tags=b%20c&include_tags_all=d&exclude_tags=e%26f"
ACCESS = "/api/customer_access/"

READS: list[tuple[str, str, dict[str, Any], str]] = [
    ("ping", "2024", {}, "/api/ping/"),
    ("list_customers", "2022", {}, "/api/customers/"),
    ("list_customers", "2024", {}, "/api/customers/"),
    ("get_customer", "2022", {"customer_id": "c 1"}, "/api/customers/c%201/"),
    ("get_customer", "2024", {"customer_id": "Zoë"}, "/api/customers/Zo%C3%AB/"),
    ("list_plans", "2022", {}, "/api/plans/"),
    ("list_plans", "2024", {}, "/api/plans/"),
    (
        "list_plans",
        "2024",
        {
            "duration": "yearly",
            "include_tags": ["a", "b c"],
            "include_tags_all": ("d",),
            "exclude_tags": ["e&f"],
            "version_custom_type": "public_only",
            "version_status": ["active", "ended"],
        },
        (f"/api/plans/?{TAGS}&version_custom_type=public_only&version_status=active&version_status=ended"),
    ),
    ("get_plan", "2022", {"plan_id": "billing_plan_5"}, "/api/plans/billing_plan_5/"),
    ("get_plan", "2024", {"plan_id": "plan_1"}, "/api/plans/plan_1/"),
    ("list_subscriptions", "2022", {}, SUBSCRIPTIONS),
    ("list_subscriptions", "2024", {"customer_id": "c+1"}, f"{SUBSCRIPTIONS}?customer_id=c%2B1"),
    (
        "list_subscriptions",
        "2024",
        {
            "customer_id": "c",
            "status": ["active", "not_started"],
            "plan_id": "plan_1",
            "range_start": date(2024, 1, 1),
            "range_end": DAY,
        },
        (
            f"{SUBSCRIPTIONS}?customer_id=c&status=active&status=not_started&plan_id=plan_1"
            "&range_start=2024-01-01T00%3A00%3A00.000000Z&range_end=2024-02-19T10%3A30%3A00.000000Z"
        ),
    ),
    ("list_credits", "2024", {"customer_id": "c"}, "/api/credits/?customer_id=c"),
    (
        "list_credits",
        "2024",
        {
            "customer_id": "c",
            "currency_code": "USD",
            "effective_after": "2024-01-01",
            "effective_before": "2024-01-02",
            "expires_after": "2024-01-03",
            "expires_before": "2024-01-04",
            "issued_after": "2024-01-05",
            "issued_before": "2024-01-06",
            "status": ["active"],
        },
        "/api/credits/?customer_id=c&currency_code=USD"
        + "".join(
            f"&{name}=2024-01-0{number}T00%3A00%3A00.000000Z"
            for number, name in enumerate(
                (
                    "effective_after",
                    "effective_before",
                    "expires_after",
                    "expires_before",
                    "issued_after",
                    "issued_before",
                ),
                start=1,
            )
        )
        + "&status=active",
    ),
    (
        "get_customer_access",
        "2022",
        {"customer_id": "c", "event_name": "api call"},
        f"{ACCESS}?customer_id=c&event_name=api%20call",
    ),
    (
        "get_customer_access",
        "2022",
        {"customer_id": "c", "feature_name": "export"},
        f"{ACCESS}?customer_id=c&feature_name=export",
    ),
    (
        "get_customer_access",
        "2024",
        {"customer_id": "c", "event_name": "call"},
        "/api/customer_metric_access/?customer_id=c&event_name=call",
    ),
    (
        "get_customer_access",
        "2024",
        {"customer_id": "c", "feature_name": "export", "subscription_filters": FILTERS},
        f"/api/customer_feature_access/?customer_id=c&feature_name=export&{FILTER_QUERY}",
    ),
    (
        "get_customer_access",
        "2024",
        {"customer_id": "c", "metric_id": "metric_1"},
        "/api/metric_access/?customer_id=c&metric_id=metric_1",
    ),
    (
        "get_customer_access",
        "2024",
        {"customer_id": "c", "feature_id": "feature_1"},
        "/api/feature_access/?customer_id=c&feature_id=feature_1",
    ),
    (
        "get_customer_metric_access",
        "2024",
        {"customer_id": "c", "metric_id": "m", "subscription_filters": FILTERS},
        f"/api/customer_metric_access/?customer_id=c&metric_id=m&{FILTER_QUERY}",
    ),
    (
        "get_customer_metric_access",
        "2024",
        {"customer_id": "c", "event_name": "e"},
        "/api/customer_metric_access/?customer_id=c&event_name=e",
    ),
    (
        "get_customer_feature_access",
        "2024",
        {"customer_id": "c", "feature_name": "f"},
        "/api/customer_feature_access/?customer_id=c&feature_name=f",
    ),
    (
        "check_metric_access",
        "2024",
        {"customer_id": "c", "metric_id": "m", "subscription_filters": []},
        "/api/metric_access/?customer_id=c&metric_id=m",
    ),
    (
        "check_feature_access",
        "2024",
        {"customer_id": "c", "feature_id": "f", "subscription_filters": FILTERS},
        f"/api/feature_access/?customer_id=c&feature_id=f&{FILTER_QUERY}",
    ),
]


@pytest.mark.parametrize(("name", "version", "arguments", "target"), READS)
def test_a_read_is_sent_like_this(
    connect: Connect, name: str, version: str, arguments: dict[str, Any], target: str
) -> None:
    request = sent(connect, version, name, arguments)
    assert request.line == f"GET {target} HTTP/1.1"
    assert request.body == b""
    assert "content-length" not in request.headers
