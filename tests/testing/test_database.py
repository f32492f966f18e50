"""What is stored in the end: less than what was accepted, on both servers, as measured on the real ones."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from lotus_durable.testing import FakeLotus, FakeLotusProcess, Slow

from .conftest import Connect, Event, Start


@pytest.fixture
def inserts_take_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lotus_durable.testing.database.INSERT_SECONDS", 3600.0)


@pytest.fixture
def inserts_take_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lotus_durable.testing.database.INSERT_SECONDS", 0.0)


def lot(event: Event, name: str, size: int = 1000) -> list[dict[str, Any]]:
    return [event(f"{name}-{i}") for i in range(size)]


def ids(events: list[dict[str, Any]]) -> set[str]:
    return {event["idempotency_id"] for event in events}


# ------------------------------------------------------------------ 2022


def test_without_repeats_and_one_after_the_other_all_is_stored(start: Start, connect: Connect, event: Event) -> None:
    server = start("L22")
    client = connect(server)
    events = lot(event, "a", 2500)
    for i in range(0, 2500, 100):
        assert client.track(*events[i : i + 100]).status == 201
    assert server.database == ids(events) == set(server.times_received)


@pytest.mark.usefixtures("inserts_take_long")
def test_a_repeat_while_the_first_is_being_inserted_loses_all_that_is_inserted_with_it(
    start: Start, connect: Connect, event: Event
) -> None:
    server = start("L22")
    client = connect(server)
    first, second = lot(event, "a"), lot(event, "b", 999)
    client.track(*first)
    assert client.track(first[0], *second).json() == {"success": "all"}
    assert server.event_count == 1999
    assert server.times_received["a-0"] == 2
    assert server.database == ids(first)


@pytest.mark.usefixtures("inserts_take_no_time")
def test_a_repeat_after_the_insert_is_known_and_harms_nothing(start: Start, connect: Connect, event: Event) -> None:
    server = start("L22")
    client = connect(server)
    first, second = lot(event, "a"), lot(event, "b", 999)
    client.track(*first)
    answer = client.track(first[0], *second)
    assert answer.json()["failed_events"] == {"a-0": "Event idempotency already exists"}
    assert server.database == ids(first) | ids(second)


@pytest.fixture
def slow_request(start: Start, connect: Connect, event: Event) -> Iterator[tuple[FakeLotus, Callable[[], None]]]:
    """A request on the server of 2022 that is being worked on; the function ends it."""
    server = start("L22")
    ended = threading.Event()
    answers = server._answers
    respond = answers.respond
    began = threading.Event()

    def respond_slowly(request: Any, refuse: Any, work: Any) -> Any:
        if b"slow" not in request.body:
            return respond(request, refuse, work)

        def wait() -> bool:
            began.set()
            ended.wait(10)
            return False

        return respond(request, refuse, wait)

    answers.respond = respond_slowly  # type: ignore[method-assign]
    sender = threading.Thread(target=lambda: connect(server).track(event("slow")))
    sender.start()
    assert began.wait(10)

    def end() -> None:
        ended.set()
        sender.join()

    yield server, end
    end()


def test_two_requests_at_once_lose_the_events_of_one(
    slow_request: tuple[FakeLotus, Callable[[], None]], connect: Connect, event: Event
) -> None:
    server, end = slow_request
    assert connect(server).track(event("quick")).status == 201
    end()
    assert set(server.times_received) == {"quick", "slow"}
    assert server.database == {"slow"}


def test_an_empty_batch_at_the_same_time_loses_them_too(
    start: Start, connect: Connect, event: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start("L22")
    client = connect(server)
    before = server._state.database.begin()
    client.track(event("a"))
    with monkeypatch.context() as patched:  # the probe began before the batch was stored
        patched.setattr(server._state.database, "begin", lambda: before)
        assert client.track().status == 400
    assert server.database == set()


@pytest.mark.parametrize(
    "field",
    [
        {"time_created": "yesterday"},
        {"time_created": ""},
        {"event_name": "n" * 201},
        {"idempotency_id": "i" * 256},
        {"properties": {"a": "\0"}},
        {"properties": {"a": float("nan")}},
    ],
    ids=str,
)
def test_one_value_that_the_table_refuses_loses_what_is_inserted_with_it(
    start: Start, connect: Connect, event: Event, field: dict[str, Any]
) -> None:
    server = start("L22")
    assert connect(server).track(event("good"), {**event("bad"), **field}).json() == {"success": "all"}
    assert server.database == set()


def test_what_was_lost_can_be_received_and_stored_again(start: Start, connect: Connect, event: Event) -> None:
    server = start("L22")
    client = connect(server)
    client.track(event("a"), event("b"))
    server.lose_events("a")
    assert server.database == {"b"}
    assert client.track(event("a")).status == 201
    assert server.database == {"a", "b"}


def test_a_request_that_the_server_did_not_end_stores_nothing(start: Start, connect: Connect, event: Event) -> None:
    server = start("L22")
    server.fail_next(Slow(60))
    client = connect(server, timeout=0.1)
    with pytest.raises(TimeoutError):
        client.track(event("a"))
    server.stop()
    assert (server.event_count, server.database) == (0, set())


# ------------------------------------------------------------------ 2024


@pytest.mark.parametrize("field", [{"event_name": "n" * 101}, {"customer_id": "c" * 51}], ids=["name", "customer"])
def test_after_a_value_that_is_too_long_nothing_is_stored_any_more(
    start: Start, connect: Connect, event: Event, field: dict[str, Any]
) -> None:
    server = start("L24")
    client = connect(server)
    client.track(event("before", event_name="n" * 100, customer_id="c" * 50))
    assert client.track(event("long", **field)).status == 201
    assert client.track(event("after")).status == 201
    assert set(server.times_received) == {"before", "long", "after"}
    assert server.database == {"before"}
    answer = client.post("/api/verify_idems_received/", {"idempotency_ids": ["before", "after"]})
    assert answer.json()["ids_not_found"] == ["after"]


def test_a_repeat_is_stored_once(start: Start, connect: Connect, event: Event) -> None:
    server = start("L24")
    connect(server).track(event("a"), event("a"))
    assert (server.times_received, server.database) == ({"a": 2}, {"a"})


# ------------------------------------------------------------------ both


def test_a_server_in_a_process_of_its_own_can_be_asked_too(connect: Connect, event: Event) -> None:
    with FakeLotusProcess("L24") as server:
        now = datetime.now(UTC).isoformat()
        client = connect(server)
        assert client.track(event("short", time_created=now)).status == 201
        assert client.track(event("long", customer_id="c" * 51, time_created=now)).status == 201
        assert server.ids() == {"short": 1, "long": 1}
        assert server.database() == {"short"}
