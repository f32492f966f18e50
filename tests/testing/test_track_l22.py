"""What was not recorded of the answers of ``track``, and what the server of 2022 stores then."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable

import pytest

from lotus_durable.testing import DatabaseDown, FakeLotus, Faults

from .conftest import Event, RawAnswer, RawClient, Start

NO_KEY = {"detail": "Authentication credentials were not provided."}


@pytest.fixture
def server(start: Start) -> FakeLotus:
    return start("L22", customers=["c1"])


def assert_server_error_page(answer: RawAnswer) -> None:
    assert answer.status == 500
    assert answer.content_type.startswith("text/html")
    assert b"Server Error (500)" in answer.body


def test_a_known_id_is_refused(client: RawClient, event: Event, server: FakeLotus) -> None:
    client.track(event("a"))
    answer = client.track(event("a"), event("b"))
    assert answer.json() == {"success": "some", "failed_events": {"a": "Event idempotency already exists"}}
    assert (server.event_count, server.duplicates) == (2, 1)
    assert server.times_received == {"a": 2, "b": 1}


def test_an_id_twice_in_a_batch_is_refused_the_second_time(client: RawClient, event: Event, server: FakeLotus) -> None:
    answer = client.track(event("a"), event("a"))
    assert (answer.status, answer.json()) == (
        201,
        {"success": "some", "failed_events": {"a": "Duplicate event idempotency in request"}},
    )
    assert (server.event_count, server.duplicates) == (1, 1)


def test_a_customer_added_later_is_accepted(client: RawClient, event: Event, server: FakeLotus) -> None:
    assert client.track(event("a", customer_id="c2")).status == 400
    server.add_customer("c2")
    assert client.track(event("a", customer_id="c2")).status == 201


def test_every_customer_is_known_when_none_is_named(
    start: Start, connect: Callable[..., RawClient], event: Event
) -> None:
    assert connect(start("L22")).track(event("a", customer_id="anybody")).status == 201


@pytest.mark.parametrize("field", ["time_created", "idempotency_id", "customer_id", "event_name"])
def test_a_missing_field_is_a_500_page_and_nothing_is_stored(
    client: RawClient, event: Event, server: FakeLotus, field: str
) -> None:
    broken = event("b")
    del broken[field]
    assert_server_error_page(client.track(event("a"), broken))
    assert server.events == []


def test_bad_values_that_are_only_stored_are_accepted(client: RawClient, event: Event) -> None:
    odd = event("a", time_created="yesterday", properties=["a list", float("nan")])
    assert client.track(odd).status == 201


@pytest.mark.parametrize("item", [7, "text", ["list"], {}])
def test_an_item_that_is_no_event_is_a_500_page(client: RawClient, event: Event, item: object) -> None:
    assert_server_error_page(client.track(event("a"), item))


@pytest.mark.parametrize("body", [b"{", b"", b"\xff\xfe", b'{"batch": null}', b'{"batch": "text"}'])
def test_what_is_not_a_batch_is_a_500_page(client: RawClient, body: bytes) -> None:
    assert_server_error_page(client.track_raw(body))


def test_a_chunked_body_is_a_500_page(client: RawClient, event: Event) -> None:
    assert_server_error_page(client.track(event("a"), chunked=True))


def test_gzip_is_a_500_page(client: RawClient, event: Event) -> None:
    body = gzip.compress(json.dumps({"batch": [event("a")]}).encode())
    assert_server_error_page(client.track_raw(body, headers={"Content-Encoding": "gzip"}))


def test_a_body_over_the_limit_is_a_400_page(client: RawClient, event: Event) -> None:
    body = json.dumps({"batch": [event("a")]}).encode()
    assert client.track_raw(body.ljust(2_621_440)).status == 201
    answer = client.track_raw(body.ljust(2_621_441))
    assert answer.status == 400
    assert answer.content_type.startswith("text/html")
    assert b"Bad Request (400)" in answer.body


def test_a_database_that_is_down_is_a_500_page(start: Start, connect: Callable[..., RawClient], event: Event) -> None:
    server = start("L22", faults=Faults(script=[DatabaseDown()]))
    assert_server_error_page(connect(server).track(event("a")))


def test_without_the_slash_it_redirects_and_processes_nothing(
    client: RawClient, event: Event, server: FakeLotus
) -> None:
    body = json.dumps({"batch": [event("a")]}).encode()
    answer = client.request("POST", "/api/track?x=1", body)
    assert (answer.status, answer.headers["Location"]) == (301, "/api/track/?x=1")
    assert server.events == []
