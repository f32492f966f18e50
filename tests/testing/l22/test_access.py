"""What was not recorded of access on the server of 2022."""

from __future__ import annotations

from typing import Any

import pytest

from lotus_durable.testing import Component, FakeLotus
from tests.testing.conftest import Event, RawClient

from .conftest import ACCESS, REQUIRED, subscribe


@pytest.mark.usefixtures("plan")
def test_an_event_without_a_readable_time_is_no_usage(client: RawClient, event: Event) -> None:
    subscribe(client)
    assert client.track(event("a", time_created="yesterday")).status == 201
    assert client.get(ACCESS, customer_id="c1", event_name="call").status == 500
    assert client.track(event("b", time_created="2024-02-02 10:00:00")).status == 201
    assert client.get(ACCESS, customer_id="c1", event_name="call").json()["access"] is True


def test_without_a_limit_and_without_a_component_there_is_access(client: RawClient, server: FakeLotus) -> None:
    plan = server.accounts.add_plan("Open", components=[Component("call")])
    server.accounts.add_subscription("c1", plan)
    assert client.get(ACCESS, customer_id="c1", event_name="call").json() == {"access": True, "usages": [None]}
    assert client.get(ACCESS, customer_id="c1", event_name="other").json() == {"access": True, "usages": []}


@pytest.mark.parametrize(
    ("query", "errors"),
    [
        ({"event_name": "call"}, {"customer_id": REQUIRED}),
        ({"customer_id": "c1"}, {"non_field_errors": ["Must provide either event_name or feature_name"]}),
        (
            {"customer_id": "c1", "event_name": "call", "feature_name": "export"},
            {"non_field_errors": ["Cannot provide both event_name and feature_name"]},
        ),
        (
            {"customer_id": "nobody", "event_name": "call"},
            {"status": "error", "detail": "Customer not found"},
        ),
    ],
)
def test_an_access_question_that_does_not_fit_is_400(
    client: RawClient, query: dict[str, str], errors: dict[str, Any]
) -> None:
    answer = client.get(ACCESS, **query)
    assert (answer.status, answer.json()) == (400, errors)
