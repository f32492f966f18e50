"""Relays that are killed, stopped and cut off: nothing is lost, and no two requests are at the server at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import Mock

import pytest

from lotus_durable.delivery.control import Renewed
from lotus_durable.relay.connection import ARGUMENTS
from lotus_durable.relay.message import mark
from lotus_durable.relay.session import PROOF_AGE, Session
from lotus_durable.testing.faults import Delay, Faults
from tests.flusher.lotus import WatchedLotus
from tests.rig import TRACK, track, wait_until

from .broker import Cluster, Network, why_not
from .fleet import PATIENCE, Fleet, Relay

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())


@pytest.fixture
def lotus() -> Iterator[WatchedLotus]:
    """A server of 2022 whose every answer takes a while, so that a killed relay leaves a request running."""
    with WatchedLotus("L22", faults=Faults(rates={Delay(0.7): 1.0}, path=TRACK)) as server:
        yield server


@pytest.fixture
def fleet(tmp_path: Path, broker: Cluster, queue_name: str, lotus: WatchedLotus) -> Iterator[Fleet]:
    with Fleet(tmp_path, broker, queue_name, lotus) as fleet:
        yield fleet


def active_of(relays: list[Relay]) -> Relay | None:
    """Return the relay that sends."""
    return next((each for each in relays if each.state()[0] in ("sending", "retrying")), None)


@pytest.mark.servers
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_where_the_active_relay_is_killed_or_stopped_in_a_request_another_one_waits_and_goes_on(
    fleet: Fleet, lotus: WatchedLotus, number: signal.Signals
) -> None:
    relays = [fleet.relay(name, max_batch_events=20).start_process() for name in ("first", "second")]
    host = fleet.host(max_batch_events=20)
    ids = track(host, 200)
    assert host.drain(PATIENCE).complete
    fleet.wait_for(lambda: lotus.event_count > 0, "the first events")
    active = active_of(relays)
    assert active is not None
    assert active.process is not None
    sent = len(lotus.sent)
    wait_until(lambda: len(lotus.sent) > sent, "another request")
    os.kill(active.process.pid, number)
    ids += track(host, 50)
    assert host.drain(PATIENCE).complete
    fleet.wait_until_stored(ids)
    if number == signal.SIGSTOP:
        os.kill(active.process.pid, signal.SIGCONT)
    assert host.drain(PATIENCE, through=True).complete
    assert lotus.most_at_once() == 1
    assert set(ids) <= lotus.database


def test_what_a_host_had_sent_itself_before_it_got_a_relay_is_not_sent_again_while_it_may_be_in_flight(
    fleet: Fleet, lotus: WatchedLotus
) -> None:
    fleet.relay().start()
    other = fleet.host("other")
    track(other, 1)
    assert other.drain(PATIENCE, through=True).complete  # the relay waits for nobody any more
    by_itself = fleet.host(relay_url=None, flusher="auto")
    ids = track(by_itself, 1)
    wait_until(lambda: len(lotus.sent) == 2, "the request of the host")
    flusher = by_itself.stats().flusher
    assert flusher is not None
    os.kill(flusher.pid, signal.SIGKILL)
    assert fleet.host().drain(PATIENCE, through=True).complete
    assert set(ids) <= lotus.database
    assert lotus.most_at_once() == 1


def open_session(fleet: Fleet, lost: Callable[[str], None], node: int = 0) -> Session:
    return Session(fleet.address, fleet.address.nodes[node], Mock(renew=lost), requeue_after=PATIENCE)


@pytest.mark.servers
@pytest.mark.skipif(bool(Network.why_not()), reason=Network.why_not())
@pytest.mark.timeout(300)
def test_a_session_proves_that_a_majority_hears_it_and_not_when_two_of_three_nodes_are_gone(
    tmp_path: Path, lotus: WatchedLotus
) -> None:
    with ExitStack() as stack:
        own = stack.enter_context(Cluster(tmp_path / "broker", 3))
        fleet = stack.enter_context(Fleet(tmp_path, own, "q", lotus))
        reasons: list[str] = []
        session = open_session(fleet, reasons.append)
        stack.callback(session.close)
        session.prove()
        for node in own.nodes[1:]:
            node.send(signal.SIGSTOP)
        session._proved_at -= PROOF_AGE
        with pytest.raises(Renewed):
            session.prove()
        assert reasons
        for node in own.nodes[1:]:
            node.send(signal.SIGCONT)


@pytest.mark.servers
@pytest.mark.skipif(bool(Network.why_not()), reason=Network.why_not())
@pytest.mark.timeout(300)
def test_a_relay_that_stands_by_at_a_node_that_is_cut_off_goes_away_from_it(
    tmp_path: Path, lotus: WatchedLotus
) -> None:
    """As on 4.3, where nobody tells it: what is tracked meanwhile would wait for the end of the partition."""
    with ExitStack() as stack:
        own = stack.enter_context(Cluster(tmp_path / "broker", 3, "cluster_partition_handling = ignore\n"))
        fleet = stack.enter_context(Fleet(tmp_path, own, "q", lotus))
        reasons: list[str] = []
        session = open_session(fleet, reasons.append, node=2)
        stack.callback(session.close)
        own.network.part(own.nodes[2:], own.nodes[:2])
        wait_until(lambda: reasons, "the session to be over", PATIENCE)
        own.network.heal()


def test_a_proof_holds_for_a_while_and_a_lost_connection_ends_the_session_at_once(fleet: Fleet) -> None:
    reasons: list[str] = []
    session = open_session(fleet, reasons.append)
    try:
        session.prove()
        proved_at = session._proved_at
        session.prove()
        assert session._proved_at == proved_at, "it is young"
        session._proved_at -= PROOF_AGE
        session.prove()
        assert session._proved_at > proved_at
        fleet.broker.running().ctl("close_all_connections", "the test says so")
        wait_until(lambda: reasons, "the session to be over", PATIENCE)
        with pytest.raises(Renewed):
            session.prove()
    finally:
        session.close()


def test_another_copy_of_a_message_that_is_held_is_acknowledged_with_it_and_not_before(fleet: Fleet) -> None:
    """It may be the same one: 4.3 delivers anew what a relay holds whose node was cut off for a while."""
    open_session(fleet, lambda _: None).close()  # it makes the queue
    fleet.publish(b"twice", b"twice")
    session = open_session(fleet, lambda _: None)
    wait_until(lambda: [len(each.tags) for each in session._held.values()] == [2], "both copies", PATIENCE)
    assert session.take() is not None
    assert session.take() is None
    session.close()
    fleet.wait_for(lambda: fleet.count_messages() == 2, "both to be in the queue again")
    session = open_session(fleet, lambda _: None)
    wait_until(lambda: [len(each.tags) for each in session._held.values()] == [2], "both copies", PATIENCE)
    received = session.take()
    assert received is not None
    session.acknowledge(received.key)
    fleet.wait_for(lambda: fleet.count_messages() == 0, "both to be acknowledged")
    session.close()


def test_what_is_settled_while_it_is_given_back_is_acknowledged_when_it_comes_and_is_not_taken_for_a_new_one(
    fleet: Fleet,
) -> None:
    open_session(fleet, lambda _: None).close()  # it makes the queue
    bodies = [b"%d" % number for number in range(50)]
    fleet.publish(*bodies)
    session = Session(fleet.address, fleet.address.nodes[0], Mock(), requeue_after=0.05)
    try:
        wait_until(lambda: len(session._held) == len(bodies), "all to be held", PATIENCE)
        in_doubt_since = session.in_doubt_since
        keys = [received.key for _ in bodies if (received := session.take()) is not None]
        wait_until(
            lambda: not all(each.tags for each in tuple(session._held.values())), "some to be given back", pause=0.0005
        )
        for key in keys:
            session.acknowledge(key)
        wait_until(lambda: not session._held, "all to be acknowledged", PATIENCE)
        assert (session.take(), session.in_doubt_since) == (None, in_doubt_since)
        fleet.wait_for(lambda: fleet.count_messages() == 0, "the broker to have none of them")
    finally:
        session.close()


def test_a_message_that_the_broker_drops_while_it_is_given_back_keeps_no_other_from_being_acknowledged(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_session(fleet, lambda _: None).close()  # it makes the queue
    fleet.publish(b"dropped", b"kept")
    session = Session(fleet.address, fleet.address.nodes[0], Mock(), requeue_after=1.0)
    try:
        reject, rejected = session._channel.basic_reject, list[int]()

        def drop_the_first(tag: int, *, requeue: bool) -> None:
            rejected.append(tag)
            reject(tag, requeue=requeue and len(rejected) > 1)  # what a policy does to it

        monkeypatch.setattr(session._channel, "basic_reject", drop_the_first)
        wait_until(lambda: len(session._held) == 2, "both to be held", PATIENCE)
        keys = [received.key for _ in range(2) if (received := session.take()) is not None]
        wait_until(lambda: len(rejected) == 2 and session._held[keys[1]].tags, "one to be there again", PATIENCE)
        for key in keys:
            session.acknowledge(key)
        fleet.wait_for(lambda: fleet.count_messages() == 0, "the broker to have none of them")
        wait_until(lambda: list(session._held) == keys[:1], "the other to be acknowledged", PATIENCE)
    finally:
        session.close()


def test_a_session_that_was_not_heard_for_as_long_as_a_takeover_takes_is_over(fleet: Fleet) -> None:
    fleet.declare(ARGUMENTS)
    fleet.publish(mark())
    reasons: list[str] = []
    session = open_session(fleet, reasons.append)
    try:
        wait_until(lambda: session.in_doubt_since is not None, "a message", PATIENCE)
        session._proved_at -= 6.0
        wait_until(lambda: reasons, "the session to be over", PATIENCE)
        assert "has not heard this relay for too long" in reasons[0]
        with pytest.raises(Renewed):
            session.prove()
    finally:
        session.close()
