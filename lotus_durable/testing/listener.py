"""The listening socket and its connections: a port that can go away and come back."""

from __future__ import annotations

import os
import socket
import threading
import time
import weakref
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from lotus_durable.testing.connection import Connection

if TYPE_CHECKING:
    from types import TracebackType

    from lotus_durable.testing.exchange import Exchange, Request, Site

LOOPBACK = "127.0.0.1"
BACKLOG = 128


def _reusable_socket(port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((LOOPBACK, port))
    except OSError:
        sock.close()
        raise
    return sock


class Listener:
    """A loopback port, open or away.

    A second socket stays bound to the port without listening: while the server is away the kernel refuses
    connections as it would with no server at all, and nobody else is given the port.

    Raises OSError at construction when the port is taken.
    """

    def __init__(self, site: Site, port: int = 0) -> None:
        self._site = site
        self._reservation = _reusable_socket(port)
        self.port: int = self._reservation.getsockname()[1]
        self._lock = threading.Lock()
        self._listening: socket.socket | None = None
        self._acceptor: threading.Thread | None = None
        self._connections: set[Connection] = set()
        self._closed = False
        _all_listeners.add(self)

    def open(self) -> None:
        """Accept connections; nothing happens when the port is open already, or closed for good."""
        with self._lock:
            if self._closed or self._listening is not None:
                return
            sock = _reusable_socket(self.port)
            sock.listen(BACKLOG)
            self._listening = sock
            self._acceptor = threading.Thread(
                target=self._accept, args=(sock,), name="fake-lotus-acceptor", daemon=True
            )
            self._acceptor.start()

    def go_away(self, *, reset: bool = True) -> None:
        """Stop listening and end every connection, by RST or by FIN; returns when all threads have ended."""
        with self._lock:
            sock, acceptor = self._listening, self._acceptor
            self._listening = self._acceptor = None
        if sock is not None and acceptor is not None:
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

    def close(self) -> None:
        """Go away for good and give the port back."""
        with self._lock:
            self._closed = True
        self.go_away(reset=False)
        self._reservation.close()

    def forget(self) -> None:
        """Close the descriptors in a forked child: only the parent serves, and the port must end with it."""
        self._lock = threading.Lock()  # a thread that is not in the child may have held it
        self._closed = True
        for sock in (self._listening, self._reservation):
            if sock is not None:
                sock.close()
        for connection in self._connections:
            connection.forget()
        self._listening = self._acceptor = None
        self._connections = set()

    def _accept(self, sock: socket.socket) -> None:
        while True:
            try:
                client, _ = sock.accept()
            except OSError:
                if self._listening is not sock:  # go_away closed it
                    return
                time.sleep(0.05)  # out of descriptors, most likely: the client waits in the backlog
                continue
            connection = Connection(client, self._site)
            with self._lock:
                self._connections = {c for c in self._connections if c.thread.is_alive()}
                self._connections.add(connection)
                connection.thread.start()


_all_listeners: weakref.WeakSet[Listener] = weakref.WeakSet()


def _forget_all() -> None:
    for listener in list(_all_listeners):
        listener.forget()


os.register_at_fork(after_in_child=_forget_all)


class Server(ABC):
    """A site with a port of its own: a context manager, also :meth:`start` and :meth:`stop`."""

    def __init__(self, port: int = 0) -> None:
        self._port = port
        self._listener: Listener | None = None
        self._timers: list[threading.Timer] = []

    @abstractmethod
    def open_exchange(self, head: Request) -> Exchange:
        """Begin to answer a request (called by its connection)."""

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> Self:
        """Listen; a second start is nothing. After a stop it comes back on the same port, with its state."""
        if self._listener is None:
            self._listener = Listener(self, self._port)
            self._port = self._listener.port
            self._listener.open()
        return self

    def stop(self) -> None:
        """Close every socket, also those in use, and end every thread."""
        for timer in self._timers:
            timer.cancel()
            timer.join()
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()

    def pause(self) -> None:
        """Take the server away: connections are reset, new ones refused. The port stays reserved."""
        self._started().go_away()

    def resume(self) -> None:
        """Bring it back on the same port."""
        self._started().open()

    @property
    def is_started(self) -> bool:
        """Whether it has been started and not stopped."""
        return self._listener is not None

    @property
    def host(self) -> str:
        """The base URL, ``http://127.0.0.1:PORT``; raises RuntimeError before the first start."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def port(self) -> int:
        """The port; raises RuntimeError while it is not known."""
        if not self._port:
            self._started()
        return self._port

    def _started(self) -> Listener:
        if self._listener is None:
            msg = "FakeLotus is not started"
            raise RuntimeError(msg)
        return self._listener

    def go_away_for(self, seconds: float) -> None:
        """Pause, and resume after so many seconds; returns at once."""
        listener = self._started()
        timer = threading.Timer(float(seconds), listener.open)
        timer.daemon = True
        listener.go_away()
        self._timers = [t for t in self._timers if t.is_alive()] + [timer]
        timer.start()
