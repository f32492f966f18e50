"""What an application does to requests for itself does not reach our calls: a cached answer would be a lie.

What it patches of requests is met by no connection of ours: see tests/http/test_nothing_later.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import requests.adapters

from lotus_durable.testing import Component, FakeLotus

from .conftest import KEY, Connect


@pytest.fixture
def _cached(tmp_path: Path) -> Iterator[None]:
    """A cache of the application's for the whole process, that takes every method and is never old."""
    cache = pytest.importorskip("requests_cache")
    cache.install_cache(str(tmp_path / "cache"), backend="sqlite", allowable_methods=("GET", "POST"), expire_after=-1)
    yield
    cache.uninstall_cache()


@pytest.mark.usefixtures("_cached")
@pytest.mark.parametrize("generation", ["L22", "L24"])
def test_a_cache_for_the_whole_process_does_not_answer_our_calls(
    generation: str, request: pytest.FixtureRequest, connect: Connect
) -> None:
    server: FakeLotus = request.getfixturevalue(generation.lower())

    def asked_by_the_application() -> Any:
        return requests.get(f"{server.host}/api/customers/", headers={"X-API-KEY": KEY}, timeout=5).json()

    assert asked_by_the_application() == []
    client = connect(server)
    assert client.list_customers() == []
    client.create_customer(customer_id="c1", name="C", email="c1@example.com")
    assert asked_by_the_application() == []  # from its cache
    assert [one["customer_id"] for one in client.list_customers()] == ["c1"]
    plan = server.accounts.add_plan("Pro", components=[Component("call", limit=1)])
    subscription = server.accounts.add_subscription("c1", plan)
    before = server.request_count
    for _ in range(2):
        client.get_customer(customer_id="c1")
    assert server.request_count == before + 2
    client.cancel_subscription(subscription_uid=subscription.subscription_id)
    assert server.accounts.subscriptions[subscription.subscription_id].auto_renew is False
