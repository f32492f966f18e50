"""One accepted connection: request after request, each answered the way the server decides, faults included."""

from __future__ import annotations

import os
import socket
import struct
import threading
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from lotus_durable.testing import wire
from lotus_durable.testing.exchange import Reply, Request, Site, nginx_page

if TYPE_CHECKING:
    from typing import BinaryIO

RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER with no time to linger: close() sends RST and drops what was not sent."""

STUCK_AFTER = 0.5
"""Seconds after which a thread that was told to end is taken for stuck in a send."""

LINGER = 2.0
"""Seconds for which a connection that we close waits for the client to close it too."""


class Connection:
    """A connected socket and the thread that serves it."""

    def __init__(self, sock: socket.socket, site: Site) -> None:
        self._socket = sock
        self._site = site
        self._aborted = threading.Event()
        self._reset = False
        self.thread: threading.Thread = threading.Thread(target=self._serve, name="fake-lotus-connection", daemon=True)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def abort(self, *, reset: bool) -> None:
        """End the connection from another thread, by RST or by FIN; its thread closes the socket and ends."""
        self._reset = self._reset or reset
        self._aborted.set()
        with suppress(OSError):  # the client, or our own thread, may have been first
            # Only the reading side: shutting down the writing side would send a FIN before the RST.
            self._socket.shutdown(socket.SHUT_RD if reset else socket.SHUT_RDWR)

    def wait_closed(self) -> None:
        """Wait until the thread has ended; one stuck in a send is freed by shutting the other direction too."""
        self.thread.join(STUCK_AFTER)
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
            with self._socket.makefile("rb") as stream, suppress(OSError, wire.Disconnected):
                while not self._aborted.is_set() and self._one_exchange(stream):
                    pass
        finally:
            self._close()

    def _close(self) -> None:
        with suppress(OSError):
            if self._reset:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            else:
                self._socket.shutdown(socket.SHUT_WR)
                self._read_to_the_end()
        self._socket.close()

    def _read_to_the_end(self) -> None:
        """Read what still comes: closing with something unread resets, and takes the answer away from the client."""
        self._socket.settimeout(LINGER)
        while not self._aborted.is_set() and self._socket.recv(1 << 16):
            pass

    def _one_exchange(self, stream: BinaryIO) -> bool:
        """Serve one request; False when the connection is to be closed."""
        try:
            head = wire.read_head(stream)
            if head is None:
                return False
            reply, request = self._decide(stream, head)
        except wire.BadRequest:
            self._socket.sendall(wire.encode_head(nginx_page(400), close=True) + nginx_page(400).body)
            return False
        return self._send(reply, head=request, close=wire.wants_close(head))

    def _decide(self, stream: BinaryIO, head: Request) -> tuple[Reply, Request]:
        exchange = self._site.open_exchange(head)
        reply = exchange.before_body()
        if reply is not None and (reply.answer is not None or not reply.interim):
            return reply, head
        if reply is not None:
            self._socket.sendall(wire.encode_interim(reply.interim))
        if wire.wants_continue(head):
            self._socket.sendall(wire.encode_interim((100,)))
        request = replace(head, body=wire.read_body(stream, head))
        return exchange.after_body(request, self._aborted.wait), request

    def _send(self, reply: Reply, *, head: Request, close: bool) -> bool:
        if self._aborted.wait(reply.delay) if reply.delay else self._aborted.is_set():
            return False
        if reply.answer is None:
            self._reset = self._reset or reply.reset
            return False
        close = close or reply.close or reply.keep is not None
        body = b"" if head.method == "HEAD" else reply.answer.body[: reply.keep]
        start = wire.encode_interim(reply.interim) + wire.encode_head(reply.answer, close=close)
        if not reply.pause:
            self._socket.sendall(start + body)
            return not close
        self._socket.sendall(start)
        return self._drip(body, reply.pause) and not close

    def _drip(self, body: bytes, pause: float) -> bool:
        for i in range(len(body)):
            if self._aborted.wait(pause):
                return False
            self._socket.sendall(body[i : i + 1])
        return True
