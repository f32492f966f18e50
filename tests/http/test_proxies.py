"""Through a proxy: as a tunnel for https, as one that takes the request for http, and which of them says what."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from lotus_durable.http.answer import Answer, NoAnswer
from tests.delivery.scripted_server import (
    BODY,
    KEY,
    LIMIT,
    HttpTransport,
    Reply,
    ScriptedServer,
    hangs_up,
    says,
    sends,
    stays_silent,
)

HOST = "https://lotus.example"


def tunnels_to(server: ScriptedServer) -> Reply:
    """Do as a proxy does that is asked for a tunnel."""
    parts = urlsplit(server.host)

    def reply(_: ScriptedServer, near: socket.socket) -> bool:
        with socket.create_connection((parts.hostname, parts.port)) as far:
            near.sendall(b"HTTP/1.1 200 Connection established\r\nVia: 1.1 proxy\r\n\r\n")
            back = threading.Thread(target=pump, args=(far, near))
            back.start()
            pump(near, far)
            back.join(LIMIT)
        return False

    return reply


def pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)


@pytest.fixture(params=["a plain proxy", "a proxy with TLS"])
def proxy_to(
    request: pytest.FixtureRequest, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[ScriptedServer], ScriptedServer]:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))

    def proxy(server: ScriptedServer) -> ScriptedServer:
        made = ScriptedServer(tunnels_to(server), tls=certificate if "TLS" in request.param else None)
        monkeypatch.setenv("HTTPS_PROXY", made.host.replace("://", "://user:secret@"))
        return made

    return proxy


def test_https_goes_through_a_tunnel_that_stays_open(
    proxy_to: Callable[[ScriptedServer], ScriptedServer], certificate: Path
) -> None:
    with ScriptedServer(says(201, b"1"), says(201, b"2"), tls=certificate) as server, proxy_to(server) as proxy:
        transport = HttpTransport(HOST, KEY)
        answers = [transport.post_batch(BODY) for _ in range(2)]
        transport.close()
    assert answers == [Answer(201, "application/json", b"1"), Answer(201, "application/json", b"2")]
    assert [request.line for request in server.requests] == ["POST /api/track/ HTTP/1.1"] * 2
    assert all("proxy-authorization" not in request.headers for request in server.requests)
    (asked,) = proxy.requests
    assert asked.line.startswith("CONNECT lotus.example:443 ")
    assert asked.headers["proxy-authorization"].startswith("Basic ")
    assert "x-api-key" not in asked.headers


def test_what_breaks_behind_a_tunnel_is_the_servers(
    proxy_to: Callable[[ScriptedServer], ScriptedServer], certificate: Path
) -> None:
    with ScriptedServer(hangs_up, tls=certificate) as server, proxy_to(server):
        transport = HttpTransport(HOST, KEY)
        came_back = transport.post_batch(BODY)
        transport.close()
    assert isinstance(came_back, NoAnswer)
    assert came_back.sent
    assert HOST in came_back.reason
    assert "proxy" not in came_back.reason


def test_a_tunnel_to_a_server_whose_certificate_is_not_trusted_is_not_used(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        ScriptedServer(says(201), tls=certificate) as server,
        ScriptedServer(tunnels_to(server)) as proxy,
    ):
        monkeypatch.setenv("HTTPS_PROXY", proxy.host)
        transport = HttpTransport(HOST, KEY)
        came_back = transport.post_batch(BODY)
    assert came_back == NoAnswer(f"TLS: certificate of {HOST} refused: self-signed certificate")
    assert server.requests == []


def test_a_tunnel_that_is_not_given_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with ScriptedServer(stays_silent) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.host)
        came_back = HttpTransport(HOST, KEY, connect_timeout=0.1).post_batch(BODY)
    assert came_back == NoAnswer(
        f"no connection to the proxy {proxy.host} on the way to {HOST} within 0.1 s", timed_out=True
    )


def test_a_proxy_with_tls_takes_requests_for_http(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    with ScriptedServer(says(201), tls=certificate) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.host)
        transport = HttpTransport("http://lotus.example", KEY)
        for _ in range(2):
            assert isinstance(transport.post_batch(BODY), Answer)
        transport.close()
    assert [request.line for request in proxy.requests] == ["POST http://lotus.example/api/track/ HTTP/1.1"] * 2
    assert proxy.connections == 1


def speaks_socks5_before(server: ScriptedServer, near: socket.socket) -> None:
    """Do as a SOCKS proxy does: no password, one connection."""
    parts = urlsplit(server.host)
    with near, suppress(OSError):
        near.recv(near.recv(2)[1])
        near.sendall(b"\x05\x00")
        near.recv(1_000)
        with socket.create_connection((parts.hostname, parts.port)) as far:
            near.sendall(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x00")
            back = threading.Thread(target=pump, args=(far, near))
            back.start()
            pump(near, far)
            back.join(LIMIT)


@pytest.mark.parametrize("is_safe", [False, True], ids=["http", "https"])
def test_a_socks_proxy_is_used_and_an_interim_answer_read_past_there_too(
    is_safe: bool, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    created = b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}"
    with (
        ScriptedServer(sends(created, keep=True), tls=certificate if is_safe else None) as server,
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        monkeypatch.setenv("ALL_PROXY", f"socks5h://127.0.0.1:{listener.getsockname()[1]}")
        proxy = threading.Thread(target=lambda: speaks_socks5_before(server, listener.accept()[0]))
        proxy.start()
        transport = HttpTransport(HOST if is_safe else "http://lotus.example", KEY, read_timeout=LIMIT)
        answers = [transport.post_batch(BODY) for _ in range(2)]
        transport.close()
        proxy.join(LIMIT)
    assert answers == [Answer(201, "", b"{}")] * 2
    assert server.connections == 1
