"""Events that the server chokes on: each isolates exactly itself."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lotus_durable.testing import NAMED, Fault, Reset, Status
from tests.rig import Rig, faults, record, track, wait_until


def test_one_event_that_makes_a_batch_of_500_invalid_isolates_exactly_itself(rig: Rig) -> None:
    """Validation lets none in, but an older version, a newer one, or a flipped bit might have."""
    records = [record(f"e{number}", **({"time_created": "never"} if number == 321 else {})) for number in range(500)]
    ids = rig.put(*records)
    assert rig.client().drain(20).complete
    assert rig.posts[0].status == 400
    stats = rig.check(ids)
    assert (stats.delivered, stats.parked) == (499, 1)
    assert rig.ids("parked") == {"e321"}
    ids += track(rig.client(), 1)
    assert rig.client(max_event_attempts=2, failing_min_age=0.0).drain(20).complete
    assert rig.check(ids).dead_lettered == 1
    [dead] = rig.stored("dead")
    assert (dead.reason, dead.attempts) == ("Invalid JSON", 2)


def test_one_node_of_two_that_breaks_bodies_gives_no_event_up(rig: Rig) -> None:
    """It finds invalid JSON in whatever comes; the other one takes the same events."""
    invalid = Status(400, '{"success":"none","failed_events":{"no_idempotency_id":"Invalid JSON"}}', "application/json")
    rig.server.faults = faults(rates={invalid: 0.5}, seed=1)
    client = rig.client(max_batch_events=4)
    ids = track(client, 40)
    wait_until(lambda: client.drain(20).complete and not client.stats().parked, "all of it")
    stats = rig.check(ids)
    assert (stats.delivered, stats.dead_lettered) == (40, 0)


def test_what_is_no_record_at_all_is_a_dead_letter_that_was_never_sent(rig: Rig) -> None:
    queue_of_garbage = [
        b"\xc1",
        b"\x93\x01\x02\x03",
        record("x", customer_id=7),
        record(""),
        record("y", time_created=7),
    ]
    rig.write(record("before"), *queue_of_garbage)
    client = rig.client()
    assert client.drain(20).complete
    stats = client.stats()
    assert (stats.accepted, stats.delivered, stats.dead_lettered) == (6, 1, 5)
    assert {event.record for event in rig.stored("dead")} == set(queue_of_garbage)
    told = [message for message in rig.messages() if "dead letter" in message]
    assert len(told) == 2, "the first at once, and the others as one when the flusher ends"
    assert told[1].endswith("(the last of 4 of this kind)")


@pytest.mark.parametrize("limit", [4_000, 20_000])
@pytest.mark.parametrize("generation", ["L22", "L24"])
def test_a_body_that_is_too_large_is_split_until_it_is_not(
    rigs: Callable[..., Rig], generation: str, limit: int
) -> None:
    rig = rigs(generation, max_body_bytes=limit)
    client = rig.client()
    ids = track(client, 200, properties={"note": "x" * 100})
    assert client.drain(20).complete
    assert rig.check(ids).delivered == 200


def test_an_event_that_always_gets_a_500_is_given_up_only_after_tries_between_which_others_were_delivered(
    rig: Rig,
) -> None:
    rig.server.faults = faults(poison={"bad": Status(500)})
    client = rig.client(max_event_attempts=3, failing_min_age=0.0)
    ids = track(client, 50)
    ids += [client.track_event(customer_id="c1", event_name="call", idempotency_id="bad")]
    ids += track(client, 49)

    assert client.drain(20).complete
    assert client.stats().delivered == 99
    [parked] = rig.stored("parked")
    assert parked.attempts == 1
    assert parked.reason.startswith("HTTP 500")
    for _ in range(3):
        assert client.drain(20).complete
        [parked] = rig.stored("parked")
        assert parked.attempts == 1, "nothing shows that the server takes anything"
    for attempts in (2, 3):
        ids += track(client, 1)
        assert client.drain(20).complete
        [left] = rig.stored("parked") or rig.stored("dead")
        assert left.attempts == attempts
    assert rig.ids("dead") == {"bad"}
    stats = rig.check(ids)
    assert (stats.delivered, stats.parked, stats.dead_lettered) == (101, 0, 1)


def test_a_500_on_one_event_is_never_a_dead_letter_before_a_day_is_over(rig: Rig) -> None:
    rig.server.faults = faults(poison={"bad": Status(500)})
    client = rig.client(max_event_attempts=2)
    ids = track(client, 1, idempotency_id="bad")
    for _ in range(4):
        ids += track(client, 1)
        assert client.drain(20).complete
    [parked] = rig.stored("parked")
    assert parked.attempts == 4
    assert rig.check(ids).dead_lettered == 0


def test_several_poisonous_events_are_each_isolated(rig: Rig) -> None:
    bad = {"e3", "e4", "e77", "e99"}
    rig.server.faults = faults(poison=dict.fromkeys(bad, Status(500)))
    client = rig.client()
    ids = [client.track_event(customer_id="c", event_name="x", idempotency_id=f"e{number}") for number in range(100)]
    assert client.drain(20).complete
    stats = rig.check(ids)
    assert (stats.delivered, stats.parked) == (96, 4)
    assert rig.ids("parked") == bad


def test_poisonous_events_that_recover_are_delivered(rig: Rig) -> None:
    rig.server.faults = faults(poison={"bad": Status(500)})
    client = rig.client()
    ids = [client.track_event(customer_id="c", event_name="x", idempotency_id=each) for each in ("a", "bad", "c")]
    assert client.drain(20).parked == 1
    rig.server.faults = faults()
    rig.flush_until(lambda: rig.server.event_count == 3, parked_retry_interval=0.05)
    assert rig.check(ids).delivered == 3


@pytest.mark.parametrize(
    "fault",
    [
        *(Status(each) for each in (403, 404, 406, 413, 422, 429, 431, 451, 463, 499, 501, 503, 504, 520, 530)),
        NAMED["page_400"],
        Reset(),
    ],
    ids=str,
)
def test_whatever_comes_back_for_one_event_of_many_parks_that_one_and_the_others_go_on(rig: Rig, fault: Fault) -> None:
    rig.server.faults = faults(poison={"e70": fault})
    client = rig.client()
    ids = [client.track_event(customer_id="c", event_name="x", idempotency_id=f"e{number}") for number in range(100)]
    assert client.drain(20).complete
    stats = rig.check(ids)
    assert (stats.delivered, stats.parked) == (99, 1)
    assert rig.ids("parked") == {"e70"}
    assert "the API key" not in " ".join(rig.messages()).replace("and the API key", "")


@pytest.mark.parametrize("small", [0, 3, 5])
@pytest.mark.parametrize("generation", ["L22", "L24"])
def test_one_event_among_many_that_are_too_large_for_a_proxy_is_delivered_and_these_are_parked(
    rigs: Callable[..., Rig], generation: str, small: int
) -> None:
    rig = rigs(generation, max_body_bytes=3_000)
    client = rig.client()
    ids = [track(client, 1, properties={"note": "x" * (10 if number == small else 4_000)})[0] for number in range(6)]
    assert client.drain(20).complete
    stats = client.stats()
    assert (stats.delivered, stats.parked) == (1, 5)
    assert rig.ids("parked") == {*ids} - {ids[small]}


@pytest.mark.parametrize("max_batch_events", [500, 1])
@pytest.mark.parametrize("fault", [Status(403), Status(413), Status(500), Status(404)], ids=str)
def test_where_every_event_is_refused_and_empty_requests_pass_it_is_the_way_and_nothing_is_parked(
    rig: Rig, fault: Fault, max_batch_events: int
) -> None:
    names = [f"e{number}" for number in range(20)]
    rig.server.faults = faults(poison=dict.fromkeys(names, fault))
    client = rig.client(max_batch_events=max_batch_events)
    ids = [client.track_event(customer_id="c", event_name="x", idempotency_id=each) for each in names]
    report = client.drain(20)
    assert not report.complete
    assert "refused while an empty request passes" in (report.reason or "")
    assert (report.remaining, report.parked) == (20, 0)
    rig.server.faults = faults()
    assert client.drain(20).complete
    assert rig.check(ids).delivered == 20


def test_one_bad_node_of_two_makes_no_dead_letters(rig: Rig) -> None:
    rig.server.faults = faults(rates={Status(413): 0.2, Status(400, "<h1>Bad Request (400)</h1>"): 0.2}, seed=3)
    client = rig.client(parked_max_age=0.0)
    ids = track(client, 100)
    wait_until(lambda: client.drain(20).complete and client.stats().parked == 0, "all to be delivered", 60)
    assert rig.check(ids).delivered == 100
