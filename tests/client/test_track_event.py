"""``track_event``: what it takes, what it gives, what it refuses, and its modes."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from lotus_durable.errors import (
    EventRefused,
    InvalidEvent,
    LotusError,
)
from lotus_durable.testing import Delay, RefuseEvents, Reset, Status
from tests.rig import Rig, conserved, track, wait_until


def test_an_event_arrives_as_it_was_given(rig: Rig) -> None:
    event_id = rig.client().track_event(
        customer_id="customer123",
        event_name="api_call",
        properties={"region": "US", "mb_used": 150, "price": Decimal("1.5"), "tags": {"a"}, "none": None},
        time_created=datetime(2024, 2, 19, 12, 0, 0, 500_000, timezone(timedelta(hours=2))),
        idempotency_id="mine",
    )
    assert event_id == "mine"
    assert rig.client().drain(20).dead_lettered == 1, "the server of 2024 takes nothing that old"
    now = rig.client().track_event(customer_id="c", event_name="e", properties={"mb_used": 150, "none": None})
    assert rig.client().flush(20)
    [event] = rig.server.events
    assert uuid.UUID(event["idempotency_id"]).version == 4
    assert event["idempotency_id"] == now
    assert (event["customer_id"], event["event_name"]) == ("c", "e")
    assert event["properties"] == {"mb_used": 150, "none": None}
    assert abs(datetime.fromisoformat(event["time_created"]) - datetime.now(UTC)) < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"customer_id": ""}, "customer_id"),
        ({"customer_id": None}, "customer_id"),
        ({"customer_id": 7.0}, "customer_id"),
        ({"customer_id": "x" * 51}, "customer_id"),
        ({"event_name": "x" * 201}, "event_name"),
        ({"idempotency_id": "x" * 256}, "idempotency_id"),
        ({"properties": [1]}, "properties"),
        ({"properties": {"items": [{"price": object()}]}}, "properties.items[0].price"),
        ({"properties": {"x": float("nan")}}, "properties.x"),
        ({"time_created": "yesterday"}, "time_created"),
        ({"properties": {"x": "y" * 40_000}}, "properties"),
    ],
)
@pytest.mark.parametrize("options", [{}, {"send": False}, {"sync_mode": True}])
def test_a_bad_argument_is_refused_at_the_call_and_nothing_is_written(
    rig: Rig, fields: dict[str, Any], field: str, options: dict[str, bool]
) -> None:
    client = rig.client(**options)
    with pytest.raises(InvalidEvent) as caught:
        client.track_event(**{"customer_id": "c", "event_name": "e", **fields})
    assert caught.value.field in (field, "event")
    assert isinstance(caught.value, ValueError)
    assert client.stats().accepted == 0
    track(client, 1)  # and the client is as good as before


def test_with_send_off_everything_is_validated_and_nothing_is_written_or_sent(rig: Rig) -> None:
    client = rig.client(send=False)
    assert uuid.UUID(client.track_event(customer_id="c", event_name="e")).version == 4
    assert client.track_event(customer_id="c", event_name="e", idempotency_id="x") == "x"
    assert client.stats().accepted == 0
    report = client.drain(20)
    assert (report.complete, report.delivered) == (True, 0)
    assert client.flush(20)
    client.shutdown()
    assert not rig.queue_dir.exists()
    assert rig.server.request_count == 0


@pytest.mark.parametrize("backend", ["journal", "sqlite"])
def test_in_sync_mode_the_event_is_there_when_the_call_returns(rig: Rig, backend: str) -> None:
    client = rig.client(sync_mode=True, flusher="auto", backend=backend)
    for number in range(3):
        track(client, 1)
        assert rig.server.event_count == number + 1
    stats = client.stats()
    assert (stats.accepted, stats.delivered) == (3, 3)


def test_in_sync_mode_an_event_refused_for_good_raises(rig: Rig) -> None:
    reasons = ["No customer_id provided", "Failed to produce event to kafka: MESSAGE_TOO_LARGE"]
    rig.server.fail_next(*map(RefuseEvents, reasons))
    client = rig.client(sync_mode=True, flusher="auto")
    for reason in reasons:
        with pytest.raises(EventRefused, match=reason):
            track(client, 1)
    track(client, 1)
    stats = client.stats()
    assert (stats.delivered, stats.dead_lettered) == (1, 2)


def test_in_sync_mode_a_parked_event_is_no_error_but_is_said(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    rig.server.fail_next(RefuseEvents("Customer does not exist"))
    ids = track(rig.client(sync_mode=True, flusher="auto"), 1)
    assert "the event is parked and tried again: Customer does not exist" in caplog.text
    assert rig.check(ids).parked == 1


@pytest.mark.parametrize(
    "fault",
    [
        Status(503),
        Status(404),
        Status(418),
        Reset("after_storing"),
        RefuseEvents("Failed to produce event to kafka: NOT_LEADER"),
        Delay(30.0),
    ],
    ids=str,
)
def test_in_sync_mode_what_has_no_verdict_in_time_stays_in_the_queue_and_is_delivered(rig: Rig, fault: Any) -> None:
    rig.server.fail_next(fault)
    client = rig.client(sync_mode=True, flusher="auto", timeout=0.3)
    ids = track(client, 1)
    # A 404 parks it, at once or in the first drain's pass; the next one tries it again.
    wait_until(lambda: client.drain(20).complete and not client.stats().parked, "its delivery")
    assert rig.check(ids).delivered == 1
    assert list(rig.server.times_received) == ids


def test_in_sync_mode_an_outage_that_is_known_is_not_waited_for(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    rig.server.pause()
    client = rig.client(sync_mode=True, flusher="auto", timeout=3600.0)
    ids = track(client, 2)
    assert "2 events left on disk" in caplog.text
    assert rig.check(ids).pending == 2


def test_in_sync_mode_a_process_that_flushes_itself_waits_as_long_as_an_answer_may_take(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.server.pause()
    client = rig.client(sync_mode=True, timeout=0.3)
    ids = track(client, 2)
    assert caplog.text.count("the event is kept and has no verdict yet: not done within 0.6 seconds") == 2
    assert rig.check(ids).pending == 2


@pytest.mark.parametrize("generation", ["L22", "L24"])
def test_in_sync_mode_a_bad_or_missing_key_is_no_loss(rigs: Callable[..., Rig], generation: str) -> None:
    """The first key of a queue was mistyped: a process with the right one takes over, and a person is to say so."""
    rig = rigs(generation)
    ids = track(rig.client(sync_mode=True, api_key="wrong", flusher="auto"), 1)
    ids += track(rig.client(sync_mode=True, api_key=None, flusher="auto"), 1)
    right = rig.client(flusher="auto")
    wait_until(lambda: "adopt" in (right.drain(20).reason or ""), "the one with the wrong key to make way")
    state = rig.check(ids)
    assert (state.delivered, state.pending) == (1, 1)


def test_in_sync_mode_where_nobody_flushes_and_none_is_to_be_started_the_process_does(rig: Rig) -> None:
    client = rig.client(sync_mode=True)
    ids = track(client, 1)
    assert rig.server.event_count == 1
    assert not rig.is_flushed()
    assert rig.check(ids).delivered == 1


def test_a_client_is_a_context_manager_that_sends_at_its_end(rig: Rig) -> None:
    with rig.client(flusher="auto", exit_timeout=20) as client:
        ids = track(client, 5)
    assert rig.server.event_count == 5
    assert rig.check(ids).delivered == 5


def test_clients_show_no_more_than_where_they_send_and_write(rig: Rig) -> None:
    assert repr(rig.client()) == f"<Client host={rig.server.host} queue_dir={rig.queue_dir}>"


def test_two_clients_share_a_directory(rig: Rig) -> None:
    one, two = rig.client(), rig.client()
    ids = track(one, 5) + track(two, 5) + track(one, 5)
    assert two.flush(20)
    assert one.stats().delivered == 15
    assert rig.check(ids).delivered == 15


def test_clients_with_different_directories_do_not_mix(rigs: Callable[..., Rig]) -> None:
    one, two = rigs(), rigs()
    clients = one.client(), two.client()
    ones, twos = track(clients[0], 3), track(clients[1], 4)
    assert all(client.flush(20) for client in clients)
    assert (list(one.server.times_received), list(two.server.times_received)) == (ones, twos)


def test_on_error_may_track(rig: Rig) -> None:
    def on_error(_: LotusError, __: object) -> None:
        later.extend(track(client, 1))

    later: list[str] = []
    client = rig.client(on_error=on_error)
    ids = track(client, 1, time_created="2020-01-01T00:00:00Z")
    assert client.flush(20)
    assert len(later) == 1
    assert client.flush(20)
    stats = rig.check(ids + later)
    assert (stats.delivered, stats.dead_lettered) == (1, 1)


def test_the_counts_add_up_while_events_are_on_their_way(rig: Rig) -> None:
    client = rig.client()
    track(client, 5)
    stats = client.stats()
    assert (stats.accepted, stats.pending, stats.flusher) == (5, 5, None)
    assert stats.oldest_age is not None
    assert conserved(stats)
