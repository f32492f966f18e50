"""The connections of one process's calls: each used by one thread at a time, and kept open between calls."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING
from weakref import WeakSet

from lotus_durable.config import Config
from lotus_durable.errors import ConfigurationError

if TYPE_CHECKING:
    from lotus_durable.http.answer import Answer, NoAnswer
    from lotus_durable.http.connection import Connection


class Connections:
    """As many connections as there are threads that call at once, at most ``most_idle`` of them kept for later."""

    def __init__(self, open_connection: Callable[[], Connection], *, most_idle: int = 8) -> None:
        self._open_connection = open_connection
        self._most_idle = most_idle
        # Taken out for one request and put back: no lock that a thread could hold at a fork.
        self._idle: list[Connection] = []
        self._all: WeakSet[Connection] = WeakSet()
        self._is_closed = False

    def exchange(
        self, method: str, target: str, content: bytes | None, *, ends_at: float, idle_at_most: float
    ) -> Answer | NoAnswer:
        """Do what :meth:`~lotus_durable.http.connection.Connection.exchange` does, on a connection that is free.

        Raises:
            ConfigurationError: there is no API key.
        """
        connection = self._next_idle() or self._opened()
        try:
            return connection.exchange(method, target, content, ends_at=ends_at, idle_at_most=idle_at_most)
        finally:
            self._put_back(connection)

    def close(self) -> None:
        """Close those that are idle now, and each of the others after its request."""
        self._is_closed = True
        while (connection := self._next_idle()) is not None:
            connection.close()

    def abandon(self) -> None:
        """Drop what a forked child inherited, also what other threads of the parent were using at the fork."""
        for connection in self._all:
            connection.abandon()

    def _opened(self) -> Connection:
        connection = self._open_connection()
        self._all.add(connection)
        return connection

    def _next_idle(self) -> Connection | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def _put_back(self, connection: Connection) -> None:
        if len(self._idle) >= self._most_idle:
            connection.close()
            return
        self._idle.append(connection)
        if self._is_closed:
            self.close()


def connections_of(config: Config, *, largest_answer: int) -> Connections:
    """Return connections to the configured host; ``largest_answer`` in bytes."""
    # Here, and not above: a process that only tracks imports the calls as methods of its client, but not requests.
    from lotus_durable.http.connection import Connection
    from lotus_durable.http.routes import Routes

    @cache
    def routes() -> Routes:  # one for all connections: what it reads is read once
        return Routes(config.host)

    def open_connection() -> Connection:
        if config.api_key is None:
            raise ConfigurationError("api_key: none is set (lotus_durable.api_key or LOTUS_API_KEY)")
        connect, read = config.timeout
        return Connection(
            routes(), config.api_key, connect_timeout=connect, read_timeout=read, largest_answer=largest_answer
        )

    return Connections(open_connection)
