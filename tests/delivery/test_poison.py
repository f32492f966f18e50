"""Events that the server chokes on: each isolates exactly itself."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lotus_durable.testing import Status
from tests.rig import Rig, faults, record, track


def test_one_event_that_makes_a_batch_of_500_invalid_isolates_exactly_itself(rig: Rig) -> None:
    """Validation lets none in, but an older version, a newer one, or a flipped bit might have."""
    records = [record(f"e{number}", **({"time_created": "never"} if number == 321 else {})) for number in range(500)]
    ids = rig.put(*records)
    assert rig.client().drain(20).complete
    assert rig.posts[0].status == 400
    stats = rig.check(ids)
    assert (stats.delivered, stats.dead_lettered) == (499, 1)
    [dead] = rig.stored("dead")
    assert rig.ids("dead") == {"e321"}
    assert (dead.reason, dead.attempts) == ("Invalid JSON", 1)


def test_what_is_no_record_at_all_is_a_dead_letter_that_was_never_sent(rig: Rig) -> None:
    queue_of_garbage = [
        b"\xc1",
        b"\x93\x01\x02\x03",
        record("x", customer_id=7),
        record(""),
        record("y", time_created=None),
    ]
    rig.write(record("before"), *queue_of_garbage)
    client = rig.client()
    assert client.drain(20).complete
    stats = client.stats()
    assert (stats.accepted, stats.delivered, stats.dead_lettered) == (6, 1, 5)
    assert {event.record for event in rig.stored("dead")} == set(queue_of_garbage)
    told = [events for error, events in rig.errors if "dead letter" in str(error)]
    assert len(told) == 1


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


def test_an_event_that_always_gets_a_500_is_parked_tried_again_and_at_last_a_dead_letter(rig: Rig) -> None:
    rig.server.faults = faults(poison={"bad": Status(500)})
    client = rig.client(max_event_attempts=3)
    ids = track(client, 50)
    ids += [client.track_event(customer_id="c1", event_name="call", idempotency_id="bad")]
    ids += track(client, 49)

    assert client.drain(20).complete
    assert client.stats().delivered == 99
    [parked] = rig.stored("parked")
    assert parked.attempts == 1
    assert parked.reason.startswith("HTTP 500")
    assert client.drain(20).complete
    [parked] = rig.stored("parked")
    assert parked.attempts == 2
    assert client.drain(20).complete
    [dead] = rig.stored("dead")
    assert dead.attempts == 3
    stats = rig.check(ids)
    assert (stats.delivered, stats.parked, stats.dead_lettered) == (99, 0, 1)


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
