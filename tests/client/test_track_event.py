"""What track_event does with its event, by mode."""

from __future__ import annotations

import logging
import threading
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from lotus_durable.client import Client
from lotus_durable.errors import EventRefused, InvalidEvent
from lotus_durable.testing.faults import Faults, Status
from tests.rig import Rig, conserved, track, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_an_event_arrives_as_it_was_given(rig: Rig) -> None:
    client = rig.client()
    event_id = client.track_event(
        customer_id="customer123",
        event_name="api_call",
        properties={"region": "US", "mb_used": 150},
        time_created=datetime.now(UTC) - timedelta(days=1),
        idempotency_id="the-id",
    )
    assert client.drain(10).complete
    [event] = rig.server.events
    assert event_id == "the-id"
    assert event["idempotency_id"] == "the-id"
    assert event["customer_id"] == "customer123"
    assert event["event_name"] == "api_call"
    assert event["properties"] == {"region": "US", "mb_used": 150}
    assert datetime.now(UTC) - datetime.fromisoformat(event["time_created"]) >= timedelta(days=1)


def test_a_generated_id_is_a_random_uuid_and_never_the_same(rig: Rig) -> None:
    ids = track(rig.client(flusher="external"), 500)
    assert len(set(ids)) == 500
    assert {uuid.UUID(each).version for each in ids} == {4}


def test_a_refused_event_leaves_nothing_behind_and_the_next_one_is_accepted(rig: Rig) -> None:
    client = rig.client(flusher="external")
    with pytest.raises(InvalidEvent, match=r"properties\.price"):
        client.track_event(customer_id="c", event_name="x", properties={"price": float("nan")})
    assert client.stats().accepted == 0
    ids = track(client, 1)
    assert client.stats().accepted == 1
    client.release()
    assert rig.pending_ids() == set(ids)


def test_without_send_an_event_is_checked_and_nothing_is_written(tmp_path: Path) -> None:
    queue_dir = tmp_path / "queue"
    client = Client(send=False, queue_dir=queue_dir)
    assert client.track_event(customer_id="c", event_name="x", idempotency_id="given") == "given"
    with pytest.raises(InvalidEvent):
        client.track_event(customer_id="", event_name="x")
    assert client.drain().complete
    assert not queue_dir.exists()


def test_in_sync_mode_the_event_is_at_the_server_when_the_call_returns(rig: Rig) -> None:
    [event_id] = track(rig.client(sync_mode=True), 1)
    assert set(rig.server.times_received) == {event_id}


def test_in_sync_mode_an_event_refused_for_good_is_an_error_and_is_not_kept(rig: Rig) -> None:
    client = rig.client(sync_mode=True)
    with pytest.raises(EventRefused, match="Time created too far"):
        client.track_event(customer_id="c", event_name="x", time_created="2001-01-01T00:00:00Z")
    assert client.stats().accepted == 0


@pytest.mark.parametrize("status", [503, 500, 403, 404], ids=["down", "failing", "wrong-key", "wrong-url"])
def test_in_sync_mode_an_event_without_a_verdict_goes_to_the_queue_and_is_delivered_later(
    rig: Rig, status: int
) -> None:
    rig.server.faults = Faults(script=[Status(status)])
    client = rig.client(sync_mode=True)
    [event_id] = track(client, 1)
    wait_until(lambda: set(rig.server.times_received) == {event_id})
    wait_until(lambda: client.stats().delivered == 1)


def test_in_sync_mode_an_event_of_an_unknown_customer_is_kept(rigs: Callable[..., Rig]) -> None:
    rig = rigs("L22", customers=["known"])
    client = rig.client(sync_mode=True)
    track(client, 1, customer_id="unknown")
    wait_until(lambda: client.stats().parked == 1)


def test_in_sync_mode_without_a_key_the_event_goes_to_the_queue(rig: Rig) -> None:
    client = rig.client(sync_mode=True, api_key=None)
    ids = track(client, 1)
    client.release()
    assert rig.pending_ids() == set(ids)


def test_without_a_key_events_are_kept_and_a_warning_says_why(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    client = rig.client(api_key=None)
    with caplog.at_level(logging.WARNING, "lotus_durable"):
        ids = track(client, 3)
    assert "no API key is set" in caplog.text
    report = client.drain(5)
    assert not report.complete
    assert "no API key" in str(report.reason)
    client.release()
    assert rig.pending_ids() == set(ids)


def test_an_on_error_that_raises_harms_nothing(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("mine")

    client = rig.client(on_error=fail)
    too_old = track(client, 1, time_created="2001-01-01T00:00:00Z")
    fresh = track(client, 2)
    assert client.drain(10).complete
    assert "on_error itself failed" in caplog.text
    stats = rig.check(too_old + fresh)
    assert (stats.delivered, stats.dead_lettered) == (2, 1)


def test_eight_threads_track_at_once_and_nothing_is_lost(rig: Rig) -> None:
    client = rig.client()
    ids: list[str] = []
    threads = [threading.Thread(target=lambda: ids.extend(track(client, 200))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client.drain(20).complete
    assert rig.check(ids).delivered == 1600


def test_two_clients_on_one_directory_share_the_queue(rig: Rig) -> None:
    first, second = rig.client(), rig.client()
    ids = track(first, 3) + track(second, 4)
    assert first.drain(10).complete
    assert first.stats().accepted == second.stats().accepted == 7
    assert rig.check(ids).delivered == 7


def test_a_client_can_be_used_again_after_its_shutdown(rig: Rig) -> None:
    client = rig.client()
    ids = track(client, 1)
    client.shutdown(5)
    client.shutdown(5)
    ids += track(client, 1)
    assert client.drain(10).complete
    assert rig.check(ids).delivered == 2


def test_the_counts_add_up_while_events_are_on_their_way(rig: Rig) -> None:
    client = rig.client(flusher="external")
    track(client, 5)
    stats = client.stats()
    assert (stats.accepted, stats.pending, stats.flusher) == (5, 5, None)
    assert stats.oldest_age is not None
    assert conserved(stats)
