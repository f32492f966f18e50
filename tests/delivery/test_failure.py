"""No answer: whatever goes wrong on the network becomes an operator's words, and raises nothing."""

from __future__ import annotations

import errno
import http.client
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
import urllib3
from hypothesis import given
from hypothesis import strategies as st

from lotus_durable.delivery.transport import HttpTransport
from lotus_durable.http.answer import Answer, NoAnswer
from lotus_durable.http.failure import closed_before_answering, explained

from .scripted_server import KEY, LIMIT, Reply, ScriptedServer, dribbles, hangs_up, resets, says, sends, stays_silent

CREATED = b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\n"


@contextmanager
def transport_to(host: str, *, read_timeout: float = 5.0) -> Iterator[HttpTransport]:
    transport = HttpTransport(host, KEY, read_timeout=read_timeout)
    try:
        yield transport
    finally:
        transport.close()


def no_answer(host: str, *, read_timeout: float = 5.0, body: bytes = b"{}") -> NoAnswer:
    with transport_to(host, read_timeout=read_timeout) as transport:
        came_back = transport.post_batch(body)
    assert isinstance(came_back, NoAnswer)
    assert KEY not in came_back.reason
    assert not re.search(r"0x|object at|<|>", came_back.reason)
    assert came_back.reason.isprintable()
    return came_back


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host = f"http://127.0.0.1:{listener.getsockname()[1]}"
    assert no_answer(host) == NoAnswer(f"connection refused by {host}")


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        pytest.param(hangs_up, "closed the connection before answering", id="hangs up"),
        pytest.param(resets, "closed the connection before answering", id="resets"),
        pytest.param(sends(b"220 smtp.example ESMTP\r\n"), "does not answer in HTTP", id="another protocol"),
        pytest.param(sends(CREATED + b"X: " + b"x" * 70_000), "does not answer in HTTP", id="an endless header"),
        pytest.param(
            sends(CREATED + b'Content-Length: 18\r\n\r\n{"success"'), "in the middle of its answer", id="cut off"
        ),
        pytest.param(
            sends(CREATED + b"Transfer-Encoding: chunked\r\n\r\n12\r\n{"), "in the middle of its answer", id="cut chunk"
        ),
        pytest.param(
            sends(CREATED + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}"), "ContentDecodingError", id="gzip"
        ),
    ],
)
def test_a_server_that_does_not_answer_properly(reply: Reply, reason: str) -> None:
    with ScriptedServer(reply) as server:
        found = no_answer(server.host)
    assert reason in found.reason
    assert (found.timed_out, found.sent) == (False, True)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(stays_silent, id="silence"),
        pytest.param(dribbles(b"HTTP/1.1 201 Created\r\nX-Slow: "), id="headers without end"),
        pytest.param(dribbles(CREATED + b"Content-Length: 100000\r\n\r\n"), id="a body without end"),
        pytest.param(dribbles(CREATED + b"\r\n"), id="a body of unknown length without end"),
    ],
)
def test_a_server_that_does_not_come_to_an_end_is_given_up(reply: Reply) -> None:
    with ScriptedServer(reply) as server:
        found = no_answer(server.host, read_timeout=0.1)
    assert found.reason == f"no answer from {server.host}: nothing within 0.1 s, or no end within twice that"
    assert (found.timed_out, found.sent) == (True, True)


def test_a_server_that_does_not_read_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host = f"http://127.0.0.1:{listener.getsockname()[1]}"
        found = no_answer(host, read_timeout=0.1, body=b"x" * 20_000_000)
    assert (found.timed_out, found.sent) == (True, True)


def test_sending_may_take_longer_than_connecting() -> None:
    """A slow line: the server takes nothing until the connect timeout has long passed, on a connection new or old."""
    body = b"x" * 20_000_000
    never = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                for _ in range(2):
                    never.wait(0.3)
                    left = len(body)
                    while left > 0 and (received := connection.recv(1 << 20)):
                        left -= len(received)
                    connection.sendall(CREATED + b"Content-Length: 2\r\n\r\n{}")

        server = threading.Thread(target=serve, daemon=True)
        server.start()
        host = f"http://127.0.0.1:{listener.getsockname()[1]}"
        transport = HttpTransport(host, KEY, connect_timeout=0.1, read_timeout=LIMIT)
        assert isinstance(transport.post_batch(body), Answer)
        assert isinstance(transport.post_batch(body), Answer)
        transport.close()
        server.join(LIMIT)


def test_after_a_failure_the_next_request_succeeds_on_another_connection() -> None:
    with ScriptedServer(stays_silent, says(201)) as server, transport_to(server.host, read_timeout=0.5) as transport:
        assert isinstance(transport.post_batch(b"{}"), NoAnswer)
        assert isinstance(transport.post_batch(b"{}"), Answer)
    assert [request.connection for request in server.requests] == [1, 2]


# -- TLS --


def test_a_certificate_nobody_vouches_for_is_refused(certificate: Path) -> None:
    with ScriptedServer(says(201), tls=certificate) as server:
        found = no_answer(server.host)
    assert found.reason == f"TLS: certificate of {server.host} refused: self-signed certificate"
    assert not found.sent
    assert server.requests == []


def test_a_certificate_for_another_name_is_refused(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    monkeypatch.setattr(socket, "getaddrinfo", _everything_is_loopback)
    with ScriptedServer(says(201), tls=certificate) as server:
        found = no_answer(server.host.replace("127.0.0.1", "lotus.example"))
    assert "ostname mismatch" in found.reason
    assert server.requests == []


def _everything_is_loopback(_: str, port: int, *__: object, **___: object) -> list[object]:
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]


def test_https_to_a_server_that_speaks_http() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        server = threading.Thread(target=serve)
        server.start()
        host = f"https://127.0.0.1:{listener.getsockname()[1]}"
        found = no_answer(host)
        server.join(LIMIT)
    assert found.reason in (f"TLS: {host}: wrong version number", f"TLS: {host}: record layer failure")


@pytest.mark.parametrize("content", [None, "no certificate in here"])
def test_a_ca_bundle_that_cannot_be_read(
    tmp_path: Path, content: str | None, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tmp_path / "bundle.pem"
    if content is not None:
        bundle.write_text(content)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    with ScriptedServer(says(201), tls=certificate) as server:
        assert no_answer(server.host).reason.startswith("TLS: ")
    assert server.requests == []


# -- before a connection --


@pytest.mark.parametrize(
    ("error", "reason", "timed_out"),
    [
        (socket.gaierror(-2, "Name or service not known"), "the name does not resolve: http://lotus.example", False),
        (TimeoutError("timed out"), "no connection to http://lotus.example within 5 s", True),
        (
            OSError(errno.EHOSTUNREACH, "No route to host"),
            "no connection to http://lotus.example: No route to host",
            False,
        ),
        (
            OSError(errno.EMFILE, "Too many open files"),
            "no connection to http://lotus.example: Too many open files",
            False,
        ),
    ],
)
def test_a_connection_that_cannot_be_opened(
    error: OSError, reason: str, timed_out: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(urllib3.util.connection, "create_connection", fails)
    assert no_answer("http://lotus.example") == NoAnswer(reason, timed_out=timed_out)


@pytest.mark.parametrize("host", ["http://.lotus.example", f"http://{'x' * 70}.example", "http://*.example"])
def test_a_name_that_cannot_be_one(host: str) -> None:
    found = no_answer(host)
    assert found == NoAnswer(f"no request can be made for {host}")


def test_a_proxy_that_is_down_is_named_as_the_cause_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy = f"http://user:secret@127.0.0.1:{listener.getsockname()[1]}"
    monkeypatch.setenv("HTTP_PROXY", proxy)
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    for host in ("http://lotus.example", "https://lotus.example"):
        assert no_answer(host) == NoAnswer(f"the proxy on the way to {host} cannot be reached, or refuses")


def test_a_proxy_that_refuses_the_tunnel(monkeypatch: pytest.MonkeyPatch) -> None:
    with ScriptedServer(says(407, b"")) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.host)
        found = no_answer("https://lotus.example")
    assert found == NoAnswer("the proxy on the way to https://lotus.example cannot be reached, or refuses")


def test_a_socks_proxy_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "socks5://127.0.0.1:9")
    assert "requests[socks]" in no_answer("http://lotus.example").reason


# -- exceptions that are hard to provoke --


@pytest.mark.parametrize(
    ("error", "words", "sent"),
    [
        (requests.exceptions.ConnectionError(), "no answer from http://x: ConnectionError: no details", True),
        (http.client.IncompleteRead(b"secret"), "http://x closed the connection in the middle of its answer", True),
        (OSError(errno.EIO, "Input/output error"), "no answer from http://x: OSError: Input/output error", True),
        (ssl.SSLCertVerificationError("secret"), "TLS: certificate of http://x refused: no details", False),
        (requests.exceptions.SSLError(ssl.SSLError("secret")), "TLS: http://x: no details", True),
        (
            urllib3.exceptions.LocationParseError("secret"),
            "no answer from http://x: LocationParseError: no details",
            True,
        ),
    ],
)
def test_what_else_may_come_is_named_by_its_kind(error: Exception, words: str, sent: bool) -> None:
    assert explained(error, "http://x", connect=5, read=30) == NoAnswer(words, sent=sent)


def test_a_connection_reset_in_the_middle_of_an_answer_is_not_one_that_was_closed_while_idle() -> None:
    reset = urllib3.exceptions.ProtocolError("Connection broken", ConnectionResetError(errno.ECONNRESET, "reset"))
    assert closed_before_answering(requests.exceptions.ConnectionError(reset))
    assert not closed_before_answering(requests.exceptions.ChunkedEncodingError(reset))


def test_causes_that_go_round_in_a_circle_are_walked_once() -> None:
    first, second = OSError(errno.EIO, "first"), ConnectionResetError(errno.ECONNRESET, "reset")
    first.__cause__, second.__context__ = second, first
    assert closed_before_answering(first)
    assert explained(first, "http://x", connect=5, read=30).sent


@given(text=st.text(), kind=st.sampled_from([OSError, TimeoutError, ssl.SSLError, urllib3.exceptions.HTTPError]))
def test_the_text_of_an_exception_is_never_repeated(text: str, kind: type[Exception]) -> None:
    found = explained(kind(f"secret {text}"), "http://x", connect=5, read=30)
    assert "secret" not in found.reason
