"""Requests to one server, one after the other: what delivery and the calls that answer share.

Both servers take JSON only like this, measured: ``Content-Type`` exactly ``application/json`` (a charset suffix is a
500), with a ``Content-Length`` (chunked is a 500), no gzip, and the trailing slash (without it there is a redirect that
turns a POST into a GET: so redirects are never followed).

Nothing is ever sent twice here: only who makes a request knows whether it may be repeated.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final, TypeAlias

from lotus_durable import fork
from lotus_durable._version import __version__
from lotus_durable.clock import monotonic

from .answer import Answer, NoAnswer, printable
from .channel import Limits
from .failure import NETWORK_ERRORS, unanswered, unopened
from .reading import Received
from .routes import Route, Routes
from .steps import result_of

_LONGEST_RETRY_AFTER: Final = 3_600
"""Seconds."""
_SECRET_LENGTH: Final = 16
"""A key this long is in an answer only because the server put it there."""
_BEGINNING: Final = b"API Key starting with "

Exchange: TypeAlias = Generator[None, None, Answer | NoAnswer]


class Connection:
    """A connection to one server, kept alive, opened when first needed, in each process its own. For one thread a time.

    Proxies (``HTTPS_PROXY``, ``NO_PROXY``, …) and ``REQUESTS_CA_BUNDLE`` are honoured, but a server on this machine is
    reached without a proxy; ``~/.netrc`` is not. TLS is always verified.
    """

    def __init__(
        self,
        host: str | Routes,
        api_key: str,
        *,
        connect_timeout: float = 5.0,
        read_timeout: float = 30.0,
        largest_answer: int = 4 * 1024 * 1024,
    ) -> None:
        """Open nothing yet.

        Args:
            host: as the configuration has it; or a routes, when several connections share one.
            api_key: as the configuration has it; sent as ``X-API-KEY``, and shown nowhere.
            connect_timeout: seconds to open a connection.
            read_timeout: seconds to send a request, and of silence before giving up; an answer that comes in dribs
                is given up after twice that.
            largest_answer: bytes; what is longer is cut off there, and the rest not read.
        """
        self._routes = host if isinstance(host, Routes) else Routes(host)
        self._key = api_key
        self._limits = Limits(connect_timeout, read_timeout, 2 * read_timeout, math.inf, largest_answer)
        self._route: Route | None = None
        self._process = (0, 0)
        """Of the process that has it open."""
        self._headers = {
            "X-API-KEY": self._key,
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": f"lotus-durable/{__version__}",
        }

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._routes.base!r})"

    def exchange(self, method: str, target: str, content: bytes | None = None, **limits: float) -> Answer | NoAnswer:
        """Do what :meth:`exchanging` does, in one step."""
        return result_of(self.exchanging(method, target, content, **limits))

    def exchanging(
        self,
        method: str,
        target: str,
        content: bytes | None = None,
        *,
        idle_at_most: float = math.inf,
        ends_at: float = math.inf,
    ) -> Exchange:
        """Send one request, once, and return what came back; raises nothing that the network or the server can cause.

        It yields when the request is written, and then reads the answer. Whoever closes it in between has the
        connection closed: the answer would be the next request's.

        Args:
            method: of HTTP.
            target: path and query, quoted.
            content: JSON.
            idle_at_most: seconds since its last answer after which a connection is not used again, because the server
                may be closing it, and nobody could tell then whether it had read the request. 0: a new one is opened.
            ends_at: when to give up at the latest, of the clock's ``monotonic()``.
        """
        limits = _within(self._limits, ends_at)
        if limits.whole <= 0:
            return NoAnswer(f"no time left for a request to {self._routes.origin}", timed_out=True)
        self.abandon()
        try:
            return (yield from self._exchange(method, target, content, limits, idle_at_most))
        except BaseException:  # of a signal handler, say: the answer would be the next request's
            self.close()
            raise

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        route, self._route = self._route, None
        if route is None:
            return
        if self._process == fork.this_process():
            route.channel.close()
        else:
            route.channel.abandon()

    def abandon(self) -> None:
        """Drop what a forked child inherited, without touching the parent's connection.

        For a fork hook, so that it happens at once; a request notices a fork by itself.
        """
        if self._route is not None and self._process != fork.this_process():
            self.close()

    def _exchange(
        self, method: str, target: str, content: bytes | None, limits: Limits, idle_at_most: float
    ) -> Exchange:
        kept = self._route
        if kept is not None and not kept.channel.is_usable(idle_at_most=idle_at_most):
            self.close()
            kept = None
        try:
            route = kept or self._opened(limits)
        except NETWORK_ERRORS as error:
            proxy = self._route.proxy if self._route is not None else None
            self.close()
            return unopened(error, self._routes.origin, proxy=proxy, connect=limits.connect)
        channel = route.channel
        try:
            headers = {**self._headers, **route.headers}
            channel.write(method, route.prefix + target, content, headers, limits)
            yield
            received = channel.read()
        except NETWORK_ERRORS as error:
            self.close()
            return unanswered(
                error,
                self._routes.origin,
                proxy=None if route.is_tunnel else route.proxy,
                sent=channel.written,
                was_kept=kept is not None,
                is_answering=channel.is_answering,
                limits=limits,
            )
        return self._answer(received)

    def _opened(self, limits: Limits) -> Route:
        route = self._routes.route()
        self._process, self._route = (
            fork.this_process(),
            route,
        )  # before it is opened: a fork may come in the middle of that
        route.channel.open(limits)
        return route

    def _answer(self, received: Received) -> Answer:
        headers = received.headers
        request_id = headers.get("X-Request-ID")
        date = _moment(headers.get("Date"))
        return Answer(
            status=received.status,
            content_type=str(headers.get("Content-Type", "")),
            body=self._without_key(received.body),
            retry_after=retry_after_seconds(headers.get("Retry-After"), now=time.time() if date is None else date),
            request_id=printable(self._without_key(str(request_id).encode()).decode()) if request_id else None,
            date=date,
        )

    def _without_key(self, content: bytes) -> bytes:
        # The server of 2024 repeats the first five characters of a key it does not know.
        content = content.replace(_BEGINNING + self._key[:5].encode(), _BEGINNING + "…".encode())
        # A wrong URL can lead to a server that echoes the request's headers, and the beginning of an answer is logged.
        if len(self._key) < _SECRET_LENGTH:
            return content
        return content.replace(self._key.encode(), b"(API key)")


def retry_after_seconds(value: str | None, *, now: float) -> float | None:
    """Read a Retry-After header, seconds or an HTTP date, as seconds from ``now`` (unix seconds).

    Bounded to an hour, because a mistake there must not stop delivery for a day; None when absent or not readable.
    """
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return float(min(int(text[:9]), _LONGEST_RETRY_AFTER))
    moment = _moment(text)
    return None if moment is None else min(max(moment - now, 0.0), float(_LONGEST_RETRY_AFTER))


def _moment(value: object) -> float | None:
    """Read an HTTP date as unix seconds; None when absent or not readable."""
    try:
        moment = parsedate_to_datetime(str(value or ""))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _within(limits: Limits, ends_at: float) -> Limits:
    if ends_at == math.inf:
        return limits
    left = ends_at - monotonic()
    return Limits(min(limits.connect, left), min(limits.read, left), left, ends_at, limits.largest)
