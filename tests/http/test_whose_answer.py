"""An answer is the answer to its request: no server, however it misbehaves, makes one be taken for another's."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lotus_durable.http.answer import Answer, NoAnswer
from lotus_durable.http.channel import Channel, Limits
from lotus_durable.http.connection import Connection
from tests.delivery.scripted_server import BODY, KEY, LIMIT, HttpTransport, ScriptedServer, says, sends, talking

HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"
PROCESSING = b"HTTP/1.1 102 Processing\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LARGEST = 10_000
"""Bytes that are wanted of an answer."""
CREATED = b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"

Framing = Literal["length", "chunks", "until it closes"]
Whole = Literal["whole", "all that is wanted", "half", "only a head", "none"]
BROKEN = ("half", "only a head", "none")
Surplus = Literal["none", "doubled", "of another", "half", "interim", "a line"]


@dataclass(frozen=True, slots=True)
class Step:
    """What the server does with one request."""

    early: bool
    """Answer as soon as the connection is there, before the request; and then once more."""
    interim: Sequence[bytes]
    framing: Framing
    whole: Whole
    padding: int
    surplus: Surplus
    late: bool
    """The surplus comes when the answer was read, and before the next request is written."""
    ending: Literal["stays", "closes", "resets"]
    status: int


STEPS = st.builds(
    Step,
    early=st.sampled_from([False, False, False, True]),
    interim=st.lists(st.sampled_from([HINTS, PROCESSING, CONTINUE]), max_size=3),
    framing=st.sampled_from(["length", "length", "chunks", "until it closes"]),
    whole=st.sampled_from(["whole", "whole", "whole", "all that is wanted", "half", "only a head", "none"]),
    padding=st.sampled_from([0, 10, 8_200, 70_000]),
    surplus=st.sampled_from(["none", "none", "doubled", "of another", "half", "interim", "a line"]),
    late=st.booleans(),
    ending=st.sampled_from(["stays", "stays", "stays", "closes", "resets"]),
    status=st.sampled_from([200, 201, 301, 400, 503]),
)


def final(whose: str, step: Step) -> bytes:
    body = f"{whose}:".encode() + b"x" * step.padding
    head = f"HTTP/1.1 {step.status} Whatever\r\nX-Request-ID: {whose}\r\nLocation: http://[\r\n".encode()
    match step.framing:
        case "length":
            return head + f"Content-Length: {len(body)}\r\n\r\n".encode() + body
        case "chunks":
            chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:2], body[2:]) if part)
            return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
        case _:
            return head + b"Connection: close\r\n\r\n" + body


def cut(answer: bytes, whole: Whole) -> bytes:
    head = answer.index(b"\r\n\r\n") + 4
    ends = {"whole": None, "all that is wanted": head + LARGEST + 100, "half": -1, "only a head": head, "none": 0}
    return answer[: ends[whole]]


def surplus(number: int, step: Step) -> bytes:
    return {
        "none": b"",
        "doubled": final(str(number), step),
        "of another": final("another", step),
        "half": final(str(number), step)[:20],
        "interim": HINTS,
        "a line": b"\r\n",
    }[step.surplus]


class Misbehaving:
    """Does with each request what its step says; the number of a request is in its path."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self.steps = steps
        self.next = 0
        self.was_read = [threading.Event() for _ in steps]
        self.is_done = [threading.Event() for _ in steps]
        self.accepted = threading.Semaphore(0)
        """Released for each connection when what is early was sent on it."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def _start(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # late is when it is sent, not 40 ms later
            if self.steps[self.next].early:
                connection.sendall(final("early", self.steps[self.next]))
            self.accepted.release()
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.settimeout(LIMIT)
            has_begun_another = False
            while (number := _request(connection)) is not None:
                step = self.steps[number]
                if has_begun_another:  # whoever uses this connection all the same gets what belongs to nobody
                    connection.sendall(final("another", step))
                is_cut = cut(final("", step), step.whole) != final("", step)
                has_begun_another = is_cut or (step.whole == "whole" and step.surplus != "none" and not step.late)
                try:
                    self._answer(connection, number, step)
                finally:
                    if step.ending == "resets":
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    if (
                        step.ending != "stays"
                        or step.whole in ("half", "only a head", "none")
                        or step.framing == "until it closes"
                    ):
                        connection.close()
                    self.is_done[number].set()

    def _answer(self, connection: socket.socket, number: int, step: Step) -> None:
        at_once = surplus(number, step) if step.whole == "whole" and not step.late else b""
        connection.sendall(b"".join(step.interim) + cut(final(str(number), step), step.whole) + at_once)
        if step.late and step.whole == "whole" and step.framing != "until it closes":
            self.was_read[number].wait(LIMIT)
            connection.sendall(surplus(number, step))

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(LIMIT)
            assert not thread.is_alive()
        self._listener.close()


def _request(connection: socket.socket) -> int | None:
    """Return the number of the next request; None at the end.

    A stranger's is no request: a flusher of another test may still look for a server that had this port before.
    """
    data = b""
    while b"\r\n\r\n" not in data:
        received = connection.recv(65_536)
        if not received:
            return None
        data += received
    if KEY.encode() not in data:
        return None
    return int(data.split(b" ", 2)[1].strip(b"/"))


@contextmanager
def misbehaving(steps: Sequence[Step]) -> Iterator[Misbehaving]:
    """Give the server; a connection to it is open only when what the server sends early lies on it."""
    server = Misbehaving(steps)
    connect = Channel.open

    def and_wait(channel: Channel, limits: Limits) -> None:
        connect(channel, limits)
        assert server.accepted.acquire(timeout=LIMIT)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Channel, "open", and_wait)
        try:
            yield server
        finally:
            server.stop()


@settings(max_examples=300)
@given(steps=st.lists(STEPS, min_size=2, max_size=6))
def test_no_sequence_of_interim_early_late_half_and_doubled_answers_shifts_one_to_another_request(
    steps: list[Step],
) -> None:
    with misbehaving(steps) as server:
        connection = Connection(server.host, KEY, read_timeout=LIMIT, largest_answer=LARGEST)
        try:
            for number, step in enumerate(steps):
                server.next = number
                came_back = connection.exchange("GET", f"/{number}")
                server.was_read[number].set()
                check(number, step, came_back)
                if not (isinstance(came_back, Answer) and came_back.request_id == "early"):
                    assert server.is_done[number].wait(LIMIT)
        finally:
            for each in server.was_read:
                each.set()
            connection.close()


def check(number: int, step: Step, came_back: Answer | NoAnswer) -> None:
    """An answer is its own, or the one the server gave to a connection that was opened for it; and then it is whole."""
    if isinstance(came_back, Answer):
        whose = came_back.request_id
        assert whose == str(number) or (whose == "early" and step.early)
        is_whole = came_back.body == (f"{whose}:".encode() + b"x" * step.padding)[:LARGEST]
        assert is_whole or step.framing == "until it closes"
        assert came_back.status == step.status
    else:
        assert came_back.sent
        assert step.early or step.whole not in ("whole", "all that is wanted") or step.ending == "resets", (
            came_back.reason
        )


# -- the cases that were seen, one by one --


@pytest.mark.parametrize("behind", [CREATED, HINTS, b"\r\n", b"HTTP/1.1 20", b"x"])
def test_a_connection_on_which_something_came_behind_an_answer_is_not_used_again(behind: bytes) -> None:
    with talking(sends(CREATED + behind, keep=True)) as (server, transport):
        for _ in range(2):
            assert transport.post_batch(BODY) == Answer(201, "application/json", b"{}")
            assert server.left.wait(LIMIT), "closed at once, not when it is next needed"
            server.left.clear()
    assert server.connections == 2


def test_over_tls_something_behind_an_answer_is_seen_too(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def sends_twice(_: ScriptedServer, connection: socket.socket) -> bool:
        connection.sendall(CREATED)
        was_read.wait(LIMIT)
        connection.sendall(CREATED)
        was_sent.set()
        return True

    was_read, was_sent = threading.Event(), threading.Event()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    with talking(sends_twice, says(400), tls=certificate) as (server, transport):
        assert transport.post_batch(BODY) == Answer(201, "application/json", b"{}")
        was_read.set()
        assert was_sent.wait(LIMIT)
        came_back = transport.post_batch(BODY)
    assert isinstance(came_back, Answer)
    assert came_back.status == 400
    assert server.connections == 2


@pytest.mark.parametrize(
    "interim",
    [HINTS, PROCESSING, CONTINUE, HINTS * 20, CONTINUE + HINTS + PROCESSING],
    ids=["103", "102", "100", "20", "all"],
)
def test_what_is_no_answer_is_read_past(interim: bytes) -> None:
    with talking(sends(interim + CREATED, keep=True)) as (server, transport):
        for _ in range(3):
            assert transport.post_batch(BODY) == Answer(201, "application/json", b"{}")
    assert server.connections == 1


def test_a_flood_of_what_is_no_answer_comes_to_an_end() -> None:
    def floods(_: ScriptedServer, connection: socket.socket) -> bool:
        while True:
            connection.sendall(HINTS * 1_000)  # ends when the client closes

    with talking(floods, says(201)) as (_, transport):
        came_back = transport.post_batch(BODY)
        assert isinstance(came_back, NoAnswer)
        assert came_back.sent
        assert isinstance(transport.post_batch(BODY), Answer)


def test_only_interim_answers_are_no_answer() -> None:
    with talking(sends(HINTS)) as (server, transport):
        assert transport.post_batch(BODY) == NoAnswer(
            f"{server.host} closed the connection in the middle of its answer", sent=True
        )


def test_a_head_without_end_comes_to_an_end() -> None:
    def floods(_: ScriptedServer, connection: socket.socket) -> bool:
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            connection.sendall(b"1;" + b"x" * 60_000 + b"\r\nx\r\n")

    with talking(floods) as (_, transport):
        came_back = transport.post_batch(BODY)
    assert isinstance(came_back, NoAnswer)


@pytest.mark.parametrize(
    ("status", "location"),
    [
        (301, "http://["),
        (302, "https://user:secret@[::1"),
        (303, "\xff\xfe"),
        (307, ""),
        (308, "/"),
        (307, "http://" + "x" * 60_000),
    ],
)
def test_a_redirect_is_neither_followed_nor_understood(status: int, location: str) -> None:
    head = f"HTTP/1.1 {status} Elsewhere\r\nLocation: {location}\r\nContent-Length: 2\r\n\r\n{{}}".encode("latin-1")
    with talking(sends(head, keep=True)) as (server, transport):
        for _ in range(2):
            assert transport.post_batch(BODY) == Answer(status, "", b"{}")
    assert [request.line for request in server.requests] == ["POST /api/track/ HTTP/1.1"] * 2


@pytest.mark.parametrize("encoding", ["gzip", "GZip", "x-gzip", "deflate"])
def test_an_answer_that_a_proxy_compressed_unasked_is_unpacked(encoding: str) -> None:
    import gzip
    import zlib

    packed = zlib.compress(b'{"success": "all"}') if encoding == "deflate" else gzip.compress(b'{"success": "all"}')
    with talking(says(201, packed, f"Content-Encoding: {encoding}")) as (server, transport):
        for _ in range(2):
            assert transport.post_batch(BODY) == Answer(201, "application/json", b'{"success": "all"}')
    assert server.connections == 1


def test_of_a_small_answer_that_is_huge_when_unpacked_only_the_beginning_is() -> None:
    import gzip

    with ScriptedServer(says(201, gzip.compress(b"x" * 50_000_000), "Content-Encoding: gzip")) as server:
        transport = HttpTransport(server.host, KEY, max_batch_events=1)
        came_back = transport.post_batch(BODY)
        transport.close()
    assert isinstance(came_back, Answer)
    assert len(came_back.body) == 260 * 1024
