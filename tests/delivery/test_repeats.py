"""An id that was delivered lately: the server of 2022 loses others' events by it, that of 2024 knows it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lotus_durable.flusher.destination import AsConfigured
from lotus_durable.flusher.life import Flusher
from lotus_durable.operate.holding import held
from lotus_durable.queue.consumer import Consumer
from lotus_durable.queue.contents import read_learned
from lotus_durable.testing import Faults, Status
from lotus_durable.testing.database import INSERT_SECONDS
from tests.rig import Rig, track

SAYS_NOTHING = Faults(path="/api/ping/", rates={Status(503): 1.0})


@pytest.mark.parametrize(
    ("generation", "faults", "sent"),
    [("L22", Faults(), 1), ("L24", Faults(), 2), ("L24", SAYS_NOTHING, 1)],
    ids=["2022", "2024", "not known"],
)
def test_an_id_that_was_delivered_lately_is_sent_again_only_to_a_server_that_knows_its_ids(
    rigs: Callable[..., Rig], generation: str, faults: Faults, sent: int
) -> None:
    rig = rigs(generation, faults=faults)
    client = rig.client()
    track(client, 1, idempotency_id="the same")
    assert client.drain(20).delivered == 1
    track(client, 1, idempotency_id="the same")
    assert client.drain(20).delivered == 1
    assert rig.server.times_received["the same"] == sent
    assert rig.check(["the same", "the same"]).delivered == 2


def test_a_repeat_among_others_is_settled_with_them_and_they_are_sent(rigs: Callable[..., Rig]) -> None:
    rig = rigs("L22")
    client = rig.client()
    first = track(client, 3)
    assert client.drain(20).complete
    again = [track(client, 1, idempotency_id=each)[0] for each in first[:2]]
    others = track(client, 3)
    assert client.drain(20).delivered == 5
    assert set(rig.server.times_received) == {*first, *others}
    assert set(rig.server.times_received.values()) == {1}
    rig.check([*first, *again, *others])


def test_an_id_that_another_server_has_taken_is_sent_to_this_one(rigs: Callable[..., Rig]) -> None:
    """A queue is bound to no host: events are tracked or imported once more for a server that is new, say."""
    first, second = rigs("L22"), rigs("L22")
    for rig in (first, second, first):
        client = first.client(host=rig.server.host)
        track(client, 1, idempotency_id="the same")
        assert client.drain(20).delivered == 1
        client.release()
    assert first.server.times_received["the same"] == second.server.times_received["the same"] == 1


def test_an_id_that_is_parked_twice_or_was_delivered_since_is_sent_once(rigs: Callable[..., Rig]) -> None:
    rig = rigs("L22", customers=["known"])
    client = rig.client()
    ids = [*track(client, 2, customer_id="new", idempotency_id="twice")]
    ids += track(client, 1, customer_id="new", idempotency_id="since")
    assert client.drain(20).parked == 3
    rig.server.add_customer("new")
    ids += track(client, 1, customer_id="new", idempotency_id="since")
    rig.flush_until(lambda: rig.stats().delivered == 1)
    before = len(rig.posts)
    assert client.drain(20).delivered == 3
    assert rig.batches()[before:] == [["twice"]]
    assert rig.check(ids).delivered == 4


@pytest.mark.parametrize("is_killed", [False, True])
def test_when_the_books_are_gone_no_repeat_comes_while_the_server_of_2022_inserts(
    rigs: Callable[..., Rig], is_killed: bool
) -> None:
    """What was delivered and lies there still is sent again, between new events that complete the lot it is in."""
    rig = rigs("L22")
    slow = {"max_batch_events": 500, "grace": 2 * INSERT_SECONDS}
    first, second = rig.client(), rig.client(max_event_bytes=10_000)  # a segment each
    ids = track(first, 450) + track(second, 450)
    assert rig.client(**slow).drain(20).delivered == 900
    for part in ("", "-wal", "-shm"):
        Path(f"{rig.directory.books}{part}").unlink(missing_ok=True)
    ids += track(first, 200)
    if is_killed:  # who was the first to find no books
        Consumer(rig.directory, lambda _: None).close()
    report = rig.client(**slow).drain(60)
    assert report.complete
    ids += track(first, 1000)
    assert rig.client(**slow).drain(20).complete
    assert rig.server.database == set(ids)


def test_when_the_heartbeat_is_gone_what_was_sent_and_not_settled_may_come_again_until_all_is_settled(
    rigs: Callable[..., Rig],
) -> None:
    rig = rigs("L22")
    client = rig.client()

    def may_repeat() -> bool:
        return bool(read_learned(rig.directory.books, "behind"))

    ids = track(client, 3)
    assert client.drain(20).complete
    assert not may_repeat(), "nobody had flushed here"
    ids += track(client, 3)
    assert client.drain(20).complete
    assert not may_repeat()
    Path(rig.directory.heartbeat).unlink()
    ids += track(client, 3)
    rig.server.faults = Faults(path="/api/track/", rates={Status(503): 1.0})
    rig.flush_until(may_repeat)
    rig.server.faults = Faults()
    assert may_repeat(), "whoever comes next"
    assert client.drain(20).complete
    assert not may_repeat()
    rig.check(ids)


def test_a_flusher_that_begins_anew_knows_what_it_has_sent_itself_though_it_found_no_heartbeat_at_first(
    rigs: Callable[..., Rig],
) -> None:
    """A relay does so with each connection that it loses, and would send one batch in 8 s from then on."""
    rig = rigs("L22")
    client = rig.client()
    ids = track(client, 3)
    is_anew = False

    def ending() -> str | None:
        nonlocal is_anew
        control = flusher.control
        if control is not None and not is_anew and control.last_beat.last_delivery:
            is_anew = True
            rig.server.faults = Faults(path="/api/track/", rates={Status(503): 1.0})
            ids.extend(track(client, 3))
            control.renew("the test says so")
        is_done = is_anew and control is not None and control.last_beat.state == "retrying"
        return "it has begun anew" if is_done else None

    config = rig.config(exit_timeout=0.0)
    flusher = Flusher(lambda: config, kind="caller", ending=ending, destination=AsConfigured())
    rig.directory.prepare()
    assert flusher.lock.acquire()
    flusher.run()
    assert not read_learned(rig.directory.books, "behind")
    rig.server.faults = Faults()
    assert client.drain(20).complete
    rig.check(ids)


def test_the_same_holds_where_the_first_to_find_no_heartbeat_is_a_command_that_changes_the_queue(
    rigs: Callable[..., Rig],
) -> None:
    rig = rigs("L22")
    client = rig.client()
    track(client, 3)
    assert client.drain(20).complete
    with held(rig.config()):
        assert not read_learned(rig.directory.books, "behind")
    Path(rig.directory.heartbeat).unlink()
    with held(rig.config()):
        assert read_learned(rig.directory.books, "behind"), "the next one finds a heartbeat"
