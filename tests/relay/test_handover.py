"""A host hands over to a real broker: what is confirmed is handed over, what is not stays on its disk."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from math import inf, isfinite
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import amqp
import pytest

from lotus_durable.client import Client
from lotus_durable.config import Config
from lotus_durable.errors import ConfigurationError
from lotus_durable.queue.identity import fingerprint
from lotus_durable.relay import publisher
from lotus_durable.relay.address import BrokerTrouble, address_of
from lotus_durable.relay.message import decode
from tests.rig import LIMIT, QUICK, conserved, drained_until_told, id_of, track, wait_until

from .broker import Cluster, why_not

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())


@pytest.fixture
def host(tmp_path: Path, broker: Cluster, queue_name: str) -> Iterator[Callable[..., Client]]:
    """Return a function that gives clients of one host; they do not start a flusher, but flush in drain()."""
    clients: list[Client] = []

    def client(**options: Any) -> Client:
        settings = {
            "queue_dir": tmp_path / "host",
            "relay_url": broker.url(queue_name),
            "flusher": "external",
            "on_error": lambda *_: None,
            **options,
        }
        clients.append(Client.from_config(Config.resolve(settings)._replace(constants=QUICK)))
        return clients[-1]

    yield client
    for each in clients:
        each.release()


def take(broker: Cluster, queue: str, last: str) -> list[bytes]:
    """Take the bodies out of a queue, up to that with the event of this id."""
    address = address_of(broker.url(queue))
    found: list[bytes] = []
    with amqp.Connection(str(address.nodes[0]), address.user, address.password) as connection:
        channel = connection.channel()
        channel.auto_decode = False
        channel.basic_consume(queue, no_ack=True, callback=lambda message: found.append(message.body))
        while last not in ids_in(found):
            connection.drain_events(timeout=LIMIT)
    return found


def ids_in(bodies: list[bytes]) -> list[str]:
    found = []
    for body in bodies:
        found += [id_of(record) for record in decode(body).records]
    return found


def test_what_the_broker_has_confirmed_is_handed_over_and_neither_pending_nor_delivered(
    host: Callable[..., Client], broker: Cluster, queue_name: str
) -> None:
    client = host(api_key="a key")
    ids = track(client, 1200)
    report = client.drain(30)
    stats = client.stats()
    assert (report.complete, report.handed_over, report.delivered, report.remaining) == (True, 1200, 0, 0)
    assert (stats.accepted, stats.handed_over, stats.delivered, stats.pending) == (1200, 1200, 0, 0)
    assert conserved(stats)
    bodies = take(broker, queue_name, ids[-1])
    assert ids_in(bodies) == ids
    assert [len(ids_in([body])) for body in bodies] == [500, 500, 200]
    assert decode(bodies[0]).key == fingerprint("a key")


def test_a_confirm_is_waited_for_twice_as_long_each_time_that_it_did_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    tried = publisher.Publisher(address_of("amqp://one"))

    def waited(confirmed_after: float) -> float:
        nonlocal now
        began = now

        def drain(timeout: float) -> bool:
            nonlocal now
            now += timeout
            if now - began < confirmed_after:
                return False
            line.unconfirmed.clear()
            return True

        line = Mock(unconfirmed={1}, blocked_by=None, drain=drain)
        with nullcontext() if isfinite(confirmed_after) else pytest.raises(BrokerTrouble):
            tried.wait(publisher.Sent(line, 1), lambda _: None)
        return now - began

    monkeypatch.setattr(publisher, "monotonic", lambda: now)
    assert [int(waited(inf)) for _ in range(5)] == [10, 20, 40, 60, 60]
    assert int(waited(confirmed_after=50.0)) == 50
    assert int(waited(inf)) == 10


def test_a_confirm_is_taken_for_the_messages_that_it_is_for_and_for_no_other(broker: Cluster, queue_name: str) -> None:
    tried = publisher.Publisher(address_of(broker.url(queue_name)))
    line = tried._open()
    line.unconfirmed = {1, 2, 3, 4}
    [confirmed] = line.channel.events["basic_ack"]
    confirmed(2, True)
    assert line.unconfirmed == {3, 4}
    confirmed(4, False)
    assert line.unconfirmed == {3}
    tried.close()


def test_of_all_messages_whose_confirms_had_not_come_when_the_connection_was_lost_it_is_said_so(
    broker: Cluster, queue_name: str
) -> None:
    tried = publisher.Publisher(address_of(broker.url(queue_name)))
    # Not a second send(): the confirm of the first may come meanwhile.
    sent = [tried.send(b"one"), publisher.Sent(tried._open(), 2)]
    tried._open().unconfirmed.add(2)
    tried.close()
    for each in sent:
        with pytest.raises(BrokerTrouble, match="is lost"):
            tried.wait(each, lambda _: None)
    tried.wait(tried.send(b"three"), lambda _: None)
    tried.close()


def test_an_event_that_was_refused_at_the_call_becomes_a_dead_letter_of_the_host_and_is_not_handed_over(
    host: Callable[..., Client], broker: Cluster, queue_name: str
) -> None:
    client = host(on_invalid="report")
    client.track_event(customer_id="c1", event_name="e", properties={"x": float("nan")})
    ids = track(client, 2)
    assert client.drain(30).complete
    stats = client.stats()
    assert (stats.handed_over, stats.dead_lettered) == (2, 1)
    assert conserved(stats)
    assert ids_in(take(broker, queue_name, ids[-1])) == ids


def test_a_host_needs_no_api_key_and_its_own_flusher_hands_over(
    host: Callable[..., Client], broker: Cluster, queue_name: str
) -> None:
    client = host(flusher="auto")
    ids = track(client, 3)
    assert client.drain(30).complete
    assert ids_in(take(broker, queue_name, ids[-1])) == ids


def test_events_stay_while_the_broker_cannot_be_reached_and_flow_when_it_can(
    host: Callable[..., Client], broker: Cluster, queue_name: str
) -> None:
    client = host(relay_url=broker.url(queue_name).replace(f":{broker.nodes[0].port}", ":1"))
    ids = track(client, 5)
    assert drained_until_told(client, "no connection to the broker").remaining == 5
    assert host().drain(30).complete
    assert ids_in(take(broker, queue_name, ids[-1])) == ids


def test_where_the_library_is_not_installed_it_is_said_what_to_install(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['amqp'] = None; from lotus_durable import Client\n"
        "client = Client(queue_dir=sys.argv[1], relay_url='amqp://h', flusher='external', on_error=lambda *_: None)\n"
        "client.track_event(customer_id='c', event_name='e'); print(client.drain(5).reason)"
    )
    said = subprocess.check_output([sys.executable, "-c", program, str(tmp_path / "host")], text=True)
    assert "pip install 'lotus-durable[relay]'" in said


@pytest.mark.servers
def test_a_flusher_goes_on_when_the_broker_is_back_and_uses_no_connection_of_before(
    tmp_path: Path, host: Callable[..., Client]
) -> None:
    with Cluster(tmp_path / "broker") as own:
        [node] = own.nodes
        client = host(relay_url=own.url("q"), flusher="auto")
        ids = track(client, 1)
        assert client.drain(60).complete
        node.stop(signal.SIGTERM)
        ids += track(client, 5)
        assert not client.drain(1).complete
        node.start()
        assert client.drain(60).complete
        assert ids_in(take(own, "q", ids[-1])) == ids


def test_a_queue_that_is_full_refuses_and_takes_nothing_away_from_what_it_has_confirmed(
    host: Callable[..., Client], broker: Cluster, queue_name: str
) -> None:
    client = host(max_batch_events=1)
    ids = track(client, 1)
    assert client.drain(30).complete
    broker.set_policy('{"max-length": 1}', pattern=f"^{queue_name}$", name=queue_name)
    reasons: list[str] = []
    while not reasons:
        ids += track(client, 1)
        report = client.drain(1)
        reasons += [report.reason] if report.reason else []
    assert "the queue is full" in reasons[0]
    broker.running().ctl("clear_policy", queue_name)
    wait_until(lambda: client.drain(30).complete, "the broker to confirm", 60.0)
    assert ids_in(take(broker, queue_name, ids[-1])) == ids


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("guest:guest@", "guest:wrong@", "refuses the user or the password"),
        ("/%2F", "/nowhere", "vhost nowhere not found"),
    ],
)
def test_a_wrong_password_or_vhost_blocks_with_the_reason_at_once_and_no_password_is_told(
    host: Callable[..., Client], broker: Cluster, queue_name: str, before: str, after: str, said: str
) -> None:
    client = host(relay_url=broker.url(queue_name).replace(before, after))
    track(client, 1)
    report = client.drain(30)
    assert said in (report.reason or "")
    assert "wrong" not in (report.reason or "")
    assert "guest" not in f"{client!r} {client.config!r}"


def test_a_queue_that_somebody_else_has_made_otherwise_is_used_as_it_is(
    host: Callable[..., Client], broker: Cluster, queue_name: str
) -> None:
    address = address_of(broker.url(queue_name))
    with amqp.Connection(str(address.nodes[0]), address.user, address.password) as connection:
        arguments = {"x-queue-type": "quorum", "x-delivery-limit": 50}
        connection.channel().queue_declare(queue_name, durable=True, auto_delete=False, arguments=arguments)
    client = host()
    ids = track(client, 2)
    assert client.drain(30).complete
    assert ids_in(take(broker, queue_name, ids[-1])) == ids


@pytest.mark.parametrize(
    "url",
    [
        "amqp://h:x",
        "amqp://h:0",
        "amqp://",
        "amqp://h1/a,h2/b",
        "amqp://u:p@h1,w:p@h2",
        "amqp://h?quue=q",
        "http://h",
        "amqp://h h",
        "amqp://h1,",
        "amqp://u:p@h1..example.com",
    ],
)
def test_a_url_that_says_nothing_is_refused_without_quoting_it(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        address_of(str(Config.resolve({"relay_url": url, "queue_dir": "/nowhere"}).relay_url))
    assert "u:p" not in str(caught.value)


def test_a_url_names_every_node_and_what_has_a_meaning_in_it_is_escaped() -> None:
    address = address_of("amqps://me:p%40%2C@one/a%2Fb?queue=mine&cacertfile=/ca.pem,two:99,[::1]")
    assert [str(node) for node in address.nodes] == ["one:5671", "two:99", "[::1]:5671"]
    assert (address.user, address.password, address.vhost, address.queue) == ("me", "p@,", "a/b", "mine")
    assert address.files == {"ca_certs": "/ca.pem"}
    assert "p@" not in f"{address} {address!r}"
