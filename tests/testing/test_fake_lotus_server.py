"""FakeLotus as a thing tests hold: coming, going, what it remembers, and plain HTTP."""

from __future__ import annotations

import os
import socket
import threading
import time

import pytest

from lotus_durable.testing import Delay, FakeLotus, Faults, Status, fake_lotus
from lotus_durable.testing import listener as listener_module

from .conftest import Connect, Event, Start

RESET = (ConnectionResetError, BrokenPipeError)


def exchange(server: FakeLotus, request: bytes) -> bytes:
    """Send bytes, then read until the server closes."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
        sock.sendall(request)
        sock.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: sock.recv(65_536), b""))


def test_one_connection_serves_many_requests(start: Start, connect: Connect, event: Event) -> None:
    client = connect(start())
    for i in range(5):
        client.track(event(f"id-{i}"))
        if i == 0:
            local_port = client.connection.sock.getsockname()
    assert client.connection.sock.getsockname() == local_port


def test_the_connection_closes_when_the_client_asks(start: Start, connect: Connect, event: Event) -> None:
    client = connect(start())
    answer = client.track(event("a"), headers={"Connection": "close"})
    assert answer.headers["Connection"] == "close"


def test_http_1_0_is_answered_and_closed(start: Start) -> None:
    answer = exchange(start(), b"GET /api/track/ HTTP/1.0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"Connection: close\r\n" in answer


def test_a_client_that_waits_to_continue_is_told_to(start: Start) -> None:
    server = start()
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
        sock.sendall(
            b"POST /api/track/ HTTP/1.1\r\nX-API-KEY: test-key\r\nContent-Type: application/json\r\n"
            b"Content-Length: 13\r\nExpect: 100-continue\r\n\r\n"
        )
        assert sock.recv(100).startswith(b"HTTP/1.1 100 Continue\r\n\r\n")
        sock.sendall(b'{"batch": []}')
        assert sock.recv(1000).startswith(b"HTTP/1.1 400 ")


def test_a_head_request_gets_no_body(start: Start, connect: Connect) -> None:
    client = connect(start("L22"))
    answer = client.request("HEAD", "/nowhere/")
    assert (answer.status, answer.body) == (404, b"")
    assert client.request("GET", "/nowhere/").status == 404


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"hello\r\n\r\n",
        b"GET / HTTP/2\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: many\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_is_not_http_is_400_and_closed(start: Start, request_bytes: bytes) -> None:
    server = start()
    assert exchange(server, request_bytes).startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert server.requests == []


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: x",
        b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc",
    ],
)
def test_half_a_request_is_nothing(start: Start, request_bytes: bytes) -> None:
    server = start()
    assert exchange(server, request_bytes) == b""
    assert server.requests == []


def test_empty_lines_and_trailers_around_requests_are_skipped(start: Start) -> None:
    server = start()
    chunked = b"Transfer-Encoding: chunked\r\n\r\n2;x=y\r\n{}\r\n0\r\nTrailer: x\r\n\r\n"
    exchange(server, b"\r\nPOST /api/track/ HTTP/1.1\r\n" + chunked + b"GET / HTTP/1.0\r\n\r\n")
    assert [request.body for request in server.requests] == [b"{}", b""]


def test_requests_are_kept_as_they_came(start: Start, connect: Connect, event: Event) -> None:
    server = start()
    client = connect(server)
    client.track(event("a"), headers={"X-Twice": "1"})
    client.request("GET", "/api/other/?x=1")
    tracked, other = server.requests
    assert (tracked.method, tracked.path, tracked.status, tracked.fault) == ("POST", "/api/track/", 201, None)
    assert tracked.json()["batch"] == [event("a")]
    assert (tracked.headers["x-api-key"], tracked.headers["x-twice"]) == ("test-key", "1")
    assert (other.method, other.path, other.status) == ("GET", "/api/other/?x=1", 404)


def test_only_the_last_requests_are_kept(start: Start, connect: Connect, event: Event) -> None:
    server = start(keep_requests=2)
    client = connect(server)
    for i in range(3):
        client.track(event(f"id-{i}"))
    assert server.request_count == 3
    assert [request.json()["batch"][0]["idempotency_id"] for request in server.requests] == ["id-1", "id-2"]


def test_a_long_run_may_keep_ids_only(start: Start, connect: Connect, event: Event) -> None:
    server = start(keep_events=False)
    connect(server).track(event("a"))
    assert (server.events, server.event_count, server.times_received) == ([], 1, {"a": 1})


def test_waiting_ends_when_the_events_are_there(start: Start, connect: Connect, event: Event) -> None:
    server = start()
    client = connect(server)
    sender = threading.Thread(target=lambda: [client.track(event(f"id-{i}")) for i in range(3)])
    sender.start()
    server.wait_for(3)
    server.wait_until(lambda: server.request_count == 3)
    sender.join()
    assert server.event_count == 3


def test_waiting_in_vain_says_what_the_server_has(start: Start, connect: Connect, event: Event) -> None:
    server = start(faults=Faults(script=[None, Status(503)]))
    client = connect(server)
    client.track(event("a"))
    client.track(event("b"))
    with pytest.raises(AssertionError, match=r"waited 0.01 s for 2 events; the server holds 1 events.* 503"):
        server.wait_for(2, timeout=0.01)


def test_waiting_in_vain_ends_where_a_tool_has_stopped_the_clock(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 1e9)
    looks = iter([False] * 5)  # and StopIteration
    with pytest.raises(AssertionError):
        start().wait_until(lambda: next(looks), timeout=0.05)


def test_a_paused_server_resets_and_refuses_until_it_resumes_on_the_same_port(
    start: Start, connect: Connect, event: Event
) -> None:
    server = start()
    client = connect(server)
    client.track(event("a"))
    port = server.port
    server.pause()
    with pytest.raises(RESET):
        client.track(event("b"))
    with pytest.raises(ConnectionRefusedError):
        client.track(event("b"))
    server.resume()
    assert client.track(event("b")).status == 201
    assert server.port == port
    assert server.event_count == 2


def test_a_paused_server_can_be_paused_and_a_running_one_resumed(start: Start, connect: Connect) -> None:
    server = start()
    server.resume()
    server.pause()
    server.pause()
    server.resume()
    assert connect(server).track().status == 400


def test_nobody_else_gets_the_port_of_a_paused_server(start: Start) -> None:
    server = start()
    server.pause()
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", server.port))


def test_a_stopped_server_comes_back_on_its_port_with_its_state(start: Start, connect: Connect, event: Event) -> None:
    server = start()
    connect(server).track(event("a"))
    port = server.port
    server.stop()
    with pytest.raises(ConnectionRefusedError):
        connect(server).track(event("b"))
    server.start()
    assert (server.port, server.event_count) == (port, 1)


def test_stopping_ends_connections_in_use_and_every_thread(start: Start, connect: Connect, event: Event) -> None:
    server = start(faults=Faults(script=[Delay(60)]))
    busy, idle = connect(server), connect(server)
    sender = threading.Thread(target=pytest.raises, args=(Exception, busy.track, event("a")))
    sender.start()
    server.wait_for(1)
    idle.track(event("b"))
    server.stop()
    sender.join()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("fake-lotus")]


def test_stopping_frees_a_connection_whose_client_does_not_read(start: Start) -> None:
    server = start(faults=Faults(script=[Status(200, body="x" * 50_000_000)]))
    with socket.create_connection(("127.0.0.1", server.port)) as sock:
        sock.sendall(b"GET /api/ HTTP/1.1\r\n\r\n")
        server.wait_until(lambda: server.request_count == 1)
        server.stop()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("fake-lotus")]


def test_pausing_frees_a_connection_whose_client_does_not_read(start: Start) -> None:
    server = start(faults=Faults(script=[Status(200, body="x" * 50_000_000)]))
    with socket.create_connection(("127.0.0.1", server.port)) as sock:
        sock.sendall(b"GET /api/ HTTP/1.1\r\n\r\n")
        server.wait_until(lambda: server.request_count == 1)
        server.pause()
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("fake-lotus")]


def test_a_server_in_a_with_block_is_there_and_then_gone(connect: Connect) -> None:
    with FakeLotus() as server:
        assert f"L24 {server.host}: 0 events, 0 requests" in repr(server)
        client = connect(server)
        assert client.track().status == 400
    with pytest.raises((*RESET, ConnectionRefusedError)):
        client.track()


def test_an_unknown_status_has_a_phrase_too(start: Start, connect: Connect) -> None:
    assert connect(start(faults=Faults(script=[Status(599)]))).track().status == 599


def test_stopping_cancels_a_comeback(start: Start) -> None:
    server = start()
    server.go_away_for(60)
    server.stop()
    assert not [t for t in threading.enumerate() if isinstance(t, threading.Timer)]


def test_a_forked_child_does_not_keep_the_port_alive(start: Start, connect: Connect, event: Event) -> None:
    server = start()
    client = connect(server)
    client.track(event("a"))
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writing)
        server.stop()  # nothing of the parent's
        os.read(reading, 1)  # lives until the parent is done
        os._exit(0)
    try:
        assert client.track(event("b")).status == 201  # the child closed nothing of the parent's
        server.stop()
        with pytest.raises(ConnectionRefusedError):
            connect(server).track(event("c"))
    finally:
        os.close(reading)
        os.close(writing)
        os.waitpid(child, 0)


def test_a_port_in_use_is_an_error_at_start(start: Start) -> None:
    server = start()
    with pytest.raises(OSError, match="in use"):
        FakeLotus(port=server.port).start()
    assert len([s for s in listener_module._all_servers if s._port == server.port and s.is_started]) == 1


def test_a_server_that_was_not_started_has_no_host() -> None:
    server = FakeLotus()
    for use in (lambda: server.host, server.pause, server.resume):
        with pytest.raises(RuntimeError, match="not started"):
            use()
    assert "stopped" in repr(server)


def test_an_unknown_generation_is_refused() -> None:
    with pytest.raises(ValueError, match="choose L22 or L24"):
        fake_lotus.FakeLotus("L23")  # type: ignore[arg-type]
