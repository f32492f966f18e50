"""What is sent again, what never is, and how long it may all take."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from itertools import count
from types import SimpleNamespace

import pytest

from lotus_durable.calls import caller as module
from lotus_durable.client import Client
from lotus_durable.errors import (
    APIError,
    ConnectionFailed,
    RateLimited,
    ServerError,
    Timeout,
    UnexpectedAnswer,
)
from lotus_durable.testing import FakeLotus
from tests.delivery.scripted_server import Reply, ScriptedServer, dribbles, hangs_up, resets, says, sends, stays_silent

from .conftest import Connect
from .losing import CUT, SAFE, UNSAFE, call, each_way, fails


@pytest.mark.parametrize(("reply", "ask"), each_way(UNSAFE, "create_subscription", "create_credit"))
def test_what_must_not_be_done_twice_is_never_sent_twice(
    connect: Connect, reply: Reply, ask: Callable[[Client], object]
) -> None:
    error, requests = call(connect, reply, ask=ask)
    assert len(requests) == 1
    assert isinstance(error, ConnectionFailed | ServerError)
    assert error.outcome_unknown
    if isinstance(error, ConnectionFailed):
        assert error.sent


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(
            sends(b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{} "), id="two lengths"
        ),
        pytest.param(sends(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"), id="101"),
        pytest.param(sends(b"HTTP/1.1 103 Early Hints\r\n\r\n"), id="103 and no answer"),
        pytest.param(says(201, b"{}", "Content-Encoding: gzip"), id="gzip that is none"),
        pytest.param(says(302, b"", "Location: http://["), id="a redirect to nowhere"),
        pytest.param(hangs_up, id="hangs up"),
    ],
)
@pytest.mark.parametrize("ask", UNSAFE.values(), ids=UNSAFE)
def test_nor_after_an_odd_answer_in_the_middle_of_an_error_of_the_applications(
    connect: Connect, reply: Reply, ask: Callable[[Client], object]
) -> None:
    try:
        raise ConnectionRefusedError("of the application's own")
    except ConnectionRefusedError:
        error, requests = call(connect, reply, ask=ask)
    assert len(requests) == 1
    if isinstance(error, ConnectionFailed):
        assert (error.sent, error.outcome_unknown) == (True, True)
    else:
        assert isinstance(error, UnexpectedAnswer)


@pytest.mark.parametrize("reply", [hangs_up, resets, says(407, b"")])
def test_nor_behind_a_proxy_that_drops_or_refuses_it(
    connect: Connect, reply: Reply, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ScriptedServer(reply) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.host)
        client = connect(SimpleNamespace(host="http://lotus.example"), api_version="2024")
        with pytest.raises(APIError):
            UNSAFE["create_credit"](client)
        client.release()
    assert len(proxy.requests) == 1


def test_a_read_that_meets_a_connection_closed_while_idle_is_made_again_at_once_on_a_new_one(connect: Connect) -> None:
    pauses: list[float] = []

    def ask(client: Client) -> object:
        client.caller()._pause = pauses.append
        return [client.list_customers() for _ in range(2)]

    found, requests = call(connect, says(200, b"[]"), hangs_up, says(200, b"[1]"), ask=ask)
    assert found == [[], [1]]
    assert len(requests) == 3
    assert pauses == []


def test_that_does_not_cost_an_attempt(connect: Connect) -> None:
    def ask(client: Client) -> object:
        client.list_customers()
        return client.list_customers()

    error, requests = call(connect, says(200, b"[]"), hangs_up, ask=ask)
    assert isinstance(error, ConnectionFailed)
    assert len(requests) == 1 + 1 + 4


@pytest.mark.parametrize("ask", UNSAFE.values(), ids=UNSAFE)
def test_not_even_after_a_rate_limit(connect: Connect, ask: Callable[[Client], object]) -> None:
    error, requests = call(connect, says(429, b"{}", "Retry-After: 0"), ask=ask)
    assert len(requests) == 1
    assert isinstance(error, RateLimited)
    assert (error.retry_after, error.outcome_unknown) == (0.0, False)


@pytest.mark.parametrize(("reply", "ask"), each_way(SAFE, "list_customers", "create_customer"))
def test_what_can_be_done_twice_is_sent_a_few_times(
    connect: Connect, reply: Reply, ask: Callable[[Client], object]
) -> None:
    error, requests = call(connect, reply, ask=ask)
    assert len(requests) == 4
    assert len(set(requests)) == 1
    assert isinstance(error, ConnectionFailed | ServerError)


@pytest.mark.parametrize("status", [460, 520, 521, 522, 523, 524, 525, 526, 527, 530])
def test_what_cloudflare_and_aws_say_of_a_server_behind_them_is_repeated_as_a_502_is(
    connect: Connect, status: int
) -> None:
    customers, requests = call(connect, fails(status), says(200, b"[]"), ask=SAFE["list_customers"])
    assert customers == []
    assert len(requests) == 2
    error, requests = call(connect, fails(status), ask=UNSAFE["create_credit"])
    assert isinstance(error, ServerError)
    assert error.outcome_unknown
    assert len(requests) == 1


@pytest.mark.parametrize("ask", [SAFE["list_customers"], SAFE["create_customer"]], ids=["a read", "a write"])
@pytest.mark.parametrize("status", [400, 401, 404, 409, 500])
def test_what_the_server_refuses_is_not_sent_again(
    connect: Connect, status: int, ask: Callable[[Client], object]
) -> None:
    error, requests = call(connect, says(status, b'{"detail": "No."}'), ask=ask)
    assert len(requests) == 1
    assert isinstance(error, APIError)


def test_the_answer_of_a_later_attempt_counts(connect: Connect) -> None:
    customers, requests = call(
        connect,
        resets,
        fails(503),
        CUT,
        says(200, b'[{"customer_id": "c"}]'),
        ask=lambda client: client.list_customers(),
    )
    assert customers == [{"customer_id": "c"}]
    assert len(requests) == 4


@pytest.mark.parametrize("ask", [*UNSAFE.values(), *SAFE.values()], ids=[*UNSAFE, *SAFE])
def test_what_was_not_sent_is_tried_again_whatever_it_is(
    l24: FakeLotus, connect: Connect, ask: Callable[[Client], object]
) -> None:
    client = connect(l24, api_version="2024")
    l24.pause()
    client.caller()._pause = lambda _: l24.resume()
    with contextlib.suppress(APIError):  # the server knows neither customer nor plan
        ask(client)
    assert l24.request_count >= 1


def test_a_server_that_stays_away_is_given_up(l24: FakeLotus, connect: Connect) -> None:
    client = connect(l24, api_version="2024")
    l24.pause()
    pauses: list[float] = []
    client.caller()._pause = pauses.append
    for ask in (UNSAFE["create_credit"], SAFE["ping"]):
        with pytest.raises(ConnectionFailed, match="connection refused") as failed:
            ask(client)
        assert (failed.value.sent, failed.value.outcome_unknown) == (False, False)
    assert len(pauses) == 6


def test_pauses_are_random_and_grow_and_a_wait_the_server_asks_for_is_their_floor(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_FIRST_PAUSE", 0.2)
    pauses: list[float] = []

    def ask(client: Client) -> object:
        client.caller()._pause = pauses.append
        return client.list_customers()

    call(connect, fails(503), ask=ask)
    call(connect, fails(503, "Retry-After: 7"), ask=ask)
    assert all(0 <= pause <= ceiling for pause, ceiling in zip(pauses[:3], (0.2, 0.4, 0.8), strict=True))
    assert all(7 <= pause <= 7.8 for pause in pauses[3:])
    assert len(set(pauses)) == 6


def test_a_wait_beyond_the_deadline_is_the_callers_to_make(connect: Connect) -> None:
    error, requests = call(
        connect, says(429, b"{}", "Retry-After: 60"), ask=lambda client: client.list_customers(), call_timeout=30
    )
    assert isinstance(error, RateLimited)
    assert (error.retry_after, len(requests)) == (60.0, 1)


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(stays_silent, id="silence"),
        pytest.param(dribbles(b"HTTP/1.1 200 OK\r\nX-Slow: "), id="headers without end"),
        pytest.param(
            dribbles(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99999\r\n\r\n["),
            id="a body without end",
        ),
    ],
)
@pytest.mark.parametrize("ask", [UNSAFE["create_subscription"], SAFE["list_customers"]], ids=["unsafe", "safe"])
def test_no_call_takes_longer_than_its_deadline(
    connect: Connect, reply: Reply, ask: Callable[[Client], object]
) -> None:
    error, requests = call(connect, reply, ask=ask, call_timeout=0.6)
    assert isinstance(error, Timeout)
    assert error.sent
    assert error.outcome_unknown is (ask is UNSAFE["create_subscription"])
    assert len(requests) == 1


def test_no_deadline_is_measured_by_a_clock_that_tools_for_tests_move(
    l24: FakeLotus, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = count(1e9, 1e6)
    monkeypatch.setattr(time, "monotonic", lambda: next(moments))
    assert connect(l24).list_customers() == []


def test_an_access_question_can_have_a_deadline_of_its_own(connect: Connect) -> None:
    error, _ = call(
        connect,
        stays_silent,
        ask=lambda client: client.get_customer_access(customer_id="c", event_name="e", timeout=0.6),
    )
    assert isinstance(error, Timeout)
