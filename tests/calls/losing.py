"""Servers that lose answers, and calls to make on them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from lotus_durable.client import Client
from lotus_durable.errors import APIError
from tests.delivery.scripted_server import Reply, ScriptedServer, hangs_up, resets, says, sends

from .conftest import Connect

CUT = sends(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"custom')
EXISTS_2022 = says(409, b'{"detail": "Customer ID already exists"}')


def exists_2024(what: str) -> Reply:
    value = {"type": "x#client-error", "title": "duplicate_resource", "detail": f"Customer {what} already exists"}
    return says(400, json.dumps(value).encode())


def fails(status: int, *headers: str) -> Reply:
    return says(status, b"<h1>No</h1>", "Content-Type: text/html", *headers)


def call(connect: Connect, *replies: Reply, ask: Callable[[Client], object], **options: Any) -> tuple[Any, list[str]]:
    """Make one call to a server that gives these replies; return what came of it, and the requests it got."""
    with ScriptedServer(*replies) as server:
        client = connect(server, **{"api_version": "2024", **options})
        try:
            result = ask(client)
        except APIError as error:
            result = error
        finally:
            client.release()
    return result, [request.line.rpartition(" ")[0] for request in server.requests]


# Calls that must never be sent twice.
UNSAFE: dict[str, Callable[[Client], object]] = {
    "create_subscription": lambda client: client.create_subscription(
        customer_id="c", plan_id="p", start_date="2024-01-01"
    ),
    "create_credit": lambda client: client.create_credit(customer_id="c", amount=1, currency_code="USD"),
    "attach_addon": lambda client: client.attach_addon(subscription_id="s", addon_id="a"),
    "switch_subscription_plan": lambda client: client.switch_subscription_plan(subscription_id="s", switch_plan_id="p"),
    "update_subscription": lambda client: client.update_subscription(subscription_id="s", turn_off_auto_renew=True),
    "update_credit": lambda client: client.update_credit(credit_id="c", description="d"),
    "void_credit": lambda client: client.void_credit(credit_id="c"),
    "cancel_addon": lambda client: client.cancel_addon(subscription_id="s", addon_id="a"),
}
# Calls that do no more when they are sent twice.
SAFE: dict[str, Callable[[Client], object]] = {
    "list_customers": lambda client: client.list_customers(),
    "get_plan": lambda client: client.get_plan(plan_id="p"),
    "ping": lambda client: client.ping(),
    "create_customer": lambda client: client.create_customer(customer_id="c", email="c@example.com"),
    "cancel_subscription": lambda client: client.cancel_subscription(subscription_id="s"),
    "verify_idems_received": lambda client: client.verify_idems_received(idempotency_ids=["a"]),
    "get_customer_access": lambda client: client.get_customer_access(customer_id="c", event_name="e"),
}
LOST: dict[str, Reply] = {
    "closed": hangs_up,
    "503": fails(503),
    "reset": resets,
    "cut": CUT,
    "502": fails(502),
    "504": fails(504),
    "408": fails(408),
}


def each_way(calls: dict[str, Callable[[Client], object]], *thoroughly: str) -> list[Any]:
    """Every way to lose an answer for some calls, one of each sort for the others."""
    return [
        pytest.param(reply, ask, id=f"{name}-{way}")
        for name, ask in calls.items()
        for way, reply in (LOST if name in thoroughly else dict(list(LOST.items())[:2])).items()
    ]
