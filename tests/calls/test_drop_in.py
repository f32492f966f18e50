"""The examples of the original client's README, as written there, through the module's functions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import lotus_durable as lotus
from lotus_durable.testing import Component, FakeLotus

from .conftest import KEY


@pytest.fixture
def _settings(tmp_path: Path) -> Iterator[None]:
    lotus.api_key = KEY
    lotus.queue_dir = tmp_path / "queue"
    yield
    lotus.shutdown()
    for name in ("api_key", "queue_dir", "host"):
        setattr(lotus, name, None)


pytestmark = pytest.mark.usefixtures("_settings")


def test_create_customer_as_written(l22: FakeLotus) -> None:
    lotus.host = l22.host
    lotus.create_customer(
        customer_id='customer_id',
        name='Corporation Inc.'
    )  # fmt: skip
    assert l22.accounts.customers["customer_id"].name == "Corporation Inc."


def test_create_subscription_as_written(l22: FakeLotus) -> None:
    lotus.host = l22.host
    l22.add_customer("customer_1")
    l22.accounts.add_plan("Five", plan_id="billing_plan_5")
    lotus.create_subscription(
      customer_id='customer_1',
      billing_plan_id='billing_plan_5',
      start_date='2020-01-01T00:00:00Z'
    )  # fmt: skip
    (subscription,) = l22.accounts.subscriptions.values()
    assert subscription.start.date().isoformat() == "2020-01-01"


def test_cancel_subscription_as_written(l22: FakeLotus) -> None:
    lotus.host = l22.host
    plan = l22.accounts.add_plan("Five")
    l22.accounts.add_subscription("customer_1", plan, subscription_id="subscription_4")
    lotus.cancel_subscription(
      subscription_uid='subscription_4',
      bill_now='True')  # fmt: skip
    assert l22.accounts.subscriptions["subscription_4"].auto_renew is False


@pytest.mark.parametrize("fixture", ["l22", "l24"])
def test_get_customer_access_as_written(fixture: str, request: pytest.FixtureRequest) -> None:
    server: FakeLotus = request.getfixturevalue(fixture)
    lotus.host = server.host
    server.accounts.add_subscription("customer123", server.accounts.add_plan("Any", components=[Component("api_call")]))
    answer = lotus.get_customer_access(
      customer_id='customer123',
      event_name='api_call'
    )  # fmt: skip
    assert answer.access is True
    assert answer["access"] is True
    with pytest.raises(KeyError, match="acces"):
        answer["acces"]


def test_the_newest_server_gets_what_the_examples_say_where_it_can(l24: FakeLotus) -> None:
    lotus.host = l24.host
    l24.add_customer("customer_1")
    plan = l24.accounts.add_plan("Five")
    with pytest.raises(lotus.InvalidRequest, match=r"^email: the server of 2024 needs it"):
        lotus.create_customer(customer_id="customer_id", name="Corporation Inc.")
    # The form is right; the server refuses a period that ended years ago.
    with pytest.raises(lotus.InvalidRequest, match="End date cannot be in the past"):
        lotus.create_subscription(
            customer_id="customer_1", billing_plan_id=plan.plan_id, start_date="2020-01-01T00:00:00Z"
        )
    subscription = l24.accounts.add_subscription("customer_1", plan)
    cancelled = lotus.cancel_subscription(subscription_uid=subscription.subscription_id, bill_now="True")
    assert cancelled["subscription_id"] == subscription.subscription_id


def test_the_functions_show_their_own_signatures() -> None:
    import inspect

    assert list(inspect.signature(lotus.get_customer).parameters) == ["customer_id"]
    assert list(inspect.signature(lotus.Client.get_customer).parameters) == ["self", "customer_id"]
    assert lotus.create_customer.__qualname__ == "create_customer"
    assert lotus.Client.create_customer.__qualname__ == "Client.create_customer"
    assert "Create a customer" in (lotus.create_customer.__doc__ or "")
