"""Requests and answers over real loopback connections."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from urllib3.util import wait_for_read

from lotus_durable._version import __version__
from lotus_durable.delivery.lotus import EMPTY_BATCH
from lotus_durable.http.answer import Answer, NoAnswer
from lotus_durable.http.steps import result_of
from tests.delivery.scripted_server import (
    BODY,
    KEY,
    LIMIT,
    HttpTransport,
    Reply,
    ScriptedServer,
    hangs_up,
    resets,
    says,
    sends,
    talking,
)

from .conftest import open_sockets


def test_a_request_is_what_both_servers_take() -> None:
    with talking(says(201, b'{"success": "all"}', "Content-Type: application/json; charset=UTF-8")) as (
        server,
        transport,
    ):
        came_back = transport.post_batch(BODY)
    assert came_back == Answer(201, "application/json; charset=UTF-8", b'{"success": "all"}')
    (request,) = server.requests
    assert request.line == "POST /api/track/ HTTP/1.1"
    assert request.body == BODY
    assert request.headers == {
        "host": server.host.removeprefix("http://"),
        "x-api-key": KEY,
        "content-type": "application/json",
        "content-length": str(len(BODY)),
        "accept": "application/json",
        "accept-encoding": "identity",
        "user-agent": f"lotus-durable/{__version__}",
    }


def test_a_probe_is_an_empty_batch() -> None:
    with talking(says(400, b'{"success": "none", "failed_events": {}}')) as (server, transport):
        came_back = transport.post_batch(EMPTY_BATCH)
    assert isinstance(came_back, Answer)
    assert came_back.status == 400
    assert json.loads(server.requests[0].body) == {"batch": []}


@pytest.mark.parametrize(
    ("added", "path"),
    [("", "/api/track/"), ("/", "/api/track/"), ("/lotus", "/lotus/api/track/"), ("/a/b//", "/a/b/api/track/")],
)
def test_a_host_may_end_in_a_slash_or_a_path(added: str, path: str) -> None:
    with ScriptedServer(says(201)) as server:
        transport = HttpTransport(server.host + added, KEY)
        transport.post_batch(BODY)
        transport.close()
    assert server.requests[0].line == f"POST {path} HTTP/1.1"


def test_one_connection_serves_many_requests() -> None:
    with talking(says(201)) as (server, transport):
        for _ in range(5):
            transport.post_batch(BODY)
    assert [request.connection for request in server.requests] == [1] * 5


def test_after_close_the_next_request_opens_another_connection() -> None:
    with talking(says(201)) as (server, transport):
        transport.close()
        transport.post_batch(BODY)
        transport.close()
        transport.close()
        transport.post_batch(BODY)
    assert [request.connection for request in server.requests] == [1, 2]


def test_close_closes_the_connection_at_once() -> None:
    with talking(says(201)) as (server, transport):
        transport.post_batch(BODY)
        assert not server.left.is_set()
        transport.close()
        assert server.left.wait(LIMIT)


def test_cookies_are_not_kept() -> None:
    with talking(says(201, b"{}", "Set-Cookie: sessionid=1; Path=/")) as (server, transport):
        transport.post_batch(BODY)
        transport.post_batch(BODY)
    assert "cookie" not in server.requests[1].headers


def test_an_answer_without_a_content_type_has_an_empty_one() -> None:
    with talking(sends(b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}")) as (_, transport):
        assert transport.post_batch(BODY) == Answer(201, "", b"{}")


def test_a_chunked_answer_is_put_together() -> None:
    chunks = b'9\r\n{"success\r\n9\r\n": "all"}\r\n0\r\n\r\n'
    head = b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    with talking(sends(head + chunks, keep=True)) as (server, transport):
        for _ in range(2):
            assert transport.post_batch(BODY) == Answer(201, "application/json", b'{"success": "all"}')
    assert server.connections == 1


def test_of_an_endless_answer_only_the_beginning_is_read() -> None:
    def floods(_: ScriptedServer, connection: object) -> bool:
        connection.sendall(b"HTTP/1.1 404 Not Found\r\n\r\n")  # type: ignore[attr-defined]  # a socket
        while True:
            connection.sendall(b"spam" * 100_000)  # type: ignore[attr-defined]  # ends when the client closes

    with talking(floods, says(201)) as (server, transport):
        came_back = transport.post_batch(BODY)
        assert isinstance(came_back, Answer)
        assert came_back.status == 404
        assert len(came_back.body) == 256 * 1024 + 500 * 4 * 1024
        assert isinstance(transport.post_batch(BODY), Answer)
    assert server.connections == 2


# -- a connection that was closed while idle --


@pytest.mark.parametrize("goes_stale", [hangs_up, resets])
def test_a_request_that_meets_a_closed_connection_may_have_been_read_and_is_not_sent_again(goes_stale: Reply) -> None:
    with talking(says(201, b"1"), goes_stale, says(201, b"2")) as (server, transport):
        assert transport.post_batch(BODY) == Answer(201, "application/json", b"1")
        came_back = transport.post_batch(BODY)
        assert isinstance(came_back, NoAnswer)
        assert (came_back.sent, came_back.was_kept, came_back.timed_out) == (True, True, False)
        assert transport.post_batch(BODY) == Answer(201, "application/json", b"2")
    assert [request.connection for request in server.requests] == [1, 1, 2]


@pytest.mark.parametrize(("idle_at_most", "connections"), [(LIMIT, [1, 1, 1]), (0.0, [1, 2, 3])])
def test_a_connection_idle_for_longer_than_asked_is_not_used(idle_at_most: float, connections: list[int]) -> None:
    with talking(says(201), idle_at_most=idle_at_most) as (server, transport):
        transport.post_batch(BODY)
        transport.post_batch(BODY)
        result_of(transport.posting(BODY))
    assert [request.connection for request in server.requests] == connections


def test_a_connection_closed_long_ago_is_no_outage() -> None:
    with talking(says(201, keep=False)) as (server, transport):
        for _ in range(3):
            assert isinstance(transport.post_batch(BODY), Answer)
            route = transport._route
            assert route is not None
            assert wait_for_read(route.channel.sock, LIMIT), "the server closes it"
    assert [request.connection for request in server.requests] == [1, 2, 3]


def test_a_fresh_connection_that_fails_was_not_kept_open() -> None:
    with talking(hangs_up) as (server, transport):
        came_back = transport.post_batch(BODY)
    assert isinstance(came_back, NoAnswer)
    assert not came_back.was_kept
    assert len(server.requests) == 1


@pytest.mark.parametrize("beginning", [b"HTTP/1.1 20", b"HTTP/1.1 201 Created\r\nContent-Length: 9\r\n\r\n{"])
def test_an_answer_that_breaks_off_is_none_and_says_that_the_request_was_read(beginning: bytes) -> None:
    with talking(says(201), sends(beginning)) as (server, transport):
        transport.post_batch(BODY)
        came_back = transport.post_batch(BODY)
    assert len(server.requests) == 2
    assert isinstance(came_back, NoAnswer)
    assert came_back.sent
    assert not came_back.was_kept


def test_what_an_application_raises_in_the_middle_leaves_no_connection_on_which_the_answer_could_come() -> None:
    def interrupts(server: ScriptedServer, _: socket.socket) -> bool:
        os.kill(os.getpid(), signal.SIGUSR1)
        server.left.wait(LIMIT)
        return False

    def raises(*_: object) -> None:
        raise LookupError("of the application's")

    before = signal.signal(signal.SIGUSR1, raises)
    try:
        with talking(says(201), interrupts, says(201, b"[]")) as (server, transport):
            transport.post_batch(BODY)
            with pytest.raises(LookupError):
                transport.post_batch(BODY)
            server.left.set()
            assert transport.post_batch(BODY) == Answer(201, "application/json", b"[]")
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert [request.connection for request in server.requests] == [1, 1, 2]


# -- fork --


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # from 3.12 on: the server has a thread
@pytest.mark.parametrize("at_once", [True, False], ids=["by a fork hook", "by the next request"])
def test_a_forked_child_opens_its_own_connection_and_leaves_the_parents_alone(at_once: bool) -> None:
    with talking(says(201)) as (server, transport):
        transport.post_batch(BODY)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                inherited = open_sockets()
                if at_once:
                    transport.abandon()
                    transport.abandon()
                    assert open_sockets() < inherited
                assert isinstance(transport.post_batch(BODY), Answer)
                transport.close()
                status = 0
            finally:
                os._exit(status)
        _, wait_status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(wait_status) == 0
        transport.abandon()
        transport.post_batch(BODY)
    assert [request.connection for request in server.requests] == [1, 2, 1]


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_closing_in_a_forked_child_leaves_the_parents_tls_connection_usable(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    with talking(says(201), tls=certificate) as (server, transport):
        assert isinstance(transport.post_batch(BODY), Answer)
        child = os.fork()
        if child == 0:
            transport.close()
            os._exit(0)
        os.waitpid(child, 0)
        assert isinstance(transport.post_batch(BODY), Answer)
    assert [request.connection for request in server.requests] == [1, 1]


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_opens_no_file_for_tls_and_takes_no_lock_of_the_parents_context(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    with talking(says(201), tls=certificate) as (server, transport):
        assert isinstance(transport.post_batch(BODY), Answer)
        certificate.unlink()
        parents = transport._routes._adapter
        child = os.fork()
        if child == 0:
            signal.alarm(int(LIMIT))  # ends a child that waits
            is_answered = isinstance(transport.post_batch(BODY), Answer)
            os._exit(0 if is_answered and transport._routes._adapter != parents else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert [request.connection for request in server.requests] == [1, 2]


@pytest.mark.parametrize("module", ["answer", "backoff"])
def test_what_judges_answers_imports_nothing_heavy(module: str) -> None:
    code = (
        f"import sys, lotus_durable.http.{module}, lotus_durable.delivery.verdict, lotus_durable.delivery.wire\n"
        "sys.exit(' '.join({'requests', 'urllib3', 'http.client', 'orjson', 'sqlite3'} & set(sys.modules)) or None)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_fork_in_the_middle_of_a_tls_handshake_leaves_the_child_without_the_socket() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        transport = HttpTransport(f"https://127.0.0.1:{server.getsockname()[1]}", "test-key", connect_timeout=2.0)
        thread = threading.Thread(target=result_of, args=(transport.posting(BODY),), daemon=True)
        thread.start()
        accepted, _ = server.accept()
        with accepted:
            assert accepted.recv(1) == b"\x16", "no TLS handshake"
            child = os.fork()
            if child == 0:
                before = sockets()
                transport.abandon()
                os._exit(len(before) - len(sockets()))
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
            assert thread.is_alive(), "the parent's handshake goes on"
        thread.join(20)
    transport.close()


def sockets() -> list[str]:
    found = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                found.append(name)
    return found
