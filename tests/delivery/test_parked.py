"""Parked events: refused for now, tried again slowly, never in the way, at last delivered or a dead letter."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lotus_durable.delivery import parked
from lotus_durable.errors import QueueFull
from lotus_durable.testing import RefuseEvents, Status
from tests.rig import LIMIT, Rig, faults, record, track, wait_until


@pytest.fixture
def l22(rigs: Callable[..., Rig]) -> Rig:
    return rigs("L22", customers=["known"])


def test_an_unknown_customers_events_are_delivered_once_the_customer_exists(l22: Rig) -> None:
    client = l22.client(flusher="auto", parked_retry_interval=0.05)
    ids = track(client, 5, customer_id="new") + track(client, 5, customer_id="known")
    wait_until(lambda: (stats := client.stats()).parked == 5 and stats.delivered == 5, "the events to be parked")
    l22.server.add_customer("new")
    l22.server.wait_for(10)
    assert l22.check(ids).delivered == 10


def test_a_drain_tries_each_parked_event_once_more_at_once(l22: Rig) -> None:
    client = l22.client(parked_retry_interval=3600.0)
    ids = track(client, 5, customer_id="new")
    report = client.drain(20)
    assert (report.complete, report.parked, report.delivered) == (True, 5, 0)
    requests = len(l22.posts)
    assert client.drain(20).parked == 5
    assert len(l22.posts) == requests + 1
    l22.server.add_customer("new")
    report = client.drain(20)
    assert (report.complete, report.parked, report.delivered, report.remaining) == (True, 0, 5, 0)
    assert l22.check(ids).delivered == 5


def test_a_drain_goes_through_all_parked_events_in_batches(l22: Rig) -> None:
    client = l22.client(max_batch_events=10)
    ids = track(client, 95, customer_id="new")
    assert client.drain(20).parked == 95
    l22.server.add_customer("new")
    assert client.drain(20).delivered == 95
    assert max(len(batch) for batch in l22.batches()) == 10
    assert l22.check(ids).delivered == 95


def test_parked_events_are_sent_in_requests_of_the_allowed_size(l22: Rig) -> None:
    client = l22.client(max_batch_bytes=5_000)
    ids = track(client, 30, customer_id="new", properties={"note": "x" * 900})
    assert client.drain(20).parked == 30
    l22.server.add_customer("new")
    assert client.drain(20).delivered == 30
    assert max(len(request.body) for request in l22.posts) <= 5_000
    assert l22.check(ids).delivered == 30


def test_the_same_id_parked_twice_is_never_twice_in_one_request_and_both_are_settled(l22: Rig) -> None:
    client = l22.client()
    for _ in range(3):
        client.track_event(customer_id="new", event_name="x", idempotency_id="same")
    assert client.drain(20).parked == 3
    l22.server.add_customer("new")
    report = client.drain(20)
    assert (report.delivered, report.parked) == (3, 0)
    assert all(batch == ["same"] for batch in l22.batches())


def test_what_is_too_old_while_parked_becomes_a_dead_letter(l22: Rig) -> None:
    client = l22.client()
    ids = track(client, 3, customer_id="never")
    l22.flush_until(
        lambda: client.stats().dead_lettered == 3, parked_retry_interval=0.05, parked_max_age=0.2, max_event_attempts=3
    )
    assert client.drain(20).complete, "and tells what happened"
    assert [str(error) for error, _ in l22.errors] == [
        "1 dead letter: Customer does not exist",
        "2 dead letters: Customer does not exist",
    ]
    assert [event["idempotency_id"] for _, events in l22.errors for event in events] == ids
    [canary, *others] = l22.stored("dead")
    assert canary.attempts >= 3
    assert canary.tried > canary.since
    assert all(event.attempts < 3 for event in others), "one was tried for all"
    stats = l22.check(ids)
    assert (stats.parked, stats.dead_lettered) == (0, 3)


def test_parked_events_keep_what_is_known_of_them(l22: Rig) -> None:
    client = l22.client()
    before = time.time()
    track(client, 1, customer_id="new")
    client.drain(20)
    [first] = l22.stored("parked")
    client.drain(20)
    [second] = l22.stored("parked")
    assert (first.reason, first.attempts, second.attempts) == ("Customer does not exist", 1, 2)
    assert first.since == second.since >= before
    assert second.tried > first.tried
    assert second.record == first.record


def test_parked_events_are_not_in_the_way_of_new_ones(l22: Rig) -> None:
    client = l22.client(flusher="auto", parked_retry_interval=0.05, max_batch_events=5)
    ids = track(client, 100, customer_id="never")
    for number in range(20):
        ids += track(client, 1, customer_id="known")
        l22.server.wait_for(number + 1)
    stats = l22.check(ids)
    assert (stats.delivered, stats.pending + stats.parked) == (20, 100)


def test_what_the_server_fails_on_is_tried_by_itself_after_a_long_try_and_new_events_go_before_it(
    rigs: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = [f"bad{n}" for n in range(8)]
    rig = rigs("L24", faults=faults(poison=dict.fromkeys(bad, Status(500))))
    ids = rig.put(*(record(each) for name in bad for each in (name, f"good {name}")))
    monkeypatch.setattr(parked, "_LONG", 0.0)
    rig.flush_until(lambda: len(rig.server.times_received) == 8 and len(rig.stored("parked")) == 8)
    first = len(rig.posts)
    rig.flush_until(lambda: len(rig.posts) > first, parked_retry_interval=0.01)
    [together, *_] = rig.batches()[first:]
    assert set(together) == set(bad)
    ids += rig.put(record("new"))  # it is not behind them
    rig.flush_until(lambda: "new" in rig.server.times_received, parked_retry_interval=0.01)
    monkeypatch.setattr(parked, "_REST", 0.0)
    first = len(rig.posts)
    rig.flush_until(lambda: len(rig.posts) > first + 100, parked_retry_interval=0.01)
    tried = [batch for batch in rig.batches()[first:] if batch]
    assert tried.count(together) == 2  # once by each flusher, which does not know it yet, with one more try
    assert {len(batch) for batch in tried[20:]} == {1}
    assert rig.check(ids).parked == 8


def test_a_steady_stream_of_new_events_does_not_keep_parked_ones_waiting(l22: Rig) -> None:
    client = l22.client(flusher="auto", parked_retry_interval=0.05, max_batch_events=5)
    ids = track(client, 3, customer_id="late")
    wait_until(lambda: client.stats().parked == 3, "the events to be parked")
    l22.server.add_customer("late")
    # The server's answers bring new events, so there is always one more request to make.
    deadline = time.monotonic() + 20
    late = set(ids)

    def keeps_up() -> bool:
        return len(ids) - len(l22.server.times_received) < 500

    while not late <= set(l22.server.times_received):
        ids += track(client, 2, customer_id="known")
        wait_until(keeps_up, "the server to keep up")
        assert time.monotonic() < deadline
    assert client.drain(LIMIT).complete
    assert l22.check(ids).delivered == len(ids)


def test_an_event_ahead_of_time_is_never_given_up(rig: Rig) -> None:
    tomorrow = time.time() + 2 * 86_400
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(tomorrow))
    ids = track(rig.client(), 1, time_created=created)
    rig.flush_until(lambda: len(rig.posts) >= 4, parked_retry_interval=0.05, parked_max_age=0.0, max_event_attempts=1)
    stats = rig.check(ids)
    assert (stats.parked, stats.dead_lettered) == (1, 0)


# One for all that wait for the same


def parked_posts(l22: Rig, ids: list[str]) -> list[list[str]]:
    return [batch for batch in l22.batches() if set(batch) <= set(ids)]


def test_of_each_unknown_customer_one_event_is_tried_for_all(l22: Rig) -> None:
    client = l22.client()
    ids = [each for name in ("a", "b", "c") for each in track(client, 20, customer_id=name)]
    assert client.drain(20).parked == 60
    seen = len(l22.posts)
    assert client.drain(20).parked == 60
    [batch] = l22.batches()[seen:]
    assert batch == [ids[0], ids[20], ids[40]]
    assert l22.check(ids).parked == 60


def test_when_the_one_that_is_tried_passes_all_of_its_customer_are_released_and_no_other(l22: Rig) -> None:
    client = l22.client(max_batch_events=10)
    ids = {name: track(client, 25, customer_id=name) for name in ("a", "b")}
    assert client.drain(20).parked == 50
    l22.server.add_customer("b")
    l22.flush_until(lambda: l22.server.event_count == 25, parked_retry_interval=0.05)
    assert set(l22.server.times_received) == set(ids["b"])
    assert l22.check(ids["a"] + ids["b"]).parked == 25


def test_a_customer_that_is_tried_again_and_again_is_tried_ever_more_slowly(l22: Rig) -> None:
    client = l22.client()
    ids = track(client, 100, customer_id="never")
    interval = 0.02
    l22.flush_until(lambda: any(event.attempts >= 7 for event in l22.stored("parked")), parked_retry_interval=interval)
    [first, *others] = l22.stored("parked")
    assert [event.attempts for event in others] == [1] * 99
    assert first.tried_at - first.parked_at >= interval * (2**6 - 1)
    assert l22.check(ids).parked == 100


def test_a_try_changes_the_row_of_one_event_where_it_is(l22: Rig) -> None:
    client = l22.client()
    track(client, 5, customer_id="never")
    client.drain(20)
    before = l22.stored("parked")
    client.drain(20)
    first, *others = l22.stored("parked")
    assert (first.id, first.attempts) == (before[0].id, 2)
    assert others == before[1:]


def test_more_customers_than_one_request_takes_are_all_tried_and_released(l22: Rig) -> None:
    client = l22.client(max_batch_events=7)
    ids = [each for number in range(60) for each in track(client, 2, customer_id=f"c{number}")]
    assert client.drain(60).parked == 120
    for number in range(0, 60, 2):
        l22.server.add_customer(f"c{number}")
    assert client.drain(60).delivered == 60
    assert l22.check(ids).parked == 60


def test_a_customer_that_goes_in_the_middle_of_its_release_is_unknown_again(l22: Rig) -> None:
    client = l22.client(max_batch_events=5)
    ids = track(client, 20, customer_id="new")
    assert client.drain(20).parked == 20
    l22.server.faults = faults(rates={RefuseEvents("Customer does not exist", ids=(ids[8],)): 1.0})
    l22.server.add_customer("new")
    report = client.drain(20)
    assert (report.delivered, report.parked) == (19, 1)
    l22.server.faults = faults()
    assert client.drain(20).delivered == 1
    assert l22.check(ids).delivered == 20


def test_when_it_is_due_is_known_to_the_next_flusher(l22: Rig) -> None:
    client = l22.client()
    ids = track(client, 3, customer_id="never")
    assert client.drain(20).parked == 3
    posts = len(l22.posts)
    for _ in range(3):
        ids += track(client, 1, customer_id="known")
        l22.flush_until(lambda: client.stats().pending == 0, parked_retry_interval=60.0)
    assert len(l22.posts) == posts + 3
    assert l22.check(ids).parked == 3


# Clocks


@pytest.mark.parametrize("days", [-400, -1, 1, 8, 400])
def test_a_wall_clock_that_jumps_gives_nothing_up_and_delays_nothing(
    l22: Rig, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    real = time.time
    client = l22.client()
    ids = track(client, 3, customer_id="new")
    assert client.drain(20).parked == 3
    posts = len(l22.posts)
    monkeypatch.setattr(time, "time", lambda: real() + days * 86_400)
    l22.flush_until(lambda: len(l22.posts) >= posts + 4, parked_retry_interval=0.02, max_event_attempts=2)
    monkeypatch.setattr(time, "time", real)
    assert (l22.stats().parked, l22.stats().dead_lettered) == (3, 0)
    l22.server.add_customer("new")
    l22.flush_until(lambda: l22.server.event_count == 3, parked_retry_interval=0.05)
    assert l22.check(ids).delivered == 3


def test_a_wall_clock_that_jumps_while_an_answer_comes_calls_no_event_late(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is too far away, and on which side, the server says by its own clock."""
    real = time.time
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(real() + 2 * 86_400))
    ids = track(rig.client(), 1, time_created=created)
    monkeypatch.setattr(time, "time", lambda: real() + 400 * 86_400)
    rig.flush_until(lambda: rig.stats().parked == 1)
    monkeypatch.setattr(time, "time", real)
    assert rig.check(ids).dead_lettered == 0


def test_broker_trouble_of_one_event_is_tried_a_few_times_and_then_parked(rig: Rig) -> None:
    reason = "Failed to produce event to kafka: UNKNOWN_TOPIC_OR_PARTITION"
    rig.server.faults = faults(rates={RefuseEvents(reason, ids=("bad",)): 1.0})
    client = rig.client()
    ids = [client.track_event(customer_id="c", event_name="x", idempotency_id=each) for each in ("a", "bad", "c")]
    assert client.drain(20).complete
    assert rig.ids("parked") == {"bad"}
    assert [len(batch) for batch in rig.batches()] == [3, 1, 1, 1, 1, 1]
    rig.server.faults = faults()
    assert client.drain(20).complete
    assert rig.check(ids).delivered == 3


@pytest.mark.parametrize("damage", [b"", b"this is no database" * 100], ids=["emptied", "garbage"])
def test_damaged_books_are_told_and_do_not_stop_new_events(l22: Rig, damage: bytes) -> None:
    client = l22.client(timeout=(5.0, 0.5))  # what the one before may have in flight is waited out
    track(client, 3, customer_id="new")
    assert client.drain(20).parked == 3
    Path(l22.directory.books).write_bytes(damage)
    track(client, 10, customer_id="known")
    assert client.drain(20).complete
    assert l22.server.event_count == 10
    assert [message for message in l22.messages() if "QueueDamaged" in message]


def test_a_queue_that_parked_events_have_filled_takes_events_again_when_they_are_delivered(l22: Rig) -> None:
    """All that lies in the directory counts, so the books must give back what they need no more."""
    client = l22.client(max_queue_bytes=64 << 20)
    ids: list[str] = []
    with contextlib.suppress(QueueFull):
        while True:
            ids += track(client, 1, customer_id="new", properties={"text": "x" * 30_000})
    assert client.drain(60).parked == len(ids)
    with pytest.raises(QueueFull):
        track(client, 1)
    l22.server.add_customer("new")
    assert client.drain(60).delivered == len(ids)
    l22.flush_until(lambda: sum(each.stat().st_size for each in l22.queue_dir.iterdir()) < 40 << 20)
    assert l22.check(ids + track(client, 1, customer_id="known")).pending == 1
