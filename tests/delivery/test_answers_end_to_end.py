"""Every row of the tables of what servers answer, over a socket: where each event is then, and that none is lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from lotus_durable.testing import DatabaseDown, Delay, Fault, Redirect, RefuseEvents, Status
from tests.rig import Rig, faults, now_text, record, track

GENERATIONS = pytest.mark.parametrize("generation", ["L22", "L24"])
BOTH = ("L22", "L24")


def json_status(status: int, body: str) -> Status:
    return Status(status, body, "application/json")


@dataclass(frozen=True)
class Row:
    """Some faults of the server's first answers to three events, and where the events are after a drain."""

    faults: tuple[Fault | None, ...] = ()
    delivered: int = 3
    parked: int = 0
    dead: int = 0
    generations: tuple[str, ...] = BOTH
    server: dict[str, Any] = field(default_factory=dict)
    claimed: tuple[str, ...] = ()
    """Events the server says it has, without having them."""
    says: str = ""
    """What ``on_error`` is told, or the drain says: where a person has to mend something, it returns at once."""


def refused(reason: str, **options: Any) -> Row:
    return Row((RefuseEvents(reason, ids=("b",)),), **options)


def twice(fault: Fault, says: str) -> Row:
    """It comes back for the probe too: once only it would be about that batch, and nothing to tell."""
    return Row((fault, fault), says=says)


def delivered_after(*faults: Fault, says: str = "", generations: tuple[str, ...] = BOTH) -> Row:
    return Row(faults, says=says, generations=generations)


ROWS = {
    "all accepted": Row(),
    "already known": refused("Event idempotency already exists", claimed=("b",)),
    "twice in the request": refused("Duplicate event idempotency in request", claimed=("b",)),
    "all already known": Row((RefuseEvents("Event idempotency already exists"),), claimed=("a", "b", "c")),
    "unknown customer": refused("Customer does not exist", delivered=2, parked=1),
    "all unknown customers": Row((RefuseEvents("Customer does not exist"),), delivered=0, parked=3),
    "broker trouble": refused("Failed to produce event to kafka: UNKNOWN_TOPIC_OR_PARTITION"),
    "broker trouble for all": Row((RefuseEvents("Failed to produce event to kafka: NOT_LEADER"),)),
    "too large for the broker": refused(
        "Failed to produce event to kafka: MESSAGE_TOO_LARGE", delivered=2, dead=1, says="MESSAGE_TOO_LARGE"
    ),
    "no customer id": refused("No customer_id provided", delivered=2, dead=1, says="No customer_id"),
    "invalid time": refused("Invalid time_created", delivered=2, dead=1, says="Invalid time_created"),
    "no id": refused("No idempotency_id provided", delivered=2, dead=1, says="No idempotency_id"),
    "a reason we do not know": refused("Plan limit", delivered=2, parked=1, says="a reason we do not know, 1 event:"),
    "database down": delivered_after(DatabaseDown()),
    "500 and HTML": delivered_after(Status(500)),
    "408": delivered_after(Status(408)),
    "503": delivered_after(Status(503), Status(503), Status(503)),
    "401": twice(json_status(401, '{"detail": "Invalid token."}'), "the API key"),
    "403": twice(json_status(403, '{"detail": "no credentials"}'), "the API key"),
    "400 with a message": twice(json_status(400, '{"message": "Invalid API key"}'), "the API key"),
    "400 {}": twice(json_status(400, "{}"), "the API key"),
    "400 text about the key": twice(Status(400, "No API key found in request"), "the API key"),
    "301": twice(Redirect(), "not an answer of Lotus"),
    "307": twice(Redirect(status=307), "not an answer of Lotus"),
    "404": twice(Status(404), "not an answer of Lotus"),
    "405": twice(Status(405), "not an answer of Lotus"),
    "415": twice(Status(415), "not an answer of Lotus"),
    "200 from a proxy": twice(Status(200), "not an answer of Lotus"),
    "201 HTML": twice(Status(201), "not an answer of Lotus"),
    "201 of another JSON": twice(json_status(201, '{"ok": true}'), "not an answer of Lotus"),
    "nothing accepted, no reason": delivered_after(
        json_status(400, '{"success": "none", "failed_events": {}}'), says="accepts no event and gives no reason"
    ),
    "418": twice(Status(418), "an answer we do not know"),
    "400 of another kind": twice(Status(400, "nonsense", "text/plain"), "an answer we do not know"),
    "413 once": delivered_after(Status(413)),
    "403 of a firewall, once": delivered_after(Status(403)),
    "429 of a firewall, again and again": delivered_after(*[Status(429)] * 4),
    "Cloudflare's, whose server is down": delivered_after(
        *(Status(each) for each in (520, 521, 522, 523)), generations=("L24",)
    ),
    "Cloudflare's, whose server's TLS fails": delivered_after(Status(525), Status(526), Status(530)),
    "460 of AWS": delivered_after(Status(460)),
    "too large, L22": Row(server={"max_body_bytes": 400}, generations=("L22",)),
    "too large, L24": Row(server={"max_body_bytes": 400}, generations=("L24",)),
    "refused under another id": delivered_after(
        json_status(201, '{"success": "some", "failed_events": {"no_idempotency_id": "Invalid time_created"}}'),
    ),
}


@pytest.mark.parametrize(
    ("generation", "row"),
    [pytest.param(each, row, id=f"{name}-{each}") for name, row in ROWS.items() for each in row.generations],
)
def test_after_every_answer_each_event_is_where_it_belongs_and_none_is_lost(
    rigs: Callable[..., Rig], generation: str, row: Row
) -> None:
    rig = rigs(generation, faults=faults(script=row.faults), **row.server)
    client = rig.client(timeout=1.0)  # which the server of 2022 is given after any doubt
    for name in ("a", "b", "c"):
        client.track_event(customer_id="c1", event_name="call", idempotency_id=name)
    said = []
    while not (report := client.drain(20)).complete:
        # Blocked: it is for the caller to ask again. Nothing else may be in the way of a drain.
        assert row.says, report
        assert row.says in (report.reason or "")
        said.append(report.reason or "")
    assert row.says in " ".join([*said, *rig.messages()])
    stats = rig.check(["a", "b", "c"], claimed=row.claimed)
    assert (stats.delivered, stats.parked, stats.dead_lettered) == (row.delivered, row.parked, row.dead)
    assert rig.server.faults.left_in_script == 0


@pytest.mark.parametrize(
    ("generation", "batches"),
    [("L22", [["a", "b"], ["c"]]), ("L24", [["a", "b"], ["a"], ["a", "c"]])],
    ids=["L22, to which nothing is sent that it has", "L24"],
)
def test_the_same_id_is_never_twice_in_one_request(
    rigs: Callable[..., Rig], generation: str, batches: list[list[str]]
) -> None:
    rig = rigs(generation)
    client = rig.client()
    for name in ("a", "b", "a", "a", "c"):
        client.track_event(customer_id="c1", event_name="call", idempotency_id=name)
    assert client.flush(20)
    assert rig.batches() == batches
    assert rig.stats().delivered == 5


@pytest.mark.parametrize(
    ("fields", "generation", "where"),
    [
        pytest.param({"customer_id": ""}, "L24", "dead", id="empty customer"),
        pytest.param({"time_created": "0001-01-01T00:00:00Z"}, "L24", "dead", id="zero time"),
        pytest.param({"time_created": "yesterday"}, "L24", "parked", id="no time"),
        pytest.param({"time_created": "yesterday"}, "L22", "delivered or dead", id="no time, L22"),
        pytest.param({"time_created": "2020-01-01T00:00:00Z"}, "L24", "dead", id="old"),
        pytest.param({"time_created": "2020-01-01T00:00:00Z"}, "L22", "delivered", id="old, L22"),
        pytest.param({"time_created": "2999-01-01T00:00:00Z"}, "L24", "parked", id="ahead of time"),
        pytest.param({"time_created": "2999-01-01T00:00:00Z"}, "L22", "delivered", id="ahead of time, L22"),
        pytest.param({"customer_id": "nobody"}, "L22", "parked", id="unknown customer"),
        pytest.param({"customer_id": "nobody", "time_created": "yesterday"}, "L22", "parked", id="unknown, no time"),
        pytest.param({"customer_id": "nobody"}, "L24", "delivered", id="unknown customer, L24"),
        pytest.param({"properties": {"x": float("nan")}}, "L24", "dead", id="NaN"),
        pytest.param({"properties": [1]}, "L24", "dead", id="a list for properties"),
    ],
)
def test_what_the_server_itself_refuses_does_not_hold_up_its_neighbours(
    rigs: Callable[..., Rig], fields: dict[str, Any], generation: str, where: str
) -> None:
    rig = rigs(generation, customers=["c1"])
    ids = rig.put(record("before"), record("odd", **fields), record("after"))
    report = rig.client().drain(20)
    assert report.complete, report
    rig.check(ids)
    assert {"before", "after"} <= set(rig.server.times_received)
    found = {"delivered": set(rig.server.times_received), "parked": rig.ids("parked"), "dead": rig.ids("dead")}
    assert any("odd" in found[place] for place in where.split(" or "))


@pytest.mark.parametrize(("generation", "dead"), [("L22", set()), ("L24", {"long"})])
def test_a_name_that_the_server_of_2024_would_try_to_store_for_ever_is_never_sent_to_it(
    rigs: Callable[..., Rig], generation: str, dead: set[str]
) -> None:
    rig = rigs(generation)
    ids = rig.put(record("long", event_name="n" * 200), record("after"))
    assert rig.client().drain(20).complete
    rig.check(ids)
    assert rig.ids("dead") == dead
    assert rig.server.database == {"long", "after"} - dead


@pytest.mark.parametrize("generation", ["L22", "L24"])
def test_an_event_of_the_largest_size_that_can_be_set_is_delivered(rigs: Callable[..., Rig], generation: str) -> None:
    rig = rigs(generation)
    client = rig.client(max_event_bytes=400_000)
    ids = track(client, 1, properties={"x": "\1" * 399_800})
    assert client.drain(20).complete
    assert len(rig.posts[-1].body) > 2_398_800
    assert rig.check(ids).delivered == 1


def test_dead_letters_reach_on_error_with_what_they_are_found_by(rig: Rig) -> None:
    event_id = rig.client().track_event(
        customer_id="c1", event_name="call", properties={"n": 1}, time_created="2020-01-01T00:00:00Z"
    )
    assert rig.client().flush(20)
    [(error, events)] = rig.errors
    assert str(error).startswith("1 dead letter: Time created too far")
    assert events == [{"idempotency_id": event_id, "customer_id": "c1", "event_name": "call"}]


def test_an_answer_after_the_clients_timeout_is_no_proof_and_the_same_ids_go_again(rig: Rig) -> None:
    rig.server.fail_next(Delay(30.0))
    client = rig.client(timeout=0.2)
    ids = track(client, 5)
    assert client.flush(20)
    assert list(rig.server.times_received.values()) == [2] * 5
    assert rig.check(ids).delivered == 5


def test_now_text_is_what_both_servers_take(rig: Rig) -> None:
    ids = rig.put(record("a", time_created=now_text()))
    assert rig.client().flush(20)
    assert rig.check(ids).delivered == 1
