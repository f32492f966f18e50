"""Threads and forks: whose connection it is, and that nobody gets another's answer."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from lotus_durable.calls import connections as connections_module
from lotus_durable.calls.connections import Connections
from lotus_durable.client import Client
from lotus_durable.config import Config
from lotus_durable.http.answer import NoAnswer
from lotus_durable.http.connection import Connection
from lotus_durable.testing import FakeLotus, FakeLotusProcess
from tests.delivery.scripted_server import LIMIT, ScriptedServer, says, stays_silent
from tests.http.conftest import open_sockets

from .conftest import KEY, Connect

pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # from 3.12 on: there are threads


def fork_without_hooks() -> int:
    """Fork as C does: no hook of ours or anybody else's runs."""
    child: int = ctypes.PyDLL(None).fork()
    return child


def in_child(work: Callable[[], None], fork: Callable[[], int] = os.fork) -> int:
    """Fork a child that does this and ends with 0 if it did; return its pid."""
    child = fork()
    if child == 0:
        status = 1
        signal.alarm(int(LIMIT))  # ends a child that waits
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return child


def exit_code(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_one_thread_uses_one_connection_for_all_its_calls(connect: Connect) -> None:
    with ScriptedServer(says(200, b"[]")) as server:
        client = connect(server, api_version="2022")
        for _ in range(5):
            client.list_customers()
            client.list_plans()
        client.release()
    assert {request.connection for request in server.requests} == {1}


def test_what_must_not_be_sent_twice_gets_a_connection_of_its_own(connect: Connect) -> None:
    with ScriptedServer(says(200, b"[]"), says(201), says(200, b"[]")) as server:
        client = connect(server, api_version="2022")
        client.list_customers()
        client.create_subscription(customer_id="c", plan_id="p", start_date="2024-01-01")
        client.list_customers()
        client.release()
    assert [request.connection for request in server.requests] == [1, 2, 2]


def test_threads_never_share_a_connection_or_an_answer(l24: FakeLotus, connect: Connect) -> None:
    client = connect(l24, api_version="2024")
    for number in range(8):
        l24.add_customer(f"c{number}")
    wrong: list[object] = []
    barrier = threading.Barrier(8)

    def work(number: int) -> None:
        barrier.wait()
        for _ in range(15):
            try:
                found = client.get_customer(customer_id=f"c{number}")["customer_id"]
                if found != f"c{number}":
                    wrong.append(found)
            except Exception as error:  # noqa: BLE001  # a test's oracle
                wrong.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_forked_child_leaves_the_parents_connection_alone(l24: FakeLotus, connect: Connect) -> None:
    client = connect(l24, api_version="2024")
    client.list_customers()
    inherited = connected(client)
    assert inherited

    def work() -> None:
        assert not inherited & open_sockets()  # let go of at the fork, not at the first call
        for _ in range(3):
            client.ping()
        client.release()

    assert exit_code(in_child(work)) == 0
    client.list_customers()
    assert connected(client) == inherited


def test_a_child_of_a_fork_without_hooks_leaves_it_alone_too(connect: Connect) -> None:
    # The server is a process of its own: a thread that wants the interpreter lock would be missed in the child.
    with FakeLotusProcess("L24", api_key=KEY) as server:
        client = connect(server, api_version="2024")
        client.list_customers()
        inherited = connected(client)

        def work() -> None:
            client.ping()  # the first call in it notices
            assert not inherited & open_sockets()
            client.release()

        assert exit_code(in_child(work, fork_without_hooks)) == 0
        client.list_customers()
        assert connected(client) == inherited
        client.release()


def connected(client: Client) -> set[str]:
    """Return the sockets of a client's idle connections."""
    routes = [connection._route for connection in client.caller()._connections._idle]
    found = [each.channel.sock for each in routes if each is not None]
    return {os.readlink(f"/proc/self/fd/{one.fileno()}") for one in found if one is not None}


def test_children_forked_while_threads_call_can_call_themselves(l24: FakeLotus, connect: Connect) -> None:
    client = connect(l24)
    l24.add_customer("c1")
    stop, wrong = threading.Event(), list[object]()

    def work() -> None:
        while not stop.is_set():
            try:
                assert client.get_customer(customer_id="c1")["customer_id"] == "c1"
            except Exception as error:  # noqa: BLE001  # a test's oracle
                wrong.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()

    def as_child() -> None:
        for _ in range(3):
            assert client.get_customer(customer_id="c1")["customer_id"] == "c1"

    children = [in_child(as_child) for _ in range(10)]
    assert [exit_code(child) for child in children] == [0] * 10
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_child_knows_what_its_parent_found_out(l24: FakeLotus, connect: Connect) -> None:
    client = connect(l24)
    client.list_customers()

    def work() -> None:
        client.list_customers()

    assert exit_code(in_child(work)) == 0
    assert [request.path for request in l24.requests].count("/api/ping/") == 1


def test_a_client_that_was_shut_down_can_call_again(l24: FakeLotus, connect: Connect) -> None:
    client = connect(l24)
    for _ in range(2):
        client.ping()
        client.shutdown()


def test_a_call_that_ends_after_shutdown_leaves_no_connection_open(l24: FakeLotus, connect: Connect) -> None:
    client = connect(l24, api_version="2024")
    before = open_sockets()

    def shut_down_in_the_middle(_: float) -> None:
        client.release()
        l24.resume()

    l24.pause()
    client.caller()._pause = shut_down_in_the_middle
    client.ping()
    l24.wait_until(lambda: len(open_sockets() - before) <= 2, what="the server's side to be closed")
    assert client.ping()


# -- connections, one by one --


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[ScriptedServer], Connections]]:
    """Make connections to a server, of which two are kept; all are closed after the test."""
    monkeypatch.setattr(connections_module, "_MOST_IDLE", 2)
    made: list[Connections] = []

    def connections_to(server: ScriptedServer) -> Connections:
        made.append(Connections(Config("QUEUE", api_key=KEY, host=server.host)))
        return made[-1]

    yield connections_to
    for one in made:
        one.close()


def test_a_few_idle_connections_are_kept_and_the_others_closed(
    pool: Callable[[ScriptedServer], Connections],
) -> None:
    with ScriptedServer(says(200)) as server:
        connections = pool(server)
        opened: set[Connection] = set()
        connections._all = opened  # type: ignore[assignment]  # which forgets none
        barrier = threading.Barrier(5)

        def work() -> None:
            barrier.wait()
            connections.exchange("GET", "/", None, ends_at=float("inf"), idle_at_most=LIMIT)

        threads = [threading.Thread(target=work) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(connections._idle) <= 2
        assert sum(connection._route is not None for connection in opened) == len(connections._idle)
        connections.close()
        assert connections._idle == []
        connections.exchange("GET", "/", None, ends_at=float("inf"), idle_at_most=LIMIT)
        assert connections._idle == []
        assert all(connection._route is None for connection in opened)


def test_a_connection_whose_use_raises_is_not_lost(pool: Callable[[ScriptedServer], Connections]) -> None:
    with ScriptedServer(says(200)) as server:
        connections = pool(server)
        with pytest.raises(TypeError):
            connections.exchange("GET", 5, None, ends_at=float("inf"), idle_at_most=LIMIT)  # type: ignore[arg-type]
        assert connections._idle == list(connections._all) != []


def test_a_deadline_also_ends_a_read_that_has_begun() -> None:
    with ScriptedServer(stays_silent) as server:
        connection = Connection(server.host, KEY, read_timeout=LIMIT)
        answer = connection.exchange("GET", "/", ends_at=time.monotonic() + 1.0)
    assert isinstance(answer, NoAnswer)
    assert (answer.timed_out, answer.sent) == (True, True)


def test_with_no_time_left_nothing_is_sent() -> None:
    with ScriptedServer(says(200)) as server:
        connection = Connection(server.host, KEY)
        answer = connection.exchange("GET", "/", ends_at=0.0)
    assert server.connections == 0
    assert "no time left" in repr(answer)
