"""One accepted connection: request after request, each answered the way the server decides, faults included."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from lotus_durable.testing import wire
from lotus_durable.testing.exchange import Reply, Request, nginx_page

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER with no time to linger: close() sends RST and drops what was not sent."""
_STUCK_AFTER = 0.5
"""Seconds after which a thread that was told to end is taken for stuck in a send."""
_LINGER = 2.0
"""Seconds for which a connection that we close waits for the client to close it too."""


class Connection:
    """A connected socket and the thread that serves it.

    Args:
        sock: connected.
        decide: given the head of a request, and this connection to read the rest from: how to answer it.
    """

    def __init__(self, sock: socket.socket, decide: Callable[[Request, Connection], Reply]) -> None:
        self._socket = sock
        self._decide = decide
        self._stream = sock.makefile("rb")
        self._aborted = threading.Event()
        self._reset = False
        self.wait: Callable[[float], bool] = self._aborted.wait
        """Waits for so many seconds; returns True when the server ends."""
        self.thread = threading.Thread(target=self._serve, name="fake-lotus-connection", daemon=True)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send_interim(self, statuses: tuple[int, ...]) -> None:
        """Send interim answers at once."""
        self._socket.sendall(wire.encode_interim(statuses))

    def whole(self, head: Request) -> Request:
        """Read the body, for which the client may wait for our word, and return the request with it."""
        if head.headers.get("expect", "").lower() == "100-continue":
            self.send_interim((100,))
        return replace(head, body=wire.read_body(self._stream, head))

    # ------------------------------------------------------------------ for other threads

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

    # ------------------------------------------------------------------ its thread

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
            reply = self._decide(head, self)
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
