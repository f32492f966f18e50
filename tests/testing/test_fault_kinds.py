"""Each kind of fault on both generations, seen from a client's socket."""

from __future__ import annotations

import http.client
from collections.abc import Callable

import pytest

from lotus_durable.testing import (
    Away,
    Delay,
    Drip,
    FakeLotus,
    Fault,
    Faults,
    RateLimited,
    Redirect,
    RefuseEvents,
    Reset,
    Status,
    Truncate,
)

from .conftest import Connect, Event, RawAnswer, RawClient

RESET = (ConnectionResetError, BrokenPipeError)


@pytest.fixture(params=["L22", "L24"])
def server(request: pytest.FixtureRequest, start: Callable[..., FakeLotus]) -> FakeLotus:
    return start(request.param)


def stored(server: FakeLotus) -> list[str]:
    return [event["idempotency_id"] for event in server.events]


@pytest.mark.parametrize("status", [401, 413, 500, 502, 503, 504])
def test_a_status_is_answered_as_html_and_nothing_is_stored(
    server: FakeLotus, client: RawClient, event: Event, status: int
) -> None:
    server.fail_next(Status(status))
    answer = client.track(event("a"))
    assert (answer.status, answer.content_type) == (status, "text/html")
    assert b"<html>" in answer.body
    assert stored(server) == []


def test_a_gateway_may_fail_after_the_server_has_stored(server: FakeLotus, client: RawClient, event: Event) -> None:
    server.fail_next(Status(504, stored=True))
    assert client.track(event("a")).status == 504
    assert stored(server) == ["a"]


def test_a_proxy_may_answer_200_with_a_page_of_its_own(client: RawClient, event: Event) -> None:
    client.server.fail_next(Status(200))
    answer = client.track(event("a"))
    assert answer.status == 200
    assert answer.content_type.startswith("text/html")
    assert b"Sign in" in answer.body


def test_a_201_may_be_empty(client: RawClient, event: Event) -> None:
    client.server.fail_next(Status(201, body=""))
    answer = client.track(event("a"))
    assert (answer.status, answer.body) == (201, b"")


def test_a_status_may_have_a_body_type_and_headers_of_choice(client: RawClient, event: Event) -> None:
    client.server.fail_next(Status(418, '{"tea": true}', "application/json", (("X-Pot", "1"),)))
    answer = client.track(event("a"))
    assert (answer.status, answer.json(), answer.content_type) == (418, {"tea": True}, "application/json")
    assert answer.headers["X-Pot"] == "1"


def test_a_rate_limit_names_seconds(client: RawClient, event: Event) -> None:
    client.server.fail_next(RateLimited(7))
    answer = client.track(event("a"))
    assert (answer.status, answer.headers["Retry-After"]) == (429, "7")


def test_a_rate_limit_may_name_nothing(client: RawClient, event: Event) -> None:
    client.server.fail_next(RateLimited(None))
    answer = client.track(event("a"))
    assert answer.status == 429
    assert "Retry-After" not in answer.headers


@pytest.mark.parametrize("status", [301, 302, 307])
def test_a_redirect_has_a_location(server: FakeLotus, client: RawClient, event: Event, status: int) -> None:
    server.fail_next(Redirect("https://elsewhere.example/", status))
    answer = client.track(event("a"))
    assert (answer.status, answer.headers["Location"]) == (status, "https://elsewhere.example/")
    assert stored(server) == []


def test_a_reset_before_reading_stores_nothing(server: FakeLotus, client: RawClient, event: Event) -> None:
    server.fail_next(Reset("before_reading"))
    with pytest.raises(RESET):
        client.track(event("a"))
    assert stored(server) == []
    assert [(request.status, request.fault) for request in server.requests] == [(None, "Reset")]


def test_a_reset_after_storing_has_stored(server: FakeLotus, client: RawClient, event: Event) -> None:
    server.fail_next(Reset("after_storing"))
    with pytest.raises(RESET):
        client.track(event("a"))
    assert stored(server) == ["a"]


def test_a_late_answer_comes_after_the_client_gave_up_and_the_event_is_stored(
    server: FakeLotus, connect: Connect, event: Event
) -> None:
    server.fail_next(Delay(60))
    with pytest.raises(TimeoutError):
        connect(server, timeout=0.1).track(event("a"))
    assert stored(server) == ["a"]


def test_a_late_answer_is_whole_for_a_client_that_waits(client: RawClient, event: Event) -> None:
    client.server.fail_next(Delay(0.05))
    assert client.track(event("a")).status == 201


def test_a_dripping_answer_arrives_byte_by_byte(server: FakeLotus, client: RawClient, event: Event) -> None:
    server.fail_next(Drip(0.001))
    answer = client.track(event("a"))
    assert answer.json()["success"] == "all"
    assert stored(server) == ["a"]


def test_a_dripping_answer_can_outlast_a_client_that_waits_for_each_byte(
    server: FakeLotus, connect: Connect, event: Event
) -> None:
    server.fail_next(Drip(60))
    client = connect(server, timeout=0.1)
    with pytest.raises(TimeoutError):
        client.track(event("a"))
    assert stored(server) == ["a"]


def test_a_truncated_answer_ends_too_early(server: FakeLotus, client: RawClient, event: Event) -> None:
    server.fail_next(Truncate(3))
    with pytest.raises(http.client.IncompleteRead) as caught:
        client.track(event("a"))
    assert len(caught.value.partial) == 3
    assert stored(server) == ["a"]


def test_listed_events_are_refused_with_a_reason(server: FakeLotus, client: RawClient, event: Event) -> None:
    server.fail_next(RefuseEvents("Something new", ids=("b",)))
    answer = client.track(event("a"), event("b"))
    assert answer.json() == {"success": "some", "failed_events": {"b": "Something new"}}
    assert stored(server) == ["a"]


def test_a_part_of_the_events_is_refused_at_random(server: FakeLotus, client: RawClient, event: Event) -> None:
    server.fail_next(RefuseEvents("Something new", fraction=0.5))
    refused = client.track(*(event(f"id-{i}") for i in range(200))).json()["failed_events"]
    assert 50 < len(refused) < 150
    assert set(refused) | set(stored(server)) == {f"id-{i}" for i in range(200)}
    assert not set(refused) & set(stored(server))


def test_refusals_obey_the_rules_of_the_generation(server: FakeLotus, client: RawClient, event: Event) -> None:
    server.fail_next(RefuseEvents("Something new"))
    answer = client.track(event("a"))
    assert (answer.status, answer.json()["success"]) == (400, "none")


def test_faults_that_let_the_server_work_obey_its_key(server: FakeLotus, client: RawClient, event: Event) -> None:
    server.fail_next(RefuseEvents("Something new"))
    assert client.track(event("a"), key="wrong").status == {"L22": 403, "L24": 400}[server.generation]


def test_a_server_that_goes_away_resets_and_refuses(server: FakeLotus, client: RawClient, event: Event) -> None:
    server.fail_next(Away(60))
    with pytest.raises(RESET):
        client.track(event("a"))
    with pytest.raises(ConnectionRefusedError):
        client.track(event("a"))
    server.resume()
    assert client.track(event("a")).status == 201


def test_a_server_that_went_away_comes_back_by_itself(
    server: FakeLotus, client: RawClient, event: Event, once_back: Callable[..., RawAnswer]
) -> None:
    server.fail_next(Away(0.02))
    with pytest.raises(RESET):
        client.track(event("a"))
    assert once_back(lambda: client.track(event("a"))).status == 201
    assert stored(server) == ["a"]


def test_a_poisonous_event_breaks_every_batch_it_is_in(server: FakeLotus, client: RawClient, event: Event) -> None:
    server.faults = Faults(poison={"b": Status(500)})
    assert client.track(event("a"), event("b")).status == 500
    assert client.track(event("b")).status == 500
    assert client.track(event("a"), event("c")).status == 201
    assert stored(server) == ["a", "c"]


@pytest.mark.parametrize("poison", [Reset("after_storing"), Reset("before_reading"), Away(30)], ids=str)
def test_a_poison_can_be_a_broken_connection(server: FakeLotus, client: RawClient, event: Event, poison: Fault) -> None:
    server.faults = Faults(poison={"a": poison})
    with pytest.raises(RESET):
        client.track(event("a"))


def test_a_body_without_ids_is_not_searched_for_poison(client: RawClient) -> None:
    client.server.faults = Faults(poison={"a": Status(503)})
    assert client.track_raw(b"{").status != 503
