"""What was not recorded of the answers of ``track``, and what the server of 2024 stores then."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from lotus_durable.testing import DatabaseDown, FakeLotus, Faults, RefuseEvents

from .conftest import NOW, Event, RawAnswer, RawClient, Start

Track = Callable[..., RawAnswer]

INVALID_JSON = {"success": "none", "failed_events": {"no_idempotency_id": "Invalid JSON"}}
TOO_FAR = "Time created too far in the past or future. "
KAFKA = "Failed to produce event to kafka: UNKNOWN_TOPIC_OR_PARTITION"


@pytest.fixture
def server(start: Start) -> FakeLotus:
    return start("L24", api_key="prefix.secret")


@pytest.fixture
def track(client: RawClient) -> Callable[..., RawAnswer]:
    return lambda *events, **options: client.track(*events, **{"key": "prefix.secret", **options})


@pytest.fixture
def track_raw(client: RawClient) -> Callable[..., RawAnswer]:
    return lambda body, **options: client.track_raw(body, **{"key": "prefix.secret", **options})


def test_a_known_id_is_accepted_and_stored_once(track: Track, event: Event, server: FakeLotus) -> None:
    track(event("a"))
    answer = track(event("a"), event("b"))
    assert answer.json() == {"success": "all", "failed_events": None}
    assert [stored["idempotency_id"] for stored in server.events] == ["a", "b"]
    assert server.duplicates == 1
    assert server.times_received == {"a": 2, "b": 1}


def test_an_id_twice_in_a_batch_is_accepted_and_stored_once(track: Track, event: Event, server: FakeLotus) -> None:
    assert track(event("a"), event("a")).json() == {"success": "all", "failed_events": None}
    assert (server.event_count, server.duplicates) == (1, 1)


@pytest.mark.parametrize("time_created", [None, "0001-01-01T00:00:00Z"])
def test_a_missing_or_zero_time_is_refused_by_id(track: Track, event: Event, time_created: str | None) -> None:
    answer = track(event("a", time_created=time_created), event("b"))
    assert answer.json()["failed_events"] == {"a": "Invalid time_created"}


@pytest.mark.parametrize("idempotency_id", [None, ""])
def test_a_missing_id_is_refused_under_a_key_of_its_own(track: Track, event: Event, idempotency_id: str | None) -> None:
    answer = track(event(idempotency_id), event("b"))
    assert answer.json() == {
        "success": "some",
        "failed_events": {"no_idempotency_id": "No idempotency_id provided"},
    }


@pytest.mark.parametrize("ahead", [timedelta(days=-30, seconds=-1), timedelta(days=1, seconds=1)])
def test_a_time_outside_the_window_is_refused(track: Track, event: Event, ahead: timedelta) -> None:
    answer = track(event("a", time_created=(NOW + ahead).isoformat()))
    assert answer.status == 400
    assert answer.json()["failed_events"]["a"].startswith(TOO_FAR)


@pytest.mark.parametrize("ahead", [timedelta(days=-30, seconds=1), timedelta(days=1, seconds=-1)])
def test_a_time_just_inside_the_window_is_accepted(track: Track, event: Event, ahead: timedelta) -> None:
    assert track(event("a", time_created=(NOW + ahead).isoformat())).status == 201


@pytest.mark.parametrize("time_created", ["2024-02-19T11:00:00Z", "2024-02-19T11:00:00.123456789+01:00"])
def test_rfc_3339_times_are_accepted(track: Track, event: Event, time_created: str) -> None:
    assert track(event("a", time_created=time_created)).status == 201


@pytest.mark.parametrize(
    "time_created",
    [
        "2024-02-19 11:00:00Z",
        "2024-02-19T11:00:00",
        "2024-02-19T11:00:00+0000",
        "2024-02-19t11:00:00Z",
        "2024-02-19T11:00:00z",
        "2024-02-19",
        "2024-02-30T11:00:00Z",
        "",
        "yesterday",
        1708340400,
        True,
    ],
)
def test_a_bad_time_refuses_the_whole_batch(
    track: Track, event: Event, server: FakeLotus, time_created: object
) -> None:
    answer = track(event("a"), event("b", time_created=time_created))
    assert (answer.status, answer.json()) == (400, INVALID_JSON)
    assert server.events == []


@pytest.mark.parametrize(
    "fields",
    [
        {"customer_id": 7},
        {"event_name": ["call"]},
        {"idempotency_id": 1.5},
        {"properties": ["US"]},
        {"properties": "US"},
    ],
    ids=str,
)
def test_a_wrong_type_refuses_the_whole_batch(
    track: Track, event: Event, server: FakeLotus, fields: dict[str, Any]
) -> None:
    answer = track(event("a"), {**event("b"), **fields})
    assert (answer.status, answer.json()) == (400, INVALID_JSON)
    assert server.events == []


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_nan_and_infinity_refuse_the_whole_batch(track: Track, event: Event, number: float) -> None:
    assert track(event("a"), event("b", properties={"n": number})).json() == INVALID_JSON


@pytest.mark.parametrize("body", [b"{", b"[]", b'"batch"', b'{"batch": {}}', b'{"batch": [1]}', b"\xff" * 9])
def test_what_is_not_a_batch_is_invalid_json(track_raw: Track, body: bytes) -> None:
    answer = track_raw(body)
    assert (answer.status, answer.json()) == (400, INVALID_JSON)


def test_a_null_event_is_one_without_an_id(track: Track, event: Event) -> None:
    assert track(None, event("a")).json()["failed_events"] == {"no_idempotency_id": "No idempotency_id provided"}


@pytest.mark.parametrize("body", [b'{"batch": []}', b"{}", b"null", b""])
def test_an_empty_batch_is_400_with_nothing_failed(track_raw: Track, body: bytes) -> None:
    answer = track_raw(body)
    assert (answer.status, answer.json()) == (400, {"success": "none", "failed_events": {}})


def test_success_counts_distinct_ids_so_some_can_mean_none(track: Track, event: Event) -> None:
    answer = track(event("a", customer_id=""), event("a", customer_id=""))
    assert (answer.status, answer.json()["success"]) == (201, "some")


def test_broker_trouble_is_named_for_each_event(start: Start, connect: Callable[..., RawClient], event: Event) -> None:
    server = start(faults=Faults(script=[RefuseEvents(KAFKA, ids=("a",))]))
    answer = connect(server).track(event("a"), event("b"))
    assert answer.json() == {"success": "some", "failed_events": {"a": KAFKA}}
    assert [stored["idempotency_id"] for stored in server.events] == ["b"]


def test_gzip_is_invalid_json(track_raw: Track, event: Event) -> None:
    body = gzip.compress(json.dumps({"batch": [event("a")]}).encode())
    answer = track_raw(body, headers={"Content-Encoding": "gzip"})
    assert (answer.status, answer.json()) == (400, INVALID_JSON)


def test_a_charset_suffix_and_a_chunked_body_are_accepted(track: Track, event: Event) -> None:
    assert track(event("a"), content_type="application/json; charset=utf-8").status == 201
    assert track(event("b"), chunked=True).status == 201


def test_another_content_type_is_invalid_json(track: Track, event: Event) -> None:
    assert track(event("a"), content_type="text/plain").json() == INVALID_JSON


def test_a_revoked_key_is_400_until_the_new_one_is_used(track: Track, event: Event, server: FakeLotus) -> None:
    server.rotate_key("new.secret")
    assert track(event("a")).json() == {"message": "Invalid API key"}
    assert track(event("a"), key="new.secret").status == 201


def test_an_old_key_may_be_kept_valid(track: Track, event: Event, server: FakeLotus) -> None:
    server.rotate_key("new.secret", keep_old=True)
    assert track(event("a")).status == 201


def test_the_size_limit_can_be_lowered(start: Start, connect: Callable[..., RawClient], event: Event) -> None:
    client = connect(start("L24", max_body_bytes=300))
    assert client.track(event("a")).status == 201
    assert client.track(event("b"), event("c")).status == 413


def test_a_cache_that_is_down_is_500_json(start: Start, connect: Callable[..., RawClient], event: Event) -> None:
    answer = connect(start(faults=Faults(script=[DatabaseDown()]))).track(event("a"))
    assert answer.status == 500
    assert answer.json() == {"message": "Error fetching organization ID from cache"}
