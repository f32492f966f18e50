"""Access in the path of web requests: the cache, and the fallback while Lotus cannot be asked."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

from lotus_durable.calls.gate import Gate
from lotus_durable.client import Client
from lotus_durable.errors import (
    AuthenticationError,
    ConnectionFailed,
    NotFound,
    RateLimited,
    ServerError,
    UnexpectedAnswer,
)
from lotus_durable.testing import Component, FakeLotus, Faults, Reset
from lotus_durable.testing import RateLimited as Limited
from lotus_durable.testing import Status as Answers

from .conftest import Connect


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def gated(l24: FakeLotus, connect: Connect) -> Callable[..., tuple[Client, Clock]]:
    """Make a client whose gate has a clock of its own, and a plan for ``c1`` to ask about."""
    plan = l24.accounts.add_plan("Pro", components=[Component("call", limit=2)], features=["export"])
    l24.accounts.add_subscription("c1", plan)

    def make(**options: Any) -> tuple[Client, Clock]:
        client, clock = connect(l24, api_version="2024", **options), Clock()
        client.caller().gate = Gate(client.config, clock=clock)
        return client, clock

    return make


def ask(client: Client, **arguments: Any) -> tuple[bool, str]:
    answer = client.get_customer_access(**{"customer_id": "c1", "event_name": "call", **arguments})
    return answer.access, answer.source


def test_by_default_every_question_is_asked(l24: FakeLotus, gated: Callable[..., tuple[Client, Clock]]) -> None:
    client, _ = gated()
    assert [ask(client) for _ in range(3)] == [(True, "server")] * 3
    assert l24.request_count == 3


def test_an_answer_is_repeated_until_it_is_too_old(l24: FakeLotus, gated: Callable[..., tuple[Client, Clock]]) -> None:
    client, clock = gated(access_cache_ttl=10)
    assert ask(client) == (True, "server")
    clock.now += 9.9
    l24.accounts.subscriptions.clear()
    assert ask(client) == (True, "cache")
    assert l24.request_count == 1
    clock.now += 0.2
    assert ask(client) == (False, "server")
    assert ask(client) == (False, "cache")


def test_each_question_has_its_own_answer(l24: FakeLotus, gated: Callable[..., tuple[Client, Clock]]) -> None:
    client, _ = gated(access_cache_ttl=10)
    l24.add_customer("c2")
    filters = [{"property_name": "region", "value": "US"}]
    questions: list[dict[str, Any]] = [
        {},
        {"customer_id": "c2"},
        {"event_name": "other"},
        {"event_name": None, "feature_name": "export"},
        {"event_name": None, "feature_name": "call"},
        {"subscription_filters": filters},
    ]
    first = [ask(client, **question) for question in questions]
    assert first == [(access, "server") for access in (True, False, False, True, False, False)]
    assert [ask(client, **question) for question in questions] == [(access, "cache") for access, _ in first]
    assert l24.request_count == len(questions)


def test_errors_are_not_remembered(l24: FakeLotus, gated: Callable[..., tuple[Client, Clock]]) -> None:
    client, _ = gated(access_cache_ttl=10)
    for _ in range(2):
        with pytest.raises(NotFound):
            ask(client, customer_id="nobody")
    l24.add_customer("nobody")
    assert ask(client, customer_id="nobody") == (False, "server")


def test_the_cache_does_not_grow_without_end(
    l24: FakeLotus, gated: Callable[..., tuple[Client, Clock]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lotus_durable.calls.gate._MOST_ANSWERS", 3)
    client, _ = gated(access_cache_ttl=10)
    for number in range(5):
        ask(client, event_name=f"event {number}")
    assert ask(client, event_name="event 4")[1] == "cache"
    assert ask(client, event_name="event 2")[1] == "cache"
    assert ask(client, event_name="event 0")[1] == "server"
    assert l24.request_count == 6


TROUBLE = [
    (Answers(503), ServerError),
    (Answers(500), ServerError),
    (Limited(retry_after=3600), RateLimited),
    (Answers(200, body="<h1>Maintenance</h1>"), UnexpectedAnswer),
]


@pytest.mark.parametrize(("fault", "kind"), TROUBLE)
def test_without_a_fallback_trouble_is_an_error(
    l24: FakeLotus, gated: Callable[..., tuple[Client, Clock]], fault: Any, kind: type[Exception]
) -> None:
    client, _ = gated(access_cache_ttl=10)
    l24.fail_next(*[fault] * 4)
    with pytest.raises(kind):
        ask(client)


@pytest.mark.parametrize(("fault", "kind"), TROUBLE)
@pytest.mark.parametrize(("fallback", "access"), [("open", True), ("closed", False)])
def test_in_trouble_the_fallback_answers_and_says_so(
    l24: FakeLotus,
    gated: Callable[..., tuple[Client, Clock]],
    caplog: pytest.LogCaptureFixture,
    fallback: str,
    access: bool,
    fault: Any,
    kind: type[Exception],
) -> None:
    client, clock = gated(access_fallback=fallback)
    l24.fail_next(*[fault] * 4)
    with caplog.at_level(logging.WARNING):
        answer = client.get_customer_access(customer_id="c1", event_name="call")
    assert (answer.access, answer.source, answer.usages, answer.answer) == (access, "fallback", (), None)
    assert type(answer.error) is kind
    assert answer.error.__traceback__ is None
    assert f"answered by the fallback ({fallback})" in caplog.text
    l24.faults = Faults()
    clock.now += 6
    assert ask(client) == (True, "server")


def test_while_lotus_is_away_only_one_question_in_a_while_is_asked(
    l24: FakeLotus, gated: Callable[..., tuple[Client, Clock]], caplog: pytest.LogCaptureFixture
) -> None:
    client, clock = gated(access_fallback="open")
    l24.pause()
    tried: list[float] = []
    client.caller()._pause = lambda _: tried.append(clock.now)
    with caplog.at_level(logging.WARNING):
        answers = [client.get_customer_access(customer_id="c1", event_name="call") for _ in range(5)]
        assert [answer.source for answer in answers] == ["fallback"] * 5
        assert all(isinstance(answer.error, ConnectionFailed) for answer in answers)
        assert len(tried) == 1
        clock.now += 6
        ask(client)
        ask(client)
        assert len(tried) == 2
    assert caplog.text.count("answered by the fallback") == 1
    l24.resume()
    assert ask(client)[1] == "fallback"
    clock.now += 6
    assert [ask(client) for _ in range(2)] == [(True, "server")] * 2


def test_the_others_do_not_wait_for_the_one_that_tries_again(
    l24: FakeLotus, gated: Callable[..., tuple[Client, Clock]]
) -> None:
    client, clock = gated(access_fallback="closed")
    l24.pause()
    ask(client)
    clock.now += 6
    meanwhile: list[tuple[bool, str]] = []
    client.caller()._pause = lambda _: meanwhile.append(ask(client, event_name="another"))
    assert ask(client) == (False, "fallback")
    assert meanwhile == [(False, "fallback")]


def test_a_remembered_answer_is_better_than_the_fallback(
    l24: FakeLotus, gated: Callable[..., tuple[Client, Clock]]
) -> None:
    client, clock = gated(access_fallback="closed", access_cache_ttl=60)
    assert ask(client) == (True, "server")
    l24.pause()
    assert ask(client, event_name="other") == (False, "fallback")
    assert ask(client) == (True, "cache")
    clock.now += 61
    assert ask(client) == (False, "fallback")


def test_one_broken_connection_is_no_trouble(l24: FakeLotus, gated: Callable[..., tuple[Client, Clock]]) -> None:
    client, _ = gated(access_fallback="closed")
    l24.fail_next(Reset("before_reading"))
    assert ask(client) == (True, "server")


def test_a_mistake_is_an_error_also_with_a_fallback(l24: FakeLotus, gated: Callable[..., tuple[Client, Clock]]) -> None:
    client, clock = gated(access_fallback="open")
    with pytest.raises(NotFound):
        ask(client, customer_id="nobody")
    l24.fail_next(Answers(500))
    assert ask(client) == (True, "fallback")
    clock.now += 6
    l24.rotate_key("another-key")
    for _ in range(2):  # Lotus can be asked again, and says so at once
        with pytest.raises(AuthenticationError):
            ask(client)


def test_many_threads_get_right_answers_from_a_small_cache(
    gated: Callable[..., tuple[Client, Clock]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lotus_durable.calls.gate._MOST_ANSWERS", 2)
    client, _ = gated(access_cache_ttl=10)
    wrong: list[object] = []

    def work(offset: int) -> None:
        for number in range(20):
            name = ("call", "other", "third")[(number + offset) % 3]
            try:
                access, _ = ask(client, event_name=name)
                if access is not (name == "call"):
                    wrong.append((name, access))
            except Exception as error:  # noqa: BLE001  # a test's oracle
                wrong.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
