"""No argument leads to a wrong path, and the API key is nowhere but in its header."""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lotus_durable.client import Client
from lotus_durable.errors import APIError, InvalidRequest
from lotus_durable.testing import Delay, FakeLotus, Reset, Status, Truncate
from tests.delivery.scripted_server import Reply, ScriptedServer, hangs_up, says, stays_silent

from .conftest import KEY, Connect

STRANGE = [
    "..",
    ".",
    "%2e%2e",
    "%2E",
    "a/b",
    "/",
    "//evil.example/",
    "\\..\\",
    "a b",
    " ",
    "",
    "ü",
    "💶",
    "a?b=c",
    "#",
    ";",
]
STRANGE += [
    "a%2Fb",
    "a\r\nX-Api-Key: x",
    "\x7f",
    "\u2028",
    "..%2f",
    "%",
    "+",
    "&customer_id=other",
    "@",
    ":80",
    "a" * 3000,
]

PATHS: dict[str, tuple[Callable[[Client, str], object], str]] = {
    "get_customer": (lambda client, one: client.get_customer(customer_id=one), "/api/customers/{}/"),
    "get_plan": (lambda client, one: client.get_plan(plan_id=one), "/api/plans/{}/"),
    "void_credit": (lambda client, one: client.void_credit(credit_id=one), "/api/credits/{}/void/"),
    "update_credit": (
        lambda client, one: client.update_credit(credit_id=one, description="d"),
        "/api/credits/{}/update/",
    ),
    "cancel_subscription": (
        lambda client, one: client.cancel_subscription(subscription_id=one),
        "/api/subscriptions/{}/cancel/",
    ),
    "update_subscription": (
        lambda client, one: client.update_subscription(subscription_id=one, metadata={}),
        "/api/subscriptions/{}/update/",
    ),
    "switch_subscription_plan": (
        lambda client, one: client.switch_subscription_plan(subscription_id=one, switch_plan_id="p"),
        "/api/subscriptions/{}/switch_plan/",
    ),
    "attach_addon": (
        lambda client, one: client.attach_addon(subscription_id=one, addon_id="a"),
        "/api/subscriptions/{}/addons/attach/",
    ),
    "cancel_addon": (
        lambda client, one: client.cancel_addon(subscription_id="s", addon_id=one),
        "/api/subscriptions/s/addons/{}/cancel/",
    ),
}


@pytest.fixture(scope="module")
def listening() -> Iterator[ScriptedServer]:
    """A server that takes anything and keeps what it got."""
    with ScriptedServer(says(200)) as server:
        yield server


@pytest.fixture
def client(listening: ScriptedServer, connect: Connect) -> Client:
    return connect(listening, api_version="2024")


def _made(listening: ScriptedServer, call: Callable[[], object]) -> str | None:
    """Make a call; return the path and query that arrived, or None when it was refused before."""
    before = len(listening.requests)
    argument = ""
    try:
        call()
    except InvalidRequest as refused:
        argument = refused.argument or "none"
    if argument:
        assert argument != "none"
        assert len(listening.requests) == before
        return None
    (request,) = listening.requests[before:]
    assert request.headers["host"] == listening.host.removeprefix("http://")
    assert request.headers["x-api-key"] == KEY
    target = request.line.split(" ")
    assert len(target) == 3
    return target[1]


@pytest.mark.parametrize("name", PATHS)
def test_an_id_is_one_part_of_its_path_or_refused(listening: ScriptedServer, client: Client, name: str) -> None:
    call, path = PATHS[name]
    for strange in STRANGE:
        arrived = _made(listening, functools.partial(call, client, strange))
        assert arrived is None or unquote(arrived) == path.format(strange)


@settings(max_examples=150)
@given(one=st.text() | st.sampled_from(STRANGE), name=st.sampled_from(sorted(PATHS)))
def test_no_id_whatever_leads_to_another_path(listening: ScriptedServer, client: Client, one: str, name: str) -> None:
    call, path = PATHS[name]
    arrived = _made(listening, lambda: call(client, one))
    if arrived is not None:
        assert unquote(arrived) == path.format(one)
        assert arrived.count("/") == path.count("/")
        assert "?" not in arrived


@settings(max_examples=100)
@given(customer_id=st.text(), name=st.text())
@example(customer_id="c&customer_id=other", name="a=b;c#d")
@example(customer_id="Zoë", name="+ %20")
def test_no_text_in_a_query_becomes_another_argument(
    listening: ScriptedServer, client: Client, customer_id: str, name: str
) -> None:
    arrived = _made(listening, lambda: client.check_feature_access(customer_id=customer_id, feature_id=name))
    if arrived is not None:
        path, _, query = arrived.partition("?")
        assert path == "/api/feature_access/"
        assert parse_qs(query, strict_parsing=True) == {"customer_id": [customer_id], "feature_id": [name]}


@settings(max_examples=100)
@given(customer_id=st.text(), name=st.text())
def test_no_text_in_a_body_changes_on_the_way(
    listening: ScriptedServer, client: Client, customer_id: str, name: str
) -> None:
    arrived = _made(
        listening, lambda: client.create_customer(customer_id=customer_id, name=name, email="c@example.com")
    )
    if arrived is not None:
        body = json.loads(listening.requests[-1].body)
        assert arrived == "/api/customers/"
        assert body == {"customer_id": customer_id, "customer_name": name, "email": "c@example.com"}


# -- the key --

ECHO = json.dumps({"detail": f"your headers: X-Api-Key: {KEY}", "X-Api-Key": [KEY]}).encode()
ANSWERS: dict[str, Reply] = {
    "nothing": hangs_up,
    "silence": stays_silent,
    "an error": says(500, b"<h1>No</h1>", "Content-Type: text/html"),
    "the key, refused": says(400, ECHO),
    "the key, forbidden": says(401, ECHO),
    "the key in a page": says(404, f"<pre>X-Api-Key: {KEY}</pre>".encode(), "Content-Type: text/html"),
    "the key in a list": says(400, json.dumps([KEY]).encode()),
    "the key in a success": says(200, json.dumps(KEY).encode()),
    "the key in a header": says(500, b"", f"X-Request-ID: {KEY}"),
    "the key's beginning": says(
        401,
        json.dumps({"type": "x", "title": "y", "detail": f"API Key starting with {KEY[:5]} not known"}).encode(),
    ),
}


def _everything(error: BaseException) -> str:
    shown = [str(error), repr(error), repr(vars(error))]
    whole = traceback.TracebackException.from_exception(error, capture_locals=True)
    ours = [f"{frame.filename} {frame.locals}" for frame in whole.stack if frame.filename != __file__]
    assert ours
    return "\n".join([*shown, *whole.format_exception_only(), *ours])


@pytest.mark.parametrize("reply", ANSWERS.values(), ids=ANSWERS)
def test_the_key_is_in_no_error_log_or_traceback(
    reply: Reply, connect: Connect, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    with ScriptedServer(reply) as server, caplog.at_level(logging.DEBUG):
        client = connect(server, api_version="2022", call_timeout=0.6)
        calls: list[Callable[[], Any]] = [
            client.list_customers,
            lambda: client.create_subscription(customer_id="c", plan_id="p", start_date="2024-01-01"),
            lambda: client.create_customer(customer_id="c", name="n"),
        ]
        for call in calls:
            with pytest.raises(APIError) as raised:
                call()
            assert KEY[:5] not in _everything(raised.value)
        with contextlib.suppress(APIError):
            assert KEY[:5] not in repr(client.get_customer_access(customer_id="c", event_name="e"))
        assert KEY[:5] not in repr((client, client.caller(), vars(client.caller())))
        client.release()
    assert KEY[:5] not in caplog.text
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or KEY[:5].encode() not in path.read_bytes()


@pytest.mark.parametrize("fault", [None, Status(401), Reset("before_reading"), Truncate(), Delay(5)], ids=repr)
def test_a_short_key_is_not_repeated_either(l24: FakeLotus, connect: Connect, fault: Any) -> None:
    client = connect(l24, api_key="k3y-5", api_version="2024", call_timeout=0.6)
    l24.fail_next(*[fault] * 4)
    with pytest.raises(APIError) as raised:
        client.list_customers()
    assert "k3y-5" not in _everything(raised.value)
