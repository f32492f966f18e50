"""A server that does nothing but answer: what is measured is the client, and the server must not be in its way.

A process of its own (``python -m benchmarks.sink DELAY [2024] [numbers] [aside]``) on a raw socket. It reads a request
to its end, counts the events in it by a pattern, and gives the answer that each client takes for success. It prints its
port, answers ``GET /counts`` and ``GET /mark`` (start counting anew), and ends when its standard input closes. With
``numbers`` it also keeps which events arrived, by the number that each carries, for ``GET /numbers``; and between
``GET /down`` and ``GET /up`` it answers nothing else and closes each connection. With ``aside`` it has only what nobody
else wants of the processor.
"""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass

_EVENT = b'"idempotency_id":'
_NUMBER = re.compile(rb'"mb_used":\s*(\d+)')
_NUMBER_IN_PROTOBUF = re.compile(rb"mb_used\x12.\x18([\x80-\xff]{0,8}[\x00-\x7f])", re.DOTALL)
_ACCEPTED = b'{"success":"all","failed_events":null}'
_ORGANISATION = b'{"organization_id":"benchmarks"}'
"""What the server of 2024 answers when it is asked whose a key is; others do not know the question."""
_HEAD_END = b"\r\n\r\n"
_RECEIVE = 1 << 18
_NICE = 5
"""As nice as the flusher of an application: neither waits for the other."""


@dataclass(slots=True)
class Counts:
    """Since the last mark; times are of the monotonic clock, which all processes of a machine share."""

    marked: float
    requests: int = 0
    events: int = 0
    bytes: int = 0
    first: float | None = None
    """When the first request began to arrive."""
    last: float | None = None
    """When the last answer was sent."""
    first_of_new: float | None = None
    """When the first request arrived on a connection that was opened after the mark."""


class Sink:
    def __init__(self, delay: float, generation: str | None = None, *, keep_numbers: bool = False) -> None:
        self._delay = delay
        self._generation = generation
        self._keep_numbers = keep_numbers
        self._numbers: set[int] = set()
        self._is_down = False
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listening.getsockname()[1]
        self._lock = threading.Lock()
        self._counts = Counts(time.monotonic())

    def serve(self) -> None:
        """Accept connections, a thread for each, for ever."""
        while True:
            connection, _ = self._listening.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._converse, args=(connection, time.monotonic()), daemon=True).start()

    def _converse(self, connection: socket.socket, opened: float) -> None:
        with connection:
            pending = b""
            try:
                while data := pending or connection.recv(_RECEIVE):
                    began = time.monotonic()
                    request, pending = _whole_request(connection, data)
                    if self._is_down and not request.startswith((b"GET /up", b"GET /numbers")):
                        return
                    connection.sendall(self._answer(request, began, opened))
                    self._answered()
            except (ConnectionError, EOFError):
                return

    def _answer(self, request: bytes, began: float, opened: float) -> bytes:
        if request.startswith(b"GET /counts"):
            return _answer(200, json.dumps(asdict(self._counts) | {"now": time.monotonic()}).encode())
        if request.startswith(b"GET /mark"):
            self._counts = Counts(time.monotonic())
            return _answer(200, b"{}")
        if request.startswith((b"GET /down", b"GET /up")):
            self._is_down = request.startswith(b"GET /down")
            return _answer(200, b"{}")
        if request.startswith(b"GET /numbers"):
            return _answer(200, json.dumps(sorted(self._numbers)).encode())
        if request.startswith(b"GET /api/ping/") and self._generation == "2024":
            return _answer(200, _ORGANISATION)
        with self._lock:
            if self._keep_numbers:
                self._numbers.update(_numbers_in(request))
            counts = self._counts
            counts.requests += 1
            counts.events += request.count(_EVENT)
            counts.bytes += len(request)
            counts.first = counts.first or began
            if opened > counts.marked:
                counts.first_of_new = counts.first_of_new or began
        if self._delay:
            time.sleep(self._delay)
        return _answer(201, _ACCEPTED) if b"/api/track" in request[:200] else _answer(200, b"{}")

    def _answered(self) -> None:
        self._counts.last = time.monotonic()


def _numbers_in(request: bytes) -> Iterator[int]:
    yield from map(int, _NUMBER.findall(request))
    for varint in _NUMBER_IN_PROTOBUF.findall(request):
        yield sum((byte & 127) << 7 * place for place, byte in enumerate(varint))


def _whole_request(connection: socket.socket, data: bytes) -> tuple[bytes, bytes]:
    """Return one request, and what came after it.

    Raises:
        EOFError: the client went away in the middle.
    """
    parts = [data]
    while _HEAD_END not in data:
        parts.append(_received(connection))
        data = b"".join(parts)
    head_size = data.index(_HEAD_END) + len(_HEAD_END)
    size = head_size + _content_length(data[:head_size])
    parts, received = [data], len(data)
    while received < size:
        parts.append(_received(connection))
        received += len(parts[-1])
    data = b"".join(parts)
    return data[:size], data[size:]


def _received(connection: socket.socket) -> bytes:
    data = connection.recv(_RECEIVE)
    if not data:
        raise EOFError
    return data


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


def _answer(status: int, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status} Sure\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def main() -> None:
    delay, words = float(sys.argv[1]) if len(sys.argv) > 1 else 0.0, sys.argv[2:]
    # In real life it is another machine: whoever is measured has the processor first.
    os.nice(_NICE)
    if hasattr(os, "SCHED_BATCH"):
        os.sched_setscheduler(0, os.SCHED_IDLE if "aside" in words else os.SCHED_BATCH, os.sched_param(0))
    sink = Sink(delay, "2024" if "2024" in words else None, keep_numbers="numbers" in words)
    print(sink.port, flush=True)
    threading.Thread(target=sink.serve, daemon=True).start()
    sys.stdin.read()  # to its end: whoever started this is gone


if __name__ == "__main__":
    main()
