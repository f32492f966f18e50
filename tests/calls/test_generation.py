"""Which server it is: how it is found out, what is remembered, and what happens when that is wrong."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from lotus_durable.errors import (
    AuthenticationError,
    ConnectionFailed,
    InvalidRequest,
    NotFound,
    NotSupported,
    ServerError,
    UnexpectedAnswer,
)
from lotus_durable.queue.consumer import Consumer
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.testing import Component, FakeLotus, Status
from tests.delivery.scripted_server import ScriptedServer, says

from .conftest import Connect

HTML = "Content-Type: text/html"


def paths(server: FakeLotus) -> list[str]:
    return [f"{request.method} {request.path}" for request in server.requests]


def remember(directory: Path, host: str, generation: str) -> None:
    """Have the books say which server it is, as a flusher leaves them."""
    queue = QueueDirectory(directory)
    queue.prepare()
    with closing(Consumer(queue, lambda _: None)) as consumer:
        consumer.learn("host", host)
        consumer.learn("generation", generation)


def test_the_server_of_2024_is_told_by_its_ping(l24: FakeLotus, connect: Connect) -> None:
    connect(l24).list_customers()
    assert paths(l24) == ["GET /api/ping/", "GET /api/customers/"]


def test_the_server_of_2022_has_no_ping_but_a_path_of_its_own(l22: FakeLotus, connect: Connect) -> None:
    connect(l22).list_customers()
    assert paths(l22) == ["GET /api/ping/", "GET /api/customer_access/", "GET /api/customers/"]


@pytest.mark.parametrize("generation", ["L22", "L24"])
def test_a_wrong_key_does_not_hide_which_server_it_is(
    generation: str, fake_lotus_factory: Callable[..., FakeLotus], connect: Connect
) -> None:
    server = fake_lotus_factory(generation, api_key="another-key")
    client = connect(server)
    with pytest.raises(AuthenticationError):
        client.list_customers()
    server.rotate_key(client.config.api_key or "")
    assert client.list_customers() == []
    assert paths(server).count("GET /api/ping/") == 1


def test_it_is_asked_once_and_remembered(l22: FakeLotus, connect: Connect) -> None:
    client = connect(l22)
    for _ in range(3):
        client.list_customers()
    client.list_plans()
    assert paths(l22).count("GET /api/ping/") == 1


@pytest.mark.parametrize("fixture", ["l22", "l24"])
def test_what_a_flusher_has_found_out_is_not_asked_again(
    fixture: str, request: pytest.FixtureRequest, connect: Connect
) -> None:
    server = request.getfixturevalue(fixture)
    connect(server).drain(20)
    before = len(server.requests)
    connect(server).list_plans()
    assert paths(server)[before:] == ["GET /api/plans/"]


@pytest.mark.parametrize(("fixture", "version"), [("l22", "2022"), ("l24", "2024")])
def test_a_server_that_is_named_is_not_asked(
    fixture: str, version: str, request: pytest.FixtureRequest, connect: Connect
) -> None:
    server = request.getfixturevalue(fixture)
    connect(server, api_version=version).list_plans()
    assert paths(server) == ["GET /api/plans/"]


def test_a_directory_that_others_can_write_to_is_not_believed(l24: FakeLotus, connect: Connect, tmp_path: Path) -> None:
    client = connect(l24)
    remember(tmp_path / "queue", l24.host, "2022")
    (tmp_path / "queue").chmod(0o777)
    client.list_customers()
    assert paths(l24)[0] == "GET /api/ping/"


def test_no_directory_is_made_for_it(l24: FakeLotus, connect: Connect, tmp_path: Path) -> None:
    client = connect(l24)
    shutil.rmtree(tmp_path / "queue", ignore_errors=True)
    client.list_customers()
    client.list_customers()
    assert not (tmp_path / "queue").exists()
    assert paths(l24).count("GET /api/ping/") == 1


# -- not Lotus, or not now --


@pytest.mark.parametrize(
    "ping",
    [
        says(404, b"<h1>Not Found</h1>", HTML),
        says(200, b"<h1>Welcome</h1>", HTML),
        says(200, b'{"hello": "world"}'),
        says(200, b"[]"),
        says(404, b'{"message": "no Route matched"}'),
        says(301, b"", "Location: /elsewhere/"),
        says(403, b"<h1>Forbidden</h1>", HTML),
    ],
)
def test_another_web_server_is_not_taken_for_lotus(ping: Any, connect: Connect) -> None:
    with ScriptedServer(ping) as server:
        client = connect(server)
        with pytest.raises((UnexpectedAnswer, NotFound)) as raised:
            client.create_subscription(customer_id="c", plan_id="p", start_date="2024-01-01")
        client.release()
    assert not raised.value.outcome_unknown
    assert all(request.line.startswith("GET ") for request in server.requests)


def test_a_server_that_fails_is_not_taken_for_another(l22: FakeLotus, connect: Connect) -> None:
    client = connect(l22)
    l22.fail_next(*[Status(503)] * 4)
    with pytest.raises(ServerError) as raised:
        client.create_customer(customer_id="c", name="C")
    assert not raised.value.outcome_unknown
    l22.fail_next(None, Status(500))
    with pytest.raises(ServerError):
        client.create_customer(customer_id="c", name="C")
    assert l22.accounts.customers == {}
    assert client.create_customer(customer_id="c", name="C")["customer_id"] == "c"


def test_a_server_that_is_away_has_not_got_the_call(l24: FakeLotus, connect: Connect) -> None:
    client = connect(l24)
    l24.stop()
    with pytest.raises(ConnectionFailed, match="connection refused") as raised:
        client.create_credit(customer_id="c", amount=1, currency_code="USD")
    assert (raised.value.sent, raised.value.outcome_unknown) == (False, False)


# -- the server was replaced --


def test_a_server_that_was_replaced_by_the_newer_one_is_recognised(
    l24: FakeLotus, connect: Connect, tmp_path: Path
) -> None:
    plan = l24.accounts.add_plan("Pro", components=[Component("call", limit=2)], features=["export"])
    l24.add_customer("c1")
    calls: list[Callable[[Any], object]] = [
        lambda client: client.create_customer(customer_id="c2", name="C", email="c2@example.com"),
        lambda client: client.create_subscription(
            customer_id="c1", billing_plan_id=plan.plan_id, start_date=l24.accounts.now()
        ),
        lambda client: client.get_customer_access(customer_id="c1", event_name="call"),
        lambda client: client.cancel_subscription(subscription_uid=next(iter(l24.accounts.subscriptions))),
        lambda client: client.ping(),
        lambda client: client.list_credits(customer_id="c1"),
    ]
    for call in calls:
        remember(tmp_path / "queue", l24.host, "2022")
        call(connect(l24))
    assert list(l24.accounts.customers) == ["c1", "c2"]
    assert len(l24.accounts.subscriptions) == 1


def test_a_server_that_was_replaced_by_the_older_one_is_recognised(
    l22: FakeLotus, connect: Connect, tmp_path: Path
) -> None:
    l22.accounts.add_plan("Five", plan_id="billing_plan_5", features=["export"])
    l22.add_customer("c1")
    calls: list[Callable[[Any], object]] = [
        lambda client: client.create_customer(customer_id="c2", name="C"),
        lambda client: client.create_subscription(
            customer_id="c1", billing_plan_id="billing_plan_5", start_date="2020-01-01T00:00:00Z"
        ),
        lambda client: client.get_customer_access(customer_id="c1", feature_name="export"),
        lambda client: client.cancel_subscription(subscription_uid=next(iter(l22.accounts.subscriptions))),
        lambda client: client.list_subscriptions(),
    ]
    for call in calls:
        remember(tmp_path / "queue", l22.host, "2024")
        call(connect(l22))
    assert list(l22.accounts.customers) == ["c1", "c2"]
    assert len(l22.accounts.subscriptions) == 1


def test_an_argument_the_new_server_cannot_take_is_refused_when_it_turns_out_which_it_is(
    l22: FakeLotus, connect: Connect, tmp_path: Path
) -> None:
    remember(tmp_path / "queue", l22.host, "2024")
    with pytest.raises(NotSupported, match=r"^currency: the server of 2022 ignores it"):
        connect(l22).create_customer(customer_id="c2", name="C", email="c2@example.com", currency="USD")
    assert l22.accounts.customers == {}


def test_what_cannot_be_is_refused_when_the_server_was_asked_once_whether_it_was_replaced(
    l22: FakeLotus, connect: Connect
) -> None:
    client = connect(l22)
    for number in range(1, 4):
        with pytest.raises(NotSupported):
            client.ping()
        assert len(l22.requests) == 2 * number


def test_a_path_that_is_gone_is_an_error_when_the_server_is_still_the_same(l24: FakeLotus, connect: Connect) -> None:
    client = connect(l24)
    client.list_customers()
    l24.fail_next(Status(404))
    with pytest.raises(UnexpectedAnswer, match="this is not an answer of Lotus"):
        client.list_customers()
    assert paths(l24)[-2:] == ["GET /api/customers/", "GET /api/ping/"]
    assert client.list_customers() == []


def test_a_server_that_is_named_wrongly_is_an_error(l24: FakeLotus, connect: Connect) -> None:
    with pytest.raises(UnexpectedAnswer, match="404"):
        connect(l24, api_version="2022").get_customer_access(customer_id="c", event_name="e")
    with pytest.raises(InvalidRequest, match="email"):
        connect(l24, api_version="2022").create_customer(customer_id="c", name="C")
    assert not any("ping" in path for path in paths(l24))
