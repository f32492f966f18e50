"""The connections of one process's calls: each used by one thread at a time, and kept open between calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from weakref import WeakSet

from lotus_durable.config import Config
from lotus_durable.errors import ConfigurationError

if TYPE_CHECKING:
    from lotus_durable.http.answer import Answer, NoAnswer
    from lotus_durable.http.connection import Connection
    from lotus_durable.http.routes import Routes

_MOST_IDLE: Final = 8
_LARGEST_ANSWER: Final = 64 * 1024 * 1024
"""Bytes; a list has no pages."""


class Connections:
    """As many connections to the configured host as there are threads that call at once; a few are kept for later."""

    def __init__(self, config: Config) -> None:
        self._config = config
        # Taken out for one request and put back: no lock that a thread could hold at a fork.
        self._idle: list[Connection] = []
        self._all: WeakSet[Connection] = WeakSet()
        self._routes: Routes | None = None
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
        # Here, and not above: who only looks at the calls, or checks them with ``send=False``, needs no requests.
        from lotus_durable.http.connection import Connection
        from lotus_durable.http.routes import Routes

        if self._config.api_key is None:
            raise ConfigurationError("api_key: none is set (lotus_durable.api_key or LOTUS_API_KEY)")
        self._routes = self._routes or Routes(self._config.host)  # one for all: what it reads is read once
        connect, read = self._config.timeout
        connection = Connection(
            self._routes,
            self._config.api_key,
            connect_timeout=connect,
            read_timeout=read,
            largest_answer=_LARGEST_ANSWER,
        )
        self._all.add(connection)
        return connection

    def _next_idle(self) -> Connection | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def _put_back(self, connection: Connection) -> None:
        if len(self._idle) >= _MOST_IDLE:
            connection.close()
            return
        self._idle.append(connection)
        if self._is_closed:
            self.close()
