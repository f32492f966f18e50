"""A relay between a real broker and the server: what hosts hand over is delivered, once, by one relay at a time."""

from __future__ import annotations

import re
import select
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import amqp
import pytest

from lotus_durable.relay import publisher, receiving
from lotus_durable.relay.address import BrokerTrouble
from lotus_durable.relay.connection import Opened
from lotus_durable.relay.message import VERSION, Events, mark
from lotus_durable.relay.publisher import Publisher, Sent
from lotus_durable.relay.session import Session
from lotus_durable.testing import FakeLotus, Status
from tests.rig import TRACK, conserved, drained_until_told, faults, id_of, record, track, wait_until

from .broker import Cluster, why_not
from .fleet import PATIENCE, Fleet

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())


@pytest.fixture
def fleets(tmp_path: Path, broker: Cluster, queue_name: str) -> Iterator[Callable[..., Fleet]]:
    """Return a function that takes the arguments of FakeLotus and gives a fleet."""
    with ExitStack() as stack:

        def fleet(generation: str = "L24", **options: object) -> Fleet:
            lotus = stack.enter_context(FakeLotus(generation, **options))  # type: ignore[arg-type]
            return stack.enter_context(Fleet(tmp_path, broker, queue_name, lotus))

        yield fleet


def questions(fleet: Fleet) -> int:
    """Return how many requests the server got that bring no events."""
    return sum(request.path != TRACK for request in fleet.lotus.requests)


@pytest.mark.parametrize("generation", ["L22", "L24"])
def test_what_hosts_hand_over_is_delivered_by_one_of_two_relays_and_the_other_asks_the_server_nothing(
    fleets: Callable[..., Fleet], generation: str
) -> None:
    fleet = fleets(generation)
    first = fleet.relay("first").start()
    hosts = [fleet.host(name) for name in ("a", "b")]
    ids = track(hosts[0], 1)
    assert hosts[0].drain(PATIENCE).complete
    fleet.wait_until_stored(ids)
    asked = questions(fleet)
    second = fleet.relay("second").start()
    fleet.wait_for(second.stands_by, "the second relay to stand by")
    ids += [each for host in hosts for each in track(host, 700)]
    assert all(host.drain(PATIENCE).complete for host in hosts)
    fleet.wait_until_stored(ids)
    fleet.wait_for(lambda: first.stats().delivered == 1401 and not first.stats().pending, "all to be settled")
    assert conserved(first.stats())
    assert second.stats().accepted == 0
    assert fleet.lotus.duplicates == 0
    assert questions(fleet) == asked
    first.stop()
    more = track(hosts[0], 3)
    assert hosts[0].drain(PATIENCE).complete
    fleet.wait_until_stored(ids + more)


def test_events_of_unknown_customers_are_parked_at_the_relay_and_go_when_there_is_one(
    fleets: Callable[..., Fleet],
) -> None:
    fleet = fleets("L22", customers=["c1"])
    relay = fleet.relay(parked_retry_interval=0.05).start()
    host = fleet.host()
    ids = track(host, 2) + track(host, 3, customer_id="later")
    assert host.drain(PATIENCE).complete
    fleet.wait_for(lambda: relay.stats().parked == 3, "three parked events")
    assert {id_of(each.record) for each in relay.stored("parked")} == set(ids[2:])
    assert conserved(relay.stats())
    fleet.lotus.add_customer("later")
    fleet.wait_until_stored(ids)
    fleet.wait_for(lambda: relay.stats().delivered == 5, "all to be delivered")


def test_what_is_no_message_of_ours_becomes_a_dead_letter_with_its_bytes_kept(fleets: Callable[..., Fleet]) -> None:
    fleet = fleets()
    host = fleet.host()
    [first] = track(host, 1)
    host.drain(PATIENCE)
    whole = Events(bytes(8), [record("inside")]).encode()
    damaged = whole[:-1] + bytes([whole[-1] ^ 1])
    strange = [b"", b"hello", whole[:5], whole[:9], damaged, whole[:6] + b"\x09" + whole[7:]]
    fleet.publish(*strange)
    fleet.publish("text", content_encoding="utf-8")  # type: ignore[arg-type]
    fleet.publish(Events(bytes(8), [b"no record", record("fine")]).encode())
    relay = fleet.relay().start()
    fleet.wait_until_stored([first, "fine"])
    fleet.wait_for(lambda: relay.stats().dead_lettered == len(strange) + 2, "the dead letters")
    reasons = [each.reason for each in relay.stored("dead")]
    assert sum("a message of the broker's queue cannot be read" in reason for reason in reasons) == len(strange) + 1
    kept = {path.read_bytes() for path in Path(relay.directory.quarantine).iterdir()}
    assert kept == {*(each for each in strange if each), b"text"}
    assert conserved(relay.stats())


def test_a_message_whose_properties_cannot_be_read_is_in_the_way_of_no_other(
    fleets: Callable[..., Fleet], monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = fleets()
    host = fleet.host()
    ids = track(host, 1)
    assert host.drain(PATIENCE).complete
    events = Events(bytes(8), [record("inside")]).encode()
    with monkeypatch.context() as patched:
        patched.setattr(amqp.Message, "_serialize_properties", lambda _: b"\x80\0\x02\xff\xfe")
        fleet.publish(events, b"hello")
    ids += ["inside", *track(host, 1)]
    assert host.drain(PATIENCE).complete
    relay = fleet.relay().start()
    fleet.wait_until_stored(ids)
    fleet.wait_for(lambda: relay.stats().dead_lettered == 1, "the dead letter")


def test_a_message_of_a_later_version_is_left_in_the_queue_and_told_and_the_others_go_on(
    fleets: Callable[..., Fleet],
) -> None:
    fleet = fleets()
    host = fleet.host()
    track(host, 1)
    host.drain(PATIENCE)
    fleet.publish(b"LOTUS" + bytes([VERSION + 1]) + b"whatever there will be")
    relay = fleet.relay().start()
    ids = track(host, 1)
    assert host.drain(PATIENCE).complete
    fleet.wait_until_stored(ids)
    client = fleet.host("relay")
    report = client.drain(PATIENCE)
    assert report.reason == "1 message of a later version of lotus-durable: update the relay"
    through = host.drain(PATIENCE, through=True)
    assert (through.complete, through.reason) == (False, report.reason)
    relay.stop()
    fleet.wait_for(lambda: fleet.count_messages() == 1, "the message to be in the queue")


def test_events_tracked_under_another_organisations_key_are_parked_and_not_sent_with_the_relays(
    fleets: Callable[..., Fleet],
) -> None:
    fleet = fleets()
    ours, theirs = fleet.host("ours"), fleet.host("theirs", api_key="another key")
    ids = track(ours, 1)
    others = track(theirs, 2)
    relay = fleet.relay().start()
    assert theirs.drain(PATIENCE).complete
    assert ours.drain(PATIENCE).complete
    fleet.wait_until_stored(ids)
    fleet.wait_for(lambda: relay.stats().parked == 2, "two parked events")
    assert not set(others) & fleet.lotus.database


def test_messages_that_are_held_for_long_are_fetched_anew_and_their_events_sent_once_and_in_order(
    fleets: Callable[..., Fleet],
) -> None:
    fleet = fleets(faults=faults(script=[Status(503)] * 30))
    host = fleet.host(max_batch_events=1)
    ids = track(host, 20)
    assert host.drain(PATIENCE).complete
    relay = fleet.relay(requeue_after=0.1, max_batch_events=5).start()
    fleet.wait_until_stored(ids)
    fleet.wait_for(lambda: relay.stats().delivered == 20, "all to be delivered")
    assert list(fleet.lotus.times_received) == ids
    fleet.wait_for(lambda: fleet.count_messages() == 0, "everything to be acknowledged")


def test_what_was_settled_and_could_not_be_acknowledged_is_neither_sent_nor_stored_again(
    fleets: Callable[..., Fleet], monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = fleets("L22", customers=["c1"])
    host = fleet.host()
    ids = track(host, 4) + track(host, 3, customer_id="unknown")
    assert host.drain(PATIENCE).complete
    relay = fleet.relay()
    with monkeypatch.context() as patched:
        patched.setattr(Session, "acknowledge", lambda *_: None)
        relay.start()
        fleet.wait_for(lambda: relay.stats().parked == 3, "three parked events")
        relay.stop()
    fleet.wait_for(lambda: fleet.count_messages() >= 1, "the broker to say that it has them still")
    relay.start()
    fleet.wait_for(lambda: fleet.count_messages() == 0, "everything to be acknowledged")
    stats = relay.stats()
    assert (stats.accepted, stats.delivered, stats.parked) == (7, 4, 3)
    assert len(relay.stored("parked")) == 3
    assert set(fleet.lotus.times_received) == set(ids[:4])
    assert fleet.lotus.duplicates == 0


def test_a_queue_that_is_deleted_ends_the_session_and_the_relay_goes_on_with_the_next_one(
    fleets: Callable[..., Fleet],
) -> None:
    fleet = fleets()
    relay = fleet.relay().start()
    fleet.wait_for(lambda: relay.state() == ("idle", None), "the relay to be active")
    fleet.broker.running().ctl("delete_queue", fleet.queue)
    host = fleet.host()
    ids = track(host, 3)
    wait_until(lambda: host.drain(1).complete, "the broker to confirm", PATIENCE)
    fleet.wait_until_stored(ids)


def test_the_directory_of_a_relay_is_a_queue_directory_with_all_that_is_in_one(fleets: Callable[..., Fleet]) -> None:
    fleet = fleets()
    relay = fleet.relay().start()
    fleet.wait_for(lambda: relay.state() == ("idle", None), "the relay to be active")
    by_hand = fleet.host("relay", relay_url=None)
    ids = track(by_hand, 2)
    report = by_hand.drain(PATIENCE)
    assert (report.complete, report.delivered) == (True, 2)
    fleet.wait_until_stored(ids)


def test_a_mark_is_passed_over(fleets: Callable[..., Fleet]) -> None:
    fleet = fleets()
    host = fleet.host()
    ids = track(host, 1)
    host.drain(PATIENCE)
    fleet.publish(one := mark(), one, mark())
    relay = fleet.relay().start()
    fleet.wait_until_stored(ids)
    fleet.wait_for(lambda: fleet.count_messages() == 0, "everything to be acknowledged")
    assert relay.stats().accepted == 1


def test_a_drain_through_is_complete_when_a_relay_has_delivered_and_not_when_the_broker_has_it(
    fleets: Callable[..., Fleet],
) -> None:
    fleet = fleets()
    host = fleet.host()
    ids = track(host, 600)
    assert host.drain(PATIENCE).complete
    report = host.drain(1, through=True)
    assert (report.complete, report.remaining, report.reason) == (False, 0, "no relay has delivered it in time")
    fleet.relay().start()
    assert host.drain(PATIENCE, through=True).complete
    assert set(ids) == fleet.lotus.database
    report = fleet.host("other", relay_url="amqp://127.0.0.1:1").drain(1, through=True)
    assert "no connection to the broker" in (report.reason or "")


def test_who_drains_through_a_relay_is_answered_also_where_the_queue_was_emptied_meanwhile(
    fleets: Callable[..., Fleet], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "_ASK_INTERVAL", 0.5)
    fleet = fleets()
    host = fleet.host()
    with ThreadPoolExecutor(1) as other:
        report = other.submit(host.drain, PATIENCE, through=True)
        fleet.wait_for(lambda: fleet.count_messages() > 0, "somebody to ask")
        fleet.broker.running().ctl("purge_queue", fleet.queue)
        fleet.relay().start()
        assert report.result().complete


def test_who_drains_through_a_relay_is_answered_also_where_the_first_answer_does_not_get_out(
    fleets: Callable[..., Fleet], monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = ["it is lost"]

    class Failing(Publisher):
        def send(self, body: bytes, *, to: str | None = None, **properties: str) -> Sent:
            if to is not None and failures:
                raise BrokerTrouble(failures.pop())
            return super().send(body, to=to, **properties)

    monkeypatch.setattr(receiving, "Publisher", Failing)
    fleet = fleets()
    fleet.relay().start()
    host = fleet.host()
    ids = track(host, 3)
    assert host.drain(PATIENCE, through=True).complete
    assert set(ids) == fleet.lotus.database
    assert not failures


def test_what_is_parked_at_a_relay_that_stands_by_goes_to_the_active_one_when_it_is_due(
    fleets: Callable[..., Fleet], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiving, "_CLEAR_AFTER", 0.0)
    monkeypatch.setattr(receiving, "_ASK_INTERVAL", 0.1)
    fleet = fleets("L22", customers=["c1"])
    first, second = fleet.relay("first", parked_retry_interval=0.05), fleet.relay("second")
    host = fleet.host()
    ids = track(host, 3, customer_id="later")
    assert host.drain(PATIENCE).complete
    first.start()
    fleet.wait_for(lambda: first.stats().parked == 3, "three parked events")
    first.stop()
    second.start()
    ids += track(host, 1)
    assert host.drain(PATIENCE).complete
    fleet.wait_for(lambda: fleet.lotus.event_count == 1, "the second one to be active")
    fleet.lotus.add_customer("later")
    first.start()
    fleet.wait_until_stored(ids)
    stats = first.stats()
    assert (stats.accepted, stats.handed_over, stats.parked) == (3, 3, 0)
    assert conserved(stats)


def test_nothing_that_the_broker_says_to_a_relay_that_stands_by_is_left_unread(
    fleets: Callable[..., Fleet], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library reads one thing before each publish: after an alarm and its end, that of many marks before."""
    publishers: list[Publisher] = []

    class Noted(Publisher):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            publishers.append(self)

    fleet = fleets()
    first = fleet.relay("first").start()
    fleet.wait_for(lambda: first.state() == ("idle", None), "the first relay to be active")
    monkeypatch.setattr(receiving, "_ASK_INTERVAL", 0.5)
    monkeypatch.setattr(receiving, "Publisher", Noted)
    second = fleet.relay("second").start()
    fleet.wait_for(second.stands_by, "the second relay to stand by")
    broker = fleet.broker.running()
    for limit in ("0.000001", "0.4") * 2:
        broker.ctl("set_vm_memory_high_watermark", limit)

    def is_read() -> bool:
        line = publishers[0]._line
        waiting = select.select([line.connection.sock], [], [], 0)[0] if line is not None else []
        return line is not None and not line.is_dropped and not waiting and not line.unconfirmed

    wait_until(is_read, "all that was said to be read", PATIENCE)
    assert second.stands_by()


@pytest.mark.servers
def test_the_rights_that_the_page_gives_are_enough_for_hosts_relays_and_a_drain_through_them(
    fleets: Callable[..., Fleet],
) -> None:
    fleet = fleets()
    page = (Path(__file__).parents[2] / "docs" / "fleets.md").read_text()
    rights = re.search(r"set_permissions -p billing lotus \\\n\s+'(.*)' '(.*)' '(.*)'", page)
    assert rights is not None
    broker = fleet.broker.running()
    broker.ctl("add_vhost", "billing")
    broker.ctl("add_user", "lotus", "a secret")
    broker.ctl("set_permissions", "-p", "billing", "lotus", *rights.groups())
    url = f"amqp://lotus:a%20secret@{broker.address}:{broker.port}/billing"
    host, relay = fleet.host(relay_url=url), fleet.relay(relay_url=url)
    ids = track(host, 3)
    assert host.drain(PATIENCE).complete
    relay.start()
    assert host.drain(PATIENCE, through=True).complete
    assert set(ids) == fleet.lotus.database


def test_a_relay_whose_password_is_refused_says_so_and_the_password_stands_nowhere(
    fleets: Callable[..., Fleet],
) -> None:
    fleet = fleets()
    relay = fleet.relay(relay_url=fleet.broker.url(fleet.queue).replace("guest:guest", "guest:hidden")).start_process()
    fleet.wait_for(lambda: relay.state()[0] == "blocked", "the relay to say why")
    assert "refuses the user or the password" in (relay.state()[1] or "")
    relay.stop()
    files = [path for path in fleet.folder.rglob("*") if path.is_file()]
    assert [path.name for path in files if path.name == "relay.log"]
    assert [path.name for path in files if b"hidden" in path.read_bytes()] == []


def test_a_queue_that_was_made_without_a_single_active_consumer_is_not_received_from(
    fleets: Callable[..., Fleet],
) -> None:
    fleet = fleets()
    fleet.declare({"x-queue-type": "quorum", "x-delivery-limit": 50})
    host, relay = fleet.host(), fleet.relay(probe_interval=60.0).start()
    track(host, 1)
    assert host.drain(PATIENCE).complete
    fleet.wait_for(lambda: relay.state()[0] == "blocked", "the relay to say why")
    assert "without x-single-active-consumer" in (relay.state()[1] or "")
    assert fleet.lotus.event_count == 0


def test_to_find_out_how_a_queue_was_made_takes_nothing_from_it_however_often(fleets: Callable[..., Fleet]) -> None:
    fleet = fleets()
    fleet.declare({"x-queue-type": "quorum", "x-delivery-limit": 1, "x-max-length": 9})
    host = fleet.host()
    track(host, 1)
    assert host.drain(PATIENCE).complete
    for _ in range(4):
        with pytest.raises(BrokerTrouble, match="without x-single-active-consumer"):
            Session(fleet.address, fleet.address.nodes[0], Mock(), requeue_after=PATIENCE)
    opened = Opened(fleet.address, fleet.address.nodes[0])
    assert opened.declare() == {"x-queue-type": "quorum", "x-delivery-limit": 1, "x-max-length": 9}
    opened.drop()
    fleet.wait_for(lambda: fleet.count_messages() == 1, "the message to be in the queue")


def test_a_queue_that_was_made_otherwise_with_a_single_active_consumer_is_received_from(
    fleets: Callable[..., Fleet],
) -> None:
    fleet = fleets()
    fleet.declare({"x-queue-type": "quorum", "x-single-active-consumer": True})
    host = fleet.host()
    fleet.relay().start()
    ids = track(host, 1)
    assert host.drain(PATIENCE).complete
    fleet.wait_until_stored(ids)


def test_while_the_broker_takes_nothing_for_its_alarm_hosts_say_so_and_relays_go_on_and_empty_it(
    fleets: Callable[..., Fleet],
) -> None:
    fleet = fleets()
    host = fleet.host()
    ids = track(host, 600)
    assert host.drain(PATIENCE).complete
    broker = fleet.broker.running()
    broker.ctl("set_vm_memory_high_watermark", "0.000001")
    try:
        fleet.relay().start()
        fleet.wait_until_stored(ids)
        ids += track(host, 2)
        assert drained_until_told(host, "the broker takes nothing now, for its alarm").remaining == 2
    finally:
        broker.ctl("set_vm_memory_high_watermark", "0.4")
    assert host.drain(PATIENCE).complete
    fleet.wait_until_stored(ids)
