"""What proxies, balancers and firewalls do to a request on its way, by name, seen from a client's socket."""

from __future__ import annotations

import http.client
import re
import socket
from collections.abc import Callable
from typing import Any

import pytest

from lotus_durable.testing import NAMED, Close, Early, FakeLotus, Interim, Slow, Status

from .conftest import Event, RawClient


@pytest.fixture(params=["L22", "L24"])
def server(request: pytest.FixtureRequest, start: Callable[..., FakeLotus]) -> FakeLotus:
    return start(request.param)


def stored(server: FakeLotus) -> list[str]:
    return [event["idempotency_id"] for event in server.events]


def on_the_wire(server: FakeLotus, body: bytes = b'{"batch": []}', *, held_back: bool = False) -> list[str]:
    """Send a batch, the body only after the first answer if it is held back; return all status lines until the end."""
    head = (
        b"POST /api/track/ HTTP/1.1\r\nX-API-KEY: test-key\r\nContent-Type: application/json\r\nConnection: close\r\n"
    )
    head += b"Content-Length: %d\r\n\r\n" % len(body)
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
        sock.sendall(head if held_back else head + body)
        received = sock.recv(65_536)
        if held_back:
            sock.sendall(body)
        sock.shutdown(socket.SHUT_WR)
        while piece := sock.recv(65_536):
            received += piece
    return re.findall(r"HTTP/1\.1 \d{3} [^\r]*", received.decode())


def test_interim_answers_come_before_the_answer(server: FakeLotus) -> None:
    server.fail_next(Interim((100, 102, 103)))
    assert on_the_wire(server) == [
        "HTTP/1.1 100 Continue",
        "HTTP/1.1 102 Processing",
        "HTTP/1.1 103 Early Hints",
        "HTTP/1.1 400 Bad Request",
    ]


def test_interim_answers_may_come_before_the_body_is_read(server: FakeLotus) -> None:
    server.fail_next(Interim((103,), early=True))
    assert on_the_wire(server, held_back=True) == ["HTTP/1.1 103 Early Hints", "HTTP/1.1 400 Bad Request"]


def test_an_answer_may_come_before_the_body_is_read_and_then_it_closes(
    server: FakeLotus, client: RawClient, event: Event
) -> None:
    server.fail_next(Early(413, interim=(100, 103)), Early(403))
    first, *rest = on_the_wire(server, held_back=True)
    assert (first, rest) == (
        "HTTP/1.1 100 Continue",
        ["HTTP/1.1 103 Early Hints", "HTTP/1.1 413 Request Entity Too Large"],
    )
    answer = client.track(event("a", properties={"x": "y" * 1_000_000}))
    assert (answer.status, answer.headers["Connection"]) == (403, "close")
    assert stored(server) == []


@pytest.mark.parametrize("when", ["before_reading", "after_storing"])
def test_a_connection_may_be_closed_without_an_answer(
    server: FakeLotus, client: RawClient, event: Event, when: Any
) -> None:
    server.fail_next(Close(when))
    with pytest.raises(http.client.RemoteDisconnected):
        client.track(event("a"))
    assert stored(server) == ([] if when == "before_reading" else ["a"])


def test_a_slow_request_is_answered_when_it_is_done(server: FakeLotus, client: RawClient, event: Event) -> None:
    server.fail_next(Slow(0.02))
    assert client.track(event("a")).status == 201
    assert stored(server) == ["a"]


@pytest.mark.parametrize("name", [name for name in NAMED if re.fullmatch(r"(status|page|early)_\d+", name)])
def test_what_stands_in_front_of_servers_answers_by_name(
    server: FakeLotus, client: RawClient, event: Event, name: str
) -> None:
    server.fail_next(NAMED[name])
    answer = client.track(event("a"))
    status = int(name.rpartition("_")[2])
    assert (answer.status, answer.body != b"") == (status, True)
    assert answer.content_type == ("text/plain" if status >= 520 else "text/html")
    assert stored(server) == []


def test_every_status_has_a_phrase(server: FakeLotus) -> None:
    server.fail_next(*(Status(status) for status in (460, 499, 520, 530)))
    assert [on_the_wire(server)[0] for _ in range(4)] == [
        "HTTP/1.1 460 Client Closed Connection",
        "HTTP/1.1 499 Client Closed Request",
        "HTTP/1.1 520 Web Server Returned an Unknown Error",
        "HTTP/1.1 530 Site Is Frozen",
    ]
