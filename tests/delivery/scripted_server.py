"""A loopback server that does with each connection exactly what a test says, well-behaved or not."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import inf
from pathlib import Path
from types import TracebackType
from typing import Self

from lotus_durable.delivery.lotus import PATH, largest_answer
from lotus_durable.http.answer import Answer, NoAnswer
from lotus_durable.http.connection import Connection, Exchange
from lotus_durable.http.steps import result_of

LIMIT = 10.0
"""Seconds after which a test that hangs fails."""
KEY = "abcdefgh.0123456789abcdef0123456789abcdef"
BODY = b'{"batch":[{"event_name":"api_call"}]}'

# For 127.0.0.1, localhost and lotus.example, signed by itself, good until 2119; used nowhere but here.
CERTIFICATE = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgj4yUuGY9bP1F0Ft6
7skUxfmHfdIGpSgIty5ub7UAnZihRANCAAR5S06DiGgdFIe25C/cSO2F0VSTnfr6
8wHFW5MoH13AYblXSMIWa0jT021LmHHysuyMf0vv5HyGcetotTdVzGXw
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBvDCCAWKgAwIBAgIUR9mipsS2tFzp5QVspAsQuOeqVFMwCgYIKoZIzj0EAwIw
HTEbMBkGA1UEAwwSbG90dXMtZHVyYWJsZSB0ZXN0MCAXDTI2MTEzMDIyMjkzNVoY
DzIxMjAwMTAyMjIyOTM1WjAdMRswGQYDVQQDDBJsb3R1cy1kdXJhYmxlIHRlc3Qw
WTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAR5S06DiGgdFIe25C/cSO2F0VSTnfr6
8wHFW5MoH13AYblXSMIWa0jT021LmHHysuyMf0vv5HyGcetotTdVzGXwo34wfDAd
BgNVHQ4EFgQUjdVRM8Gl4vhW0DmI8uaPD1v+ljAwHwYDVR0jBBgwFoAUjdVRM8Gl
4vhW0DmI8uaPD1v+ljAwDwYDVR0TAQH/BAUwAwEB/zApBgNVHREEIjAghwR/AAAB
gglsb2NhbGhvc3SCDWxvdHVzLmV4YW1wbGUwCgYIKoZIzj0EAwIDSAAwRQIgSVN+
BDdItTtVHmqlBN0iqHKtupkm8k6M3X8BeDJ2bJsCIQDV/WRzbX5oTyLw1QZHMNwd
UW16NJy7DP5jsbtt+P19Fw==
-----END CERTIFICATE-----
"""


@dataclass(frozen=True, slots=True)
class Received:
    """One request, and the number of the connection it came on, from 1."""

    connection: int
    line: str
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes


Reply = Callable[["ScriptedServer", socket.socket], bool]
"""Answers one request, or does not; returns whether the connection stays open."""


def says(status: int, body: bytes = b"{}", *headers: str, keep: bool = True) -> Reply:
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", *headers]
    if not any(header.lower().startswith("content-type:") for header in headers):
        lines.append("Content-Type: application/json")
    return sends("\r\n".join([*lines, "", ""]).encode() + body, keep=keep)


def sends(answer: bytes, *, keep: bool = False) -> Reply:
    def reply(_: ScriptedServer, connection: socket.socket) -> bool:
        connection.sendall(answer)
        return keep

    return reply


def hangs_up(_: ScriptedServer, __: socket.socket) -> bool:
    return False


def resets(_: ScriptedServer, connection: socket.socket) -> bool:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return False


def stays_silent(server: ScriptedServer, _: socket.socket) -> bool:
    server.stopped.wait(LIMIT)
    return False


def dribbles(beginning: bytes) -> Reply:
    """Send a beginning and then a byte every 20 ms for ever: never silent, never done."""

    def reply(server: ScriptedServer, connection: socket.socket) -> bool:
        connection.sendall(beginning)
        while not server.stopped.wait(0.02):
            connection.sendall(b"x")
        return False

    return reply


class ScriptedServer:
    """Gives the first reply to the first request, and so on; the last one also to all that follow."""

    def __init__(self, *replies: Reply, tls: Path | None = None) -> None:
        self.requests: list[Received] = []
        self.connections = 0
        self.stopped = threading.Event()
        self.left = threading.Event()
        """Set when a client closed its connection."""
        self._replies = list(replies)
        self._context = None
        if tls is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(tls)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self.host = f"{'https' if tls else 'http'}://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopped.set()
        for one in (self._listener, *self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits on it
        for thread in self._threads:
            thread.join(LIMIT)
            assert not thread.is_alive()
        self._listener.close()

    def _accept(self) -> None:
        while not self.stopped.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            if self._context is not None:
                connection = self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
            self._open.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection, self.connections))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        try:
            while (request := _received(connection, number)) is not None:
                self.requests.append(request)
                reply = self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]
                if not reply(self, connection):
                    return
            self.left.set()
        except OSError:
            pass  # the client broke off, or the test is over
        finally:
            connection.close()


class HttpTransport(Connection):
    """A connection as the flusher has it, that sends batches and nothing else."""

    def __init__(
        self,
        host: str,
        api_key: str,
        *,
        connect_timeout: float = 5.0,
        read_timeout: float = 30.0,
        max_batch_events: int = 500,
        idle_at_most: float = inf,
    ) -> None:
        most = largest_answer(max_batch_events)
        super().__init__(host, api_key, connect_timeout=connect_timeout, read_timeout=read_timeout, largest_answer=most)
        self._idle_at_most = idle_at_most

    def posting(self, body: bytes) -> Exchange:
        return self.exchanging("POST", PATH, body, idle_at_most=self._idle_at_most)

    def post_batch(self, body: bytes) -> Answer | NoAnswer:
        return result_of(self.posting(body))


@contextmanager
def talking(
    *replies: Reply, tls: Path | None = None, idle_at_most: float = inf
) -> Iterator[tuple[ScriptedServer, HttpTransport]]:
    """Give a server and a transport that knows it."""
    with ScriptedServer(*replies, tls=tls) as server:
        transport = HttpTransport(server.host, KEY, read_timeout=5.0, idle_at_most=idle_at_most)
        try:
            yield server, transport
        finally:
            transport.close()


def _received(connection: socket.socket, number: int) -> Received | None:
    """Read one request; None when the client left."""
    data = bytearray()
    while (end := data.find(b"\r\n\r\n")) < 0:
        if not _more(connection, data):
            return None
    line, *fields = data[:end].decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
    length = int(headers.get("content-length", "0"))
    while len(data) < end + 4 + length:
        if not _more(connection, data):
            return None
    return Received(number, line, headers, bytes(data[end + 4 :]))


def _more(connection: socket.socket, data: bytearray) -> bool:
    received = connection.recv(1 << 20)
    data += received
    return bool(received)
