"""TLS to a broker, and what `doctor` finds out about one."""

from __future__ import annotations

import json
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import amqp
import pytest

from lotus_durable.client import Client
from lotus_durable.config import Config
from lotus_durable.operate import Answer
from lotus_durable.operate.broker_examination import examine_broker
from lotus_durable.relay.address import BrokerBlocked, BrokerTrouble, address_of
from lotus_durable.relay.connection import ARGUMENTS, Opened
from tests.flusher.tls import HttpsProxy
from tests.rig import QUICK, track, wait_until

from .broker import Cluster, why_not
from .fleet import PATIENCE

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())


@pytest.fixture
def tls(tmp_path: Path, broker: Cluster) -> Iterator[HttpsProxy]:
    """What ends TLS in front of the broker; its certificate is 127.0.0.1's."""
    [node, *_] = broker.nodes
    proxy = HttpsProxy(tmp_path, node.port, node.address)
    yield proxy
    proxy.close()


def handed_over(folder: Path, url: str, patience: float = PATIENCE) -> tuple[bool, str]:
    """Hand one event over; return whether that was done, and why not."""
    options = {"queue_dir": folder / "host", "relay_url": url, "flusher": "external", "on_error": lambda *_: None}
    client = Client.from_config(Config.resolve(options)._replace(constants=QUICK))
    try:
        track(client, 1)
        report = client.drain(patience)
        return report.complete, report.reason or ""
    finally:
        client.release()


def test_over_tls_the_certificate_and_the_name_of_the_host_are_checked(
    tls: HttpsProxy, tmp_path: Path, queue_name: str
) -> None:
    port = tls.host.rpartition(":")[2]
    ca = quote(str(tmp_path / "certificate.pem"))
    trusted = f"?queue={queue_name}&cacertfile={ca}"
    assert "is not accepted" in handed_over(tmp_path, f"amqps://guest:guest@127.0.0.1:{port}?queue={queue_name}")[1]
    by_another_name = handed_over(tmp_path, f"amqps://guest:guest@localhost:{port}{trusted}")[1]
    assert "is not accepted" in by_another_name
    assert "name the node in relay_url as its certificate does" in by_another_name
    assert handed_over(tmp_path, f"amqps://guest:guest@127.0.0.1:{port}{trusted}") == (True, "")


@pytest.mark.parametrize(
    "files", ["cacertfile=/nowhere.pem", "cacertfile=/etc", "cacertfile=/etc/passwd", "certfile=/etc/passwd"]
)
def test_a_file_for_tls_that_cannot_be_used_is_no_trouble_of_the_broker(tmp_path: Path, files: str) -> None:
    reason = handed_over(tmp_path, f"amqps://127.0.0.1:1?{files}", 5)[1]
    assert "a file of certificates that relay_url names cannot be used: " in reason


def test_a_port_without_tls_is_said_to_be_one(broker: Cluster, tmp_path: Path, queue_name: str) -> None:
    url = broker.url(queue_name).replace("amqp://", "amqps://")
    is_done, reason = handed_over(tmp_path, url)
    assert not is_done
    assert "no TLS with" in reason or "does not answer" in reason


class HttpAnswer(socketserver.BaseRequestHandler):
    """What a server of HTTP says to whatever it is asked; it waits for more."""

    def handle(self) -> None:
        self.request.recv(100)
        self.request.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        self.request.recv(100)


@pytest.fixture
def http_port() -> Iterator[int]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), HttpAnswer) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,)).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.mark.parametrize(
    ("scheme", "reason"),
    [
        ("amqp", "what answers at 127.0.0.1:{} is no AMQP broker: its own port is mostly 5672, or 5671 (TLS)"),
        ("amqps", "no TLS with 127.0.0.1:{} (WRONG_VERSION_NUMBER): name a port with TLS, or use amqp://"),
    ],
)
def test_a_port_of_http_is_said_to_be_none_of_a_broker_by_hosts_relays_and_doctor(
    http_port: int, tmp_path: Path, scheme: str, reason: str
) -> None:
    url, reason = f"{scheme}://guest:hidden@127.0.0.1:{http_port}", reason.format(http_port)
    is_done, said = handed_over(tmp_path, url, 3)
    assert not is_done
    assert reason in said
    command = [sys.executable, "-m", "lotus_durable", "doctor", "--queue-dir", str(tmp_path / "host")]
    environment = {"LOTUS_RELAY_URL": url, "LOTUS_API_KEY": "k", "LOTUS_HOST": "http://127.0.0.1:1", "PATH": ""}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert reason in ran.stdout
    command[3] = "relay"
    with (tmp_path / "log").open("w") as log:
        relay = subprocess.Popen(command, env=environment, stderr=log)
    try:
        wait_until(lambda: reason in (tmp_path / "log").read_text(), "the relay to say why", PATIENCE)
    finally:
        relay.terminate()
        relay.wait(PATIENCE)
    all_of_it = said + ran.stdout + ran.stderr + (tmp_path / "log").read_text()
    assert "hidden" not in all_of_it
    assert "Traceback" not in all_of_it


def test_a_port_of_tls_that_hangs_up_is_tried_again_soon_as_one_whose_broker_starts() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = address_of(f"amqps://127.0.0.1:{listener.getsockname()[1]}")

        def hang_up() -> None:
            with listener.accept()[0] as peer:
                peer.recv(10_000)

        threading.Thread(target=hang_up).start()
        with pytest.raises(BrokerTrouble, match="closes the connection: its own port is") as caught:
            Opened(address, address.nodes[0])
    assert not isinstance(caught.value, BrokerBlocked)


def answers(url: str) -> dict[str, Answer]:
    return {answer.about: answer for answer in examine_broker(Config.resolve({"relay_url": url, "queue_dir": "/none"}))}


def test_doctor_says_what_amqp_tells_and_what_is_to_be_looked_at_by_hand(broker: Cluster, queue_name: str) -> None:
    found = answers(broker.url(queue_name))
    assert found["broker"].mark == "ok"
    assert "RabbitMQ" in found["broker"].text
    assert found["cluster"].mark == "warning", "one node is no cluster"
    assert "cannot be asked" in found["policies"].text
    assert "net_ticktime = 8" in found["policies"].remedy


def test_doctor_makes_no_queue_and_says_who_makes_it_and_how(broker: Cluster, tmp_path: Path, queue_name: str) -> None:
    url = broker.url(queue_name)
    told = answers(url)["queue"]
    assert (told.mark, told.remedy) == ("ok", "")
    assert (
        "there is none yet; the first host that hands over, or relay, makes it, with x-queue-type quorum" in told.text
    )
    assert all(f"{name} {value}" in told.text for name, value in ARGUMENTS.items())
    assert queue_name not in broker.running().ctl("list_queues", "name").split()
    assert handed_over(tmp_path, url) == (True, "")
    assert answers(url)["queue"] == Answer("queue", "ok", f"{queue_name} in vhost /, with our arguments")


def test_doctor_says_by_amqp_what_a_queue_was_made_with_that_differs(broker: Cluster, queue_name: str) -> None:
    [node] = broker.nodes
    with amqp.Connection(f"{node.address}:{node.port}") as connection:
        connection.channel().queue_declare(queue_name, durable=True, auto_delete=False)
    config = Config.resolve({"relay_url": broker.url(queue_name), "queue_dir": "/none"})
    found = [each for each in examine_broker(config) if each.about == "queue"]
    named = [each.text.partition(" is ")[0] for each in found]
    assert named == ["x-queue-type", "x-single-active-consumer", "x-overflow"]
    assert {each.mark for each in found} == {"wrong"}


def test_doctor_says_that_a_delivery_limit_has_confirmed_messages_dropped_while_lotus_is_away(
    broker: Cluster, queue_name: str
) -> None:
    [node] = broker.nodes
    with amqp.Connection(f"{node.address}:{node.port}") as connection:
        made_with = {**ARGUMENTS, "x-delivery-limit": 5}
        connection.channel().queue_declare(queue_name, durable=True, auto_delete=False, arguments=made_with)
    told = answers(broker.url(queue_name))["queue"]
    assert told.mark == "wrong"
    assert told.text.startswith("x-delivery-limit is 5, not 1000000")
    assert "each comes back every 5 minutes" in told.text


def test_doctor_says_what_is_wrong_with_the_way_in(broker: Cluster, queue_name: str) -> None:
    found = answers(broker.url(queue_name).replace("guest:guest", "guest:hidden"))
    assert found["broker"] == Answer(
        "broker", "wrong", found["broker"].text, "docs/troubleshooting.md has a line for it"
    )
    assert "refuses the user or the password" in found["broker"].text
    assert "hidden" not in str(found)


def test_the_command_never_shows_the_password(broker: Cluster, tmp_path: Path, queue_name: str) -> None:
    url = broker.url(queue_name).replace("guest:guest", "guest:hidden")
    ran = subprocess.run(
        [sys.executable, "-m", "lotus_durable", "doctor", "--json", "--settings", "--queue-dir", str(tmp_path / "q")],
        env={"LOTUS_RELAY_URL": url, "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "hidden" not in ran.stdout + ran.stderr
    told = json.loads(ran.stdout)
    assert [each for each in told["answers"] if each["about"] == "broker"]
    assert not [each for each in told["answers"] if each["about"] == "server"], "a host that hands over asks none"


@pytest.mark.servers
def test_doctor_asks_the_management_api_for_arguments_and_policies(tmp_path: Path) -> None:
    own = Cluster(tmp_path / "broker")
    [node] = own.nodes
    (node.folder / "plugins").write_text("[rabbitmq_management].")
    with (node.folder / "rabbitmq.conf").open("a") as config:
        config.write(f"management.tcp.ip = {node.address}\nmanagement.tcp.port = 15672\n")
    with own:
        url = own.url("q")
        wait_until(lambda: "net_ticktime" in answers(url), "the node to have told its times", PATIENCE)
        found = answers(url)
        assert "there is none yet" in found["queue"].text
        wrong = answers(url.replace(str(node.port), "15672"))["broker"]
        assert wrong.text.endswith("closes the connection: its own port is mostly 5672, or 5671 (TLS)")
        assert "policies" not in found
        assert handed_over(tmp_path, url) == (True, "")
        wait_until(lambda: answers(url)["policies"].mark == "ok", "the management API to know the queue", PATIENCE)
        ticks = Answer("net_ticktime", "ok", "8 s")
        wait_until(lambda: answers(url).get("net_ticktime") == ticks, "the node to have told its times", PATIENCE)
        found = answers(url)
        assert found["queue"].text.startswith("1 of its 1 nodes are up")
        assert "pause_minority" in found["partition handling"].remedy
        own.set_policy('{"message-ttl": 1000}', pattern="^q$")
        wait_until(lambda: "message-ttl" in answers(url)["policies"].text, "the policy to be in force", PATIENCE)
        with amqp.Connection(f"{node.address}:{node.port}") as connection:
            arguments = {"x-queue-type": "quorum", "x-delivery-limit": 5}
            connection.channel().queue_declare("other", durable=True, auto_delete=False, arguments=arguments)
        other = own.url("other")
        wait_until(lambda: "queue" in answers(other), "the management API to know the other queue", PATIENCE)
        texts = [each.text for each in examine_broker(Config.resolve({"relay_url": other, "queue_dir": "/none"}))]
        for name in ("x-single-active-consumer", "x-overflow", "x-delivery-limit"):
            assert any(text.startswith(f"{name} is ") for text in texts), texts
