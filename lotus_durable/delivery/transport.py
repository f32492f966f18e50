"""How batches reach the server: ``POST /api/track/``."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from lotus_durable.http.answer import Answer, NoAnswer
from lotus_durable.http.connection import Connection, Exchange
from lotus_durable.http.steps import result_of

from .wire import body as request_body

if TYPE_CHECKING:
    from lotus_durable.http.routes import Routes

_PATH: Final = "/api/track/"
_EMPTY_BATCH: Final = request_body(())
_BESIDE_THE_EVENTS: Final = 256 * 1024
_FOR_EACH_EVENT: Final = 4 * 1024
"""Bytes of the largest answer. An event that is refused takes about 400 of them; with the longest id, of 255 characters
that JSON escapes as 12 bytes each, 3.5 KB."""


class HttpTransport:
    """``POST {host}/api/track/`` over one :class:`~lotus_durable.http.connection.Connection`.

    Nothing is sent a second time here, also not where the server closed a connection that was idle: it may be at work
    on the request.
    """

    def __init__(
        self,
        host: str | Routes,
        api_key: str,
        *,
        connect_timeout: float = 5.0,
        read_timeout: float = 30.0,
        max_batch_events: int = 500,
        idle_at_most: float = math.inf,
    ) -> None:
        """Open nothing yet.

        Args:
            host: ``https://…``, with or without a trailing slash, or a path before ``/api/track/``; or a routes, when
                several connections share one.
            api_key: sent as ``X-API-KEY``, and shown nowhere.
            connect_timeout: seconds to open a connection.
            read_timeout: seconds to send a request, and of silence before giving up; an answer that comes in dribs
                is given up after twice that.
            idle_at_most: seconds after which a connection kept open is not used again, but a new one opened. On the
                server of 2022, where a request whose fate nobody knows must not be followed by another.
            max_batch_events: the most that a batch holds; what is read of an answer is bounded by what they need.
        """
        self._idle_at_most = idle_at_most
        self._connection = Connection(
            host,
            api_key,
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            largest_answer=_BESIDE_THE_EVENTS + max_batch_events * _FOR_EACH_EVENT,
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._connection.base + _PATH!r})"

    def posting(self, body: bytes) -> Exchange:
        """Send one request, once, and return what came back; yields when it is written."""
        return self._connection.exchanging("POST", _PATH, body, idle_at_most=self._idle_at_most)

    def post_batch(self, body: bytes) -> Answer | NoAnswer:
        """Send one request, once, and return what came back."""
        return result_of(self.posting(body))

    def probing(self) -> Exchange:
        """Send an empty batch: a working server with a good key answers 400, ``none``, no failed events."""
        return self.posting(_EMPTY_BATCH)

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        self._connection.close()

    def abandon(self) -> None:
        """Drop what a forked child inherited, without touching the parent's connection.

        For a fork hook, so that it happens at once; a request notices a fork by itself.
        """
        self._connection.abandon()
