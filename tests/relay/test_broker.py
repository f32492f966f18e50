"""The broker that other tests rely on: what they do to it, it survives or does not, as a real one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import amqp
import pytest
from amqp.exceptions import MessageNacked

from tests.rig import wait_until

from .broker import Cluster, Network, why_not

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())
QUORUM = {"x-queue-type": "quorum"}


@pytest.fixture
def connect() -> Iterator[Callable[..., Any]]:
    """Return a function that gives a connection whose channels confirm; all are dropped after the test."""
    connections: list[Any] = []

    def connect(url: str, **options: Any) -> Any:
        parts = urlsplit(url)
        address = f"{parts.hostname}:{parts.port}"
        connection = amqp.Connection(address, parts.username, parts.password, confirm_publish=True, **options)
        connections.append(connection)
        connection.connect()
        return connection

    yield connect
    for each in connections:
        each.collect()


def publish(connection: Any, queue: str, body: str) -> None:
    """Publish until it is confirmed, each time on a new channel: one that met a queue without a leader is no good."""

    def is_confirmed() -> bool:
        message = amqp.Message(body, delivery_mode=2)
        channel = connection.channel()
        try:
            channel.basic_publish(message, routing_key=queue, mandatory=True, confirm_timeout=30)
        except MessageNacked:
            return False
        finally:
            channel.close()
        return True

    wait_until(is_confirmed, "the confirmation", 60.0)


_REACH = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 0.5)"


def take(connection: Any, queue: str) -> str | None:
    message = connection.channel().basic_get(queue, no_ack=True)
    return None if message is None else str(message.body)


def test_one_node_serves_the_whole_session(broker: Cluster, connect: Callable[..., Any], queue_name: str) -> None:
    connection = connect(broker.urls()[0])
    connection.channel().queue_declare(queue_name, durable=True, auto_delete=False, arguments=QUORUM)
    publish(connection, queue_name, "one")
    assert broker.leader_of(queue_name) is broker.nodes[0]
    assert broker.node_of(os.getpid()) is broker.nodes[0]
    assert take(connection, queue_name) == "one"


def test_it_ends_with_the_process_that_started_it_also_when_that_is_killed(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from tests.relay.broker import Cluster\n"
        "node = Cluster(Path(sys.argv[1])).nodes[0]; node.start(wait=False); print(node.pid, flush=True); time.sleep(9)"
    )
    starter = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE)
    assert starter.stdout is not None
    pid = int(starter.stdout.readline())
    wait_until(lambda: "beam" in Path(f"/proc/{pid}/comm").read_text(), "the node to be one")
    starter.kill()
    starter.communicate()
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), "the node to end")


@pytest.mark.servers
@pytest.mark.skipif(bool(Network.why_not()), reason=Network.why_not())
def test_of_three_nodes_two_keep_what_is_confirmed_whether_one_is_killed_stopped_or_cut_off(
    tmp_path: Path, connect: Callable[..., Any]
) -> None:
    with Cluster(tmp_path, size=3, parties=1) as cluster:
        connection = connect(cluster.urls()[0])
        connection.channel().queue_declare("q", durable=True, auto_delete=False, arguments=QUORUM)
        publish(connection, "q", "one")
        first = cluster.leader_of("q")
        first.kill()
        others = [node for node in cluster.nodes if node is not first]
        connection = connect(cluster.urls()[others[0].number])
        publish(connection, "q", "two")
        first.start()

        cluster.network.part([others[1]], [others[0], first])
        publish(connection, "q", "three")
        reach = [*cluster.network.inside(0), sys.executable, "-c", _REACH, others[0].address, str(others[0].port)]
        assert subprocess.run(reach, check=False).returncode == 0
        cluster.network.cut(0)
        assert subprocess.run(reach, check=False).returncode != 0
        cluster.network.heal()
        others[1].send(signal.SIGSTOP)
        publish(connection, "q", "four")
        others[1].send(signal.SIGCONT)
        taken = {take(connection, "q") for _ in range(20)}  # a confirmation that was lost makes one more
        assert taken >= {"one", "two", "three", "four"}
