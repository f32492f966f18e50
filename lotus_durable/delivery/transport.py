"""How batches reach the server: ``POST /api/track/``."""

from __future__ import annotations

from typing import Final, Protocol

from lotus_durable.http.answer import Answer, NoAnswer
from lotus_durable.http.connection import Connection

from .wire import body as request_body

_PATH: Final = "/api/track/"
_EMPTY_BATCH: Final = request_body(())
_LARGEST_ANSWER: Final = 4 * 1024 * 1024
"""Bytes. A batch of 500 that is refused one by one comes to 0.2 MB; with the longest ids, escaped, to 2 MB."""


class Transport(Protocol):
    """How batches reach the server. For one thread at a time."""

    def post_batch(self, body: bytes) -> Answer | NoAnswer:
        """Send one request and return what came back; raises nothing that the network or the server can cause."""

    def probe(self) -> Answer | NoAnswer:
        """Send an empty batch; ``verdict.judge_probe`` says what the answer means."""

    def close(self) -> None:
        """Close the connection; the next request opens another."""

    def abandon(self) -> None:
        """Drop what a forked child inherited, without touching the parent's connection."""


class HttpTransport:
    """``POST {host}/api/track/`` over one :class:`~lotus_durable.http.connection.Connection`.

    A request that meets a connection the server just closed for being idle is sent once more, at once, on a fresh one:
    the server recognises ids it has seen.
    """

    def __init__(self, host: str, api_key: str, *, connect_timeout: float = 5.0, read_timeout: float = 30.0) -> None:
        """Check the arguments; nothing is opened yet.

        Args:
            host: ``https://…``, with or without a trailing slash, or a path before ``/api/track/``.
            api_key: sent as ``X-API-KEY``, and shown nowhere.
            connect_timeout: seconds to open a connection.
            read_timeout: seconds to send a request, and of silence before giving up; an answer that comes in dribs
                is given up after twice that.

        Raises:
            ConfigurationError: the host is not the URL of a server, or the key cannot be sent in a header.
        """
        self._connection = Connection(
            host,
            api_key,
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            largest_answer=_LARGEST_ANSWER,
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._connection.base + _PATH!r})"

    def post_batch(self, body: bytes) -> Answer | NoAnswer:
        """Send one request and return what came back.

        Args:
            body: ``{"batch": [event, …]}`` as JSON.
        """
        return self._connection.exchange("POST", _PATH, body, repeatable=True)

    def probe(self) -> Answer | NoAnswer:
        """Send an empty batch: a working server with a good key answers 400, ``none``, no failed events."""
        return self.post_batch(_EMPTY_BATCH)

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        self._connection.close()

    def abandon(self) -> None:
        """Drop what a forked child inherited, without touching the parent's connection.

        For a fork hook, so that it happens at once; a request notices a fork by itself.
        """
        self._connection.abandon()
