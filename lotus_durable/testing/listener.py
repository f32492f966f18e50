"""A port that can go away and come back, and the connections to it, whose requests are answered as is decided."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Self

from lotus_durable.testing import exchange as wire
from lotus_durable.testing import hosts
from lotus_durable.testing.exchange import Reply, Request, nginx_page

LOOPBACK = "127.0.0.1"
BACKLOG = 128
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER with no time to linger: close() sends RST and drops what was not sent."""
_STUCK_AFTER = 0.5
"""Seconds after which a thread that was told to end is taken for stuck in a send."""
_LINGER = 2.0
"""Seconds for which a connection that we close waits for the client to close it too."""


class Connection:
    """A connected socket and the thread that serves it; ``decide`` says how to answer a request whose head was read.

    ``request`` is the one it serves now; it has its body when it was :meth:`read`.
    """

    request: Request

    def __init__(self, sock: socket.socket, decide: Callable[[Connection], Reply]) -> None:
        self._socket = sock
        self._decide = decide
        self._stream = sock.makefile("rb")
        self._is_read = False
        self._aborted = threading.Event()
        self._reset = False
        self.wait: Callable[[float], bool] = self._aborted.wait
        """Waits for so many seconds; returns True when the server ends."""
        self.thread: threading.Thread = threading.Thread(target=self._serve, name="fake-lotus-connection", daemon=True)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send_interim(self, statuses: tuple[int, ...]) -> None:
        """Send interim answers at once."""
        self._socket.sendall(wire.encode_interim(statuses))

    def read(self) -> Request:
        """Return the request with its body, for which the client may wait for our word."""
        if not self._is_read:
            if self.request.headers.get("expect", "").lower() == "100-continue":
                self.send_interim((100,))
            self.request, self._is_read = replace(self.request, body=wire.read_body(self._stream, self.request)), True
        return self.request

    def abort(self, *, reset: bool) -> None:
        """End the connection, by RST or by FIN; its thread closes the socket and ends."""
        self._reset = self._reset or reset
        self._aborted.set()
        with suppress(OSError):  # the client, or our own thread, may have been first
            # Only the reading side: shutting down the writing side would send a FIN before the RST.
            self._socket.shutdown(socket.SHUT_RD if reset else socket.SHUT_RDWR)

    def wait_closed(self) -> None:
        """Wait until the thread has ended; one stuck in a send is freed by shutting the other direction too."""
        self.thread.join(_STUCK_AFTER)
        if self.thread.is_alive():
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
            self.thread.join()

    def forget(self) -> None:
        """Close the descriptor in a forked child, where the thread does not exist; the peer notices nothing."""
        with suppress(OSError):  # closed already
            os.close(self._socket.detach())  # close() would wait for the thread's stream

    def _serve(self) -> None:
        try:
            with self._stream, suppress(OSError, wire.Disconnected):
                while not self._aborted.is_set() and self._one_exchange():
                    pass
        finally:
            with suppress(OSError):
                if self._reset:
                    self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                else:
                    self._socket.shutdown(socket.SHUT_WR)
                    # Closing with something unread resets, and takes the answer away from the client.
                    self._socket.settimeout(_LINGER)
                    while not self._aborted.is_set() and self._socket.recv(1 << 16):
                        pass
            self._socket.close()

    def _one_exchange(self) -> bool:
        """Serve one request; False when the connection is to be closed."""
        try:
            head = wire.read_head(self._stream)
            if head is None:
                return False
            self.request, self._is_read = head, False
            reply = self._decide(self)
        except wire.BadRequest:
            self._socket.sendall(wire.encode_head(nginx_page(400), close=True) + nginx_page(400).body)
            return False
        if self.wait(reply.delay) if reply.delay else self._aborted.is_set():
            return False
        if reply.answer is None:
            self._reset = self._reset or reply.reset
            return False
        asks_to_close = "close" in head.headers.get("connection", "").lower()
        close = asks_to_close or reply.close or reply.keep is not None
        start = wire.encode_interim(reply.interim) + wire.encode_head(reply.answer, close=close)
        body = b"" if head.method == "HEAD" else reply.answer.body[: reply.keep]
        self._socket.sendall(start if reply.pause else start + body)
        return (not reply.pause or self._drip(body, reply.pause)) and not close

    def _drip(self, body: bytes, pause: float) -> bool:
        for i in range(len(body)):
            if self.wait(pause):
                return False
            self._socket.sendall(body[i : i + 1])
        return True


def _reusable_socket(port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((LOOPBACK, port))
    except OSError:
        sock.close()
        raise
    return sock


class Server:
    """Listens on a loopback port: a context manager, also :meth:`start` and :meth:`stop`.

    A second socket stays bound to the port: while the server is away the kernel refuses connections as with no server
    at all, and nobody else is given the port.
    """

    def __init__(self, port: int = 0) -> None:
        self._port = port
        self._reservation: socket.socket | None = None
        self._lock = threading.Lock()
        self._listening: tuple[socket.socket, threading.Thread] | None = None
        self._connections: set[Connection] = set()
        self._timers: list[threading.Timer] = []

    def decide(self, connection: Connection) -> Reply:
        """Return how to answer the request of a connection, which has read its head."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> Self:
        """Listen; a second start is nothing. After a stop it comes back on the same port, with its state."""
        if self._reservation is None:
            self._reservation = _reusable_socket(self._port)
            self._port = self._reservation.getsockname()[1]
            hosts.add(self.host)
            _all_servers.add(self)
            self._listen()
        return self

    def stop(self) -> None:
        """Close every socket, also those in use, and end every thread."""
        for timer in self._timers:
            timer.cancel()
            timer.join()
        with self._lock:
            reservation, self._reservation = self._reservation, None
        self._go_away(reset=False)
        if reservation is not None:
            reservation.close()

    def pause(self) -> None:
        """Take the server away: connections are reset, new ones refused. The port stays reserved."""
        self._check_started()
        self._go_away(reset=True)

    def resume(self) -> None:
        """Bring it back on the same port."""
        self._check_started()
        self._listen()

    def go_away_for(self, seconds: float) -> None:
        """Pause, and resume after so many seconds; returns at once."""
        timer = threading.Timer(float(seconds), self._listen)
        timer.daemon = True
        self.pause()
        self._timers = [t for t in self._timers if t.is_alive()] + [timer]
        timer.start()

    @property
    def host(self) -> str:
        """The base URL, ``http://127.0.0.1:PORT``; raises RuntimeError before the first start."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def port(self) -> int:
        """The port; raises RuntimeError while it is not known."""
        if not self._port:
            self._check_started()
        return self._port

    @property
    def is_started(self) -> bool:
        """Whether it has been started and not stopped."""
        return self._reservation is not None

    def _check_started(self) -> None:
        if not self.is_started:
            msg = "FakeLotus is not started"
            raise RuntimeError(msg)

    def _listen(self) -> None:
        """Accept connections, unless it does, or was stopped."""
        with self._lock:
            if self._reservation is None or self._listening is not None:
                return
            sock = _reusable_socket(self._port)
            sock.listen(BACKLOG)
            acceptor = threading.Thread(target=self._accept, args=(sock,), name="fake-lotus-acceptor", daemon=True)
            self._listening = sock, acceptor
            acceptor.start()

    def _go_away(self, *, reset: bool) -> None:
        """Stop listening and end every connection; returns when all threads have ended."""
        with self._lock:
            listening, self._listening = self._listening, None
        if listening is not None:
            sock, acceptor = listening
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)  # wakes accept(); close() alone would not
            acceptor.join()
            sock.close()
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            connection.abort(reset=reset)
        for connection in connections:
            if connection.thread is not threading.current_thread():
                connection.wait_closed()

    def _accept(self, sock: socket.socket) -> None:
        while True:
            try:
                client, _ = sock.accept()
            except OSError:
                if self._listening is None or self._listening[0] is not sock:  # closed on purpose
                    return
                time.sleep(0.05)  # out of descriptors, most likely: the client waits in the backlog
                continue
            connection = Connection(client, self.decide)
            with self._lock:
                self._connections = {c for c in self._connections if c.thread.is_alive()} | {connection}
                connection.thread.start()

    def forget(self) -> None:
        """Close the descriptors in a forked child: only the parent serves, and the port must end with it."""
        for sock in (self._listening and self._listening[0], self._reservation):
            if sock is not None:
                sock.close()
        for connection in self._connections:
            connection.forget()
        Server.__init__(self, self._port)  # also its lock: a thread that is not in the child may have held it


_all_servers: weakref.WeakSet[Server] = weakref.WeakSet()


def _forget_all() -> None:
    for server in list(_all_servers):
        server.forget()


os.register_at_fork(after_in_child=_forget_all)
