"""No answer: whatever goes wrong on the network becomes an operator's words, and raises nothing."""

from __future__ import annotations

import errno
import http.client
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import urllib3
from hypothesis import given
from hypothesis import strategies as st

from lotus_durable.http.answer import Answer, NoAnswer
from lotus_durable.http.channel import Limits
from lotus_durable.http.failure import unanswered, unopened
from tests.delivery.scripted_server import (
    KEY,
    LIMIT,
    HttpTransport,
    Reply,
    ScriptedServer,
    dribbles,
    hangs_up,
    resets,
    says,
    sends,
    stays_silent,
)

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
            sends(CREATED + b"Content-Encoding: gzip\r\nContent-Length: 6\r\n\r\nsecret"),
            "answers in an encoding that was not asked for and cannot be read",
            id="gzip that is none",
        ),
        pytest.param(
            sends(CREATED + b"Content-Encoding: br\r\nContent-Length: 6\r\n\r\nsecret"),
            "answers in an encoding that was not asked for and cannot be read",
            id="brotli",
        ),
        pytest.param(
            sends(CREATED + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} "), "in HTTP", id="two lengths"
        ),
        pytest.param(sends(CREATED + b"Content-Length: -2\r\n\r\n{}"), "in HTTP", id="a length that is none"),
        pytest.param(sends(CREATED + b"Transfer-Encoding: gzip, chunked\r\n\r\n"), "in HTTP", id="gzip in chunks"),
        pytest.param(sends(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"), "in HTTP", id="another protocol from here on"),
        pytest.param(sends(b"\x15\x03\x01\x00\x02\x02\x46"), "but in TLS (https?)", id="TLS"),
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
    assert found.needs_person
    assert not found.sent
    assert server.requests == []


def test_a_certificate_for_another_name_is_refused(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    monkeypatch.setattr(socket, "getaddrinfo", _everything_is_loopback)
    with ScriptedServer(says(201), tls=certificate) as server:
        found = no_answer(server.host.replace("127.0.0.1", "another.example"))
    assert "ostname mismatch" in found.reason
    assert server.requests == []


def _everything_is_loopback(_: str, port: int, *__: object, **___: object) -> list[object]:
    return [_loopback("127.0.0.1", port)]


def _loopback(address: str, port: int) -> tuple[object, ...]:
    return (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))


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
    assert found.reason in (f"TLS: {host}: wrong version number (http?)", f"TLS: {host}: record layer failure (http?)")


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

    monkeypatch.setattr(socket, "getaddrinfo", _everything_is_loopback)
    monkeypatch.setattr(socket.socket, "connect", fails)
    assert no_answer("http://lotus.example") == NoAnswer(reason, timed_out=timed_out)


@pytest.mark.parametrize("host", ["http://.lotus.example", f"http://{'x' * 70}.example"])
def test_a_name_that_cannot_be_one(host: str) -> None:
    found = no_answer(host)
    assert found == NoAnswer(f"no request can be made for {host}")


def test_a_name_that_nobody_has(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fails)
    found = no_answer("http://lotus.example")
    assert found == NoAnswer("the name does not resolve: http://lotus.example")
    assert found.needs_person


def test_a_name_service_that_is_away_needs_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", fails)
    assert not no_answer("http://lotus.example").needs_person


def test_a_proxy_that_is_down_is_named_as_the_cause_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    monkeypatch.setenv("HTTP_PROXY", f"http://user:secret@127.0.0.1:{port}")
    monkeypatch.setenv("HTTPS_PROXY", f"user:secret@127.0.0.1:{port}")
    for host in ("http://lotus.example", "https://lotus.example"):
        assert no_answer(host) == NoAnswer(
            f"connection refused by the proxy http://127.0.0.1:{port} on the way to {host}"
        )


@pytest.mark.parametrize(
    ("status", "more"),
    [
        (302, ""),
        (403, ""),
        (405, ""),
        (407, " (it asks for a user name and password, or refuses those in its URL)"),
        (408, ""),
        (429, ""),
        (502, ""),
    ],
)
def test_a_proxy_that_refuses_the_tunnel_is_named_with_its_status(
    status: int, more: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ScriptedServer(says(status, b"secret")) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.host.replace("http://", "http://user:secret@"))
        found = no_answer("https://lotus.example")
    assert found == NoAnswer(f"the proxy {proxy.host} on the way to https://lotus.example refuses: HTTP {status}{more}")
    assert found.needs_person == (status in (302, 403, 405, 407))


@pytest.mark.parametrize("reply", [hangs_up, resets, sends(b"220 smtp.example ESMTP\r\n")])
def test_a_proxy_that_drops_a_request_for_a_tunnel_got_nothing_of_ours(
    reply: Reply, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ScriptedServer(reply) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.host)
        found = no_answer("https://lotus.example")
    assert found.reason.startswith(f"the proxy {proxy.host} on the way to https://lotus.example ")
    assert not found.sent


@pytest.mark.parametrize("reply", [hangs_up, resets])
def test_a_proxy_that_drops_a_request_may_have_passed_it_on(reply: Reply, monkeypatch: pytest.MonkeyPatch) -> None:
    with ScriptedServer(reply) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.host)
        found = no_answer("http://lotus.example")
    assert (
        found.reason
        == f"the proxy {proxy.host} on the way to http://lotus.example closed the connection before answering"
    )
    assert found.sent


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:9", "socks5h://user:secret@127.0.0.1:9"])
def test_a_socks_proxy_without_its_package(proxy: str) -> None:
    program = """
import sys
sys.modules["socks"] = None  # as where it is not installed: requests looks for it once
from tests.http.test_failure import no_answer
print(no_answer("http://lotus.example").reason)
"""
    environment = {**os.environ, "HTTP_PROXY": proxy}
    said = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert "requests[socks]" in said.stdout
    assert "secret" not in said.stdout


@pytest.mark.parametrize("proxy", ["http://:secret@", "http://[::1", "ftp://user:secret@127.0.0.1", "http://a:99999"])
def test_a_proxy_that_cannot_be_one(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy)
    found = no_answer("http://lotus.example")
    assert found == NoAnswer("no request can be made for http://lotus.example, or its proxy's setting is no URL")


# -- a name with several addresses --


def test_a_dead_address_before_a_live_one_is_told_and_comes_last_from_then_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with ScriptedServer(says(201, b"{}", "Connection: close", keep=False)) as server:
        port = int(server.host.rpartition(":")[2])
        tried: list[str] = []
        connect = socket.socket.connect

        def watched(self: socket.socket, address: tuple[str, int]) -> None:
            tried.append(address[0])
            connect(self, address)

        monkeypatch.setattr(
            socket, "getaddrinfo", lambda *_, **__: [_loopback("127.0.0.2", port), _loopback("127.0.0.1", port)]
        )
        monkeypatch.setattr(socket.socket, "connect", watched)
        with transport_to(f"http://lotus.example:{port}") as transport:
            for _ in range(3):
                assert isinstance(transport.post_batch(b"{}"), Answer)
    assert tried == ["127.0.0.2", "127.0.0.1", "127.0.0.1", "127.0.0.1"]
    (record,) = caplog.records
    assert record.getMessage() == (
        "lotus.example: no connection to 127.0.0.2 (Connection refused); "
        "127.0.0.1 answers and is tried first from now on"
    )


def test_all_addresses_share_one_connect_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    timeouts: list[float | None] = []

    def times_out(self: socket.socket, _: object) -> None:
        timeouts.append(self.gettimeout())
        raise TimeoutError("timed out")

    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [_loopback(f"127.0.0.{n}", 9) for n in (2, 3, 4, 5)])
    monkeypatch.setattr(socket.socket, "connect", times_out)
    assert no_answer("http://lotus.example") == NoAnswer(
        "no connection to http://lotus.example within 5 s", timed_out=True
    )
    assert len(timeouts) == 4
    assert timeouts[0] == pytest.approx(1.25, abs=0.2)


# -- whether it was sent is counted, not guessed --


def test_what_the_application_was_handling_says_nothing_about_a_request() -> None:
    with ScriptedServer(hangs_up) as server:
        try:
            raise ConnectionRefusedError("of the application's")
        except ConnectionRefusedError:
            found = no_answer(server.host)
    assert found == NoAnswer(f"{server.host} closed the connection before answering", sent=True)


def test_a_connection_that_breaks_before_a_byte_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: object) -> int:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    with ScriptedServer(says(201)) as server:
        monkeypatch.setattr(socket.socket, "send", breaks)
        found = no_answer(server.host)
    assert found == NoAnswer(f"{server.host} closed the connection before answering", sent=False)


def test_an_answer_that_comes_before_the_request_is_read_counts_and_ends_the_connection() -> None:
    def refuses(_: ScriptedServer, connection: socket.socket) -> bool:
        connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\n{}")
        return False

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            connection.recv(1000)
            refuses(None, connection)  # type: ignore[arg-type]
            connection.close()  # with unread bytes: a reset follows

        server = threading.Thread(target=serve)
        server.start()
        with transport_to(f"http://127.0.0.1:{listener.getsockname()[1]}") as transport:
            came_back = transport.post_batch(b"x" * 50_000_000)
            server.join(LIMIT)
    assert isinstance(came_back, Answer)
    assert came_back.status == 413
    assert not is_open(transport)


def is_open(transport: HttpTransport) -> bool:
    route = transport._route
    return route is not None and route.channel.sock is not None


# -- exceptions that are hard to provoke --

LIMITS = Limits(5.0, 30.0, 60.0, float("inf"), 1)


def said(error: Exception) -> NoAnswer:
    return unanswered(error, "http://x", proxy=None, sent=True, was_kept=False, is_answering=False, limits=LIMITS)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (http.client.IncompleteRead(b"secret"), "http://x closed the connection in the middle of its answer"),
        (OSError(errno.EIO, "Input/output error"), "no answer from http://x: OSError: Input/output error"),
        (ssl.SSLError("secret"), "TLS: http://x: no details"),
        (urllib3.exceptions.HTTPError("secret"), "no answer from http://x: HTTPError: no details"),
    ],
)
def test_what_else_may_come_is_named_by_its_kind(error: Exception, words: str) -> None:
    assert said(error) == NoAnswer(words, sent=True)


def test_a_connection_reset_in_the_middle_of_an_answer_is_not_one_that_was_closed_while_idle() -> None:
    reset = ConnectionResetError(errno.ECONNRESET, "reset")
    kept = [
        unanswered(reset, "http://x", proxy=None, sent=True, was_kept=True, is_answering=began, limits=LIMITS)
        for began in (False, True)
    ]
    assert [each.was_kept for each in kept] == [True, False]
    assert "in the middle of its answer" in kept[1].reason


def test_causes_that_go_round_in_a_circle_are_walked_once() -> None:
    first, second = OSError(errno.EIO, "first"), ConnectionResetError(errno.ECONNRESET, "reset")
    first.__cause__, second.__cause__ = second, first
    assert said(first).reason == "http://x closed the connection before answering"


@given(text=st.text(), kind=st.sampled_from([OSError, TimeoutError, ssl.SSLError, urllib3.exceptions.HTTPError]))
def test_the_text_of_an_exception_is_never_repeated(text: str, kind: type[Exception]) -> None:
    error = kind(f"secret {text}")
    assert "secret" not in said(error).reason
    assert "secret" not in unopened(error, "http://x", proxy="http://p", connect=5.0).reason
