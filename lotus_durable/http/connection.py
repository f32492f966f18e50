"""One request in, one answer out, over one connection: what delivery and the calls that answer share.

Both servers take JSON only like this, measured: ``Content-Type`` exactly ``application/json`` (a charset suffix is a
500), with a ``Content-Length`` (chunked is a 500), no gzip, and the trailing slash (without it there is a redirect that
turns a POST into a GET: so redirects are never followed).
"""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from lotus_durable._version import __version__
from lotus_durable.errors import ConfigurationError

from .answer import Answer, NoAnswer, printable

if TYPE_CHECKING:
    import requests

    from .session import Adapter

_CHUNK: Final = 64 * 1024
_LONGEST_RETRY_AFTER: Final = 3_600
"""Seconds."""
_STALE_WITHIN: Final = 2.0
"""Seconds. A connection closed while idle fails within a round trip; later, the server was at work on the request."""
_SECRET_LENGTH: Final = 16
"""A key this long is in an answer only because the server put it there."""
_BEGINNING: Final = b"API Key starting with "


@dataclass(frozen=True, slots=True)
class _Live:
    """A session and the process it belongs to."""

    pid: int
    session: requests.Session
    adapter: Adapter


@dataclass(frozen=True, slots=True)
class _Bounds:
    """What one request may take, in seconds; ``ends_at`` is of ``time.monotonic()``."""

    connect: float
    read: float
    whole: float
    ends_at: float = math.inf


class Connection:
    """A connection to one server, kept alive, opened when first needed, in each process its own. For one thread a time.

    Proxies (``HTTPS_PROXY``, ``NO_PROXY``, …) and ``REQUESTS_CA_BUNDLE`` are honoured, ``~/.netrc`` is not. TLS is
    always verified.
    """

    def __init__(
        self,
        host: str,
        api_key: str,
        *,
        connect_timeout: float = 5.0,
        read_timeout: float = 30.0,
        largest_answer: int = 4 * 1024 * 1024,
    ) -> None:
        """Check the arguments; nothing is opened yet.

        Args:
            host: ``https://…``, with or without a trailing slash, or a path before ``/api/``.
            api_key: sent as ``X-API-KEY``, and shown nowhere.
            connect_timeout: seconds to open a connection.
            read_timeout: seconds to send a request, and of silence before giving up; an answer that comes in dribs
                is given up after twice that.
            largest_answer: bytes; what is longer is cut off there.

        Raises:
            ConfigurationError: the host is not the URL of a server, or the key cannot be sent in a header.
        """
        self._origin, self.base = _checked_url(host)
        self._key = _checked_key(api_key)
        self._bounds = _Bounds(connect_timeout, read_timeout, 2 * read_timeout)
        self._largest_answer = largest_answer
        self._live: _Live | None = None
        self._last_prepared: requests.PreparedRequest | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base!r})"

    def exchange(
        self,
        method: str,
        target: str,
        content: bytes | None = None,
        *,
        repeatable: bool = False,
        ends_at: float | None = None,
    ) -> Answer | NoAnswer:
        """Send one request and return what came back; raises nothing that the network or the server can cause.

        Args:
            method: of HTTP.
            target: path and query, quoted.
            content: JSON.
            repeatable: sending it twice does no more than sending it once. Then a request that meets a connection the
                server just closed for being idle is sent once more, at once, on a fresh one: no byte of an answer came.
                Any other request is sent on a fresh connection in the first place.
            ends_at: when to give up at the latest, of ``time.monotonic()``.
        """
        bounds = self._bounds if ends_at is None else _within(self._bounds, ends_at)
        if bounds.whole <= 0:
            return NoAnswer(f"no time left for a request to {self._origin}", timed_out=True)
        if not repeatable:
            self.close()
        return self._exchange(method, target, content, bounds, repeatable=repeatable)

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        live, self._live = self._live, None
        if live is None:
            return
        if live.pid == os.getpid():
            live.session.close()
        else:
            live.adapter.abandon()

    def abandon(self) -> None:
        """Drop what a forked child inherited, without touching the parent's connection.

        For a fork hook, so that it happens at once; a request notices a fork by itself.
        """
        if self._live is not None and self._live.pid != os.getpid():
            self.close()

    def _exchange(
        self, method: str, target: str, content: bytes | None, bounds: _Bounds, *, repeatable: bool
    ) -> Answer | NoAnswer:
        live = self._ours()
        from .failure import closed_before_answering

        live.adapter.bound(bounds.read, bounds.whole, ends_at=bounds.ends_at)
        request = (method, self.base + target, content)
        opened, started = live.adapter.opened, time.monotonic()
        result = self._attempt(live.session, request, bounds)
        if isinstance(result, Exception) and repeatable:
            reused = live.adapter.opened == opened
            at_once = time.monotonic() - started < _STALE_WITHIN
            if reused and at_once and closed_before_answering(result):
                result = self._attempt(live.session, request, bounds)
                if isinstance(result, Answer):
                    return replace(result, resent=True)
                return replace(self._explained(result, bounds), sent=True)
        return self._explained(result, bounds) if isinstance(result, Exception) else result

    def _explained(self, error: Exception, bounds: _Bounds) -> NoAnswer:
        from .failure import explained

        return explained(error, self._origin, connect=bounds.connect, read=bounds.read, whole=bounds.whole)

    def _ours(self) -> _Live:
        self.abandon()
        if self._live is None:
            self._live = self._opened()
        return self._live

    def _opened(self) -> _Live:
        from .session import Adapter, open_session

        adapter = Adapter()
        headers = {
            "X-API-KEY": self._key,
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": f"lotus-durable/{__version__}",
        }
        return _Live(os.getpid(), open_session(adapter, headers, self.base), adapter)

    def _attempt(
        self, session: requests.Session, request: tuple[str, str, bytes | None], bounds: _Bounds
    ) -> Answer | Exception:
        from .failure import NETWORK_ERRORS

        try:
            return self._answer(session, request, bounds)
        except NETWORK_ERRORS as error:
            return error

    def _answer(self, session: requests.Session, request: tuple[str, str, bytes | None], bounds: _Bounds) -> Answer:
        method, url, content = request
        timeouts = (bounds.connect, bounds.read)
        prepared = self._prepared(session, method, url)
        prepared.prepare_body(content, None)
        with session.send(prepared, timeout=timeouts, allow_redirects=False, stream=True) as response:
            return Answer(
                status=response.status_code,
                content_type=response.headers.get("Content-Type", ""),
                body=self._without_key(self._bounded_body(response)),
                retry_after=retry_after_seconds(response.headers.get("Retry-After"), now=time.time()),
                request_id=self._request_id(response),
            )

    def _prepared(self, session: requests.Session, method: str, url: str) -> requests.PreparedRequest:
        """Return a request without a body; the last one is kept, because delivery sends to one URL for weeks."""
        last = self._last_prepared
        if last is None or (last.method, last.url) != (method, url):
            from requests import Request

            last = self._last_prepared = session.prepare_request(Request(method, url))
        return last.copy()

    def _bounded_body(self, response: requests.Response) -> bytes:
        content = bytearray()
        for chunk in response.iter_content(_CHUNK):
            content += chunk
            if len(content) >= self._largest_answer:
                break  # the rest is not read, and the connection not used again
        return bytes(content[: self._largest_answer])

    def _request_id(self, response: requests.Response) -> str | None:
        value = response.headers.get("X-Request-ID")
        return printable(self._without_key(value.encode()).decode()) if value else None

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
    from datetime import UTC
    from email.utils import parsedate_to_datetime

    try:
        moment = parsedate_to_datetime(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return min(max(moment.timestamp() - now, 0.0), float(_LONGEST_RETRY_AFTER))
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _within(bounds: _Bounds, ends_at: float) -> _Bounds:
    left = ends_at - time.monotonic()
    return _Bounds(min(bounds.connect, left), min(bounds.read, left), left, ends_at)


def _checked_url(host: str) -> tuple[str, str]:
    """Return the server's origin, for messages, and what comes before ``/api/`` in URLs."""
    try:
        parts = urlsplit(host.strip())
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ConfigurationError("host: must be the URL of a Lotus server, like https://api.uselotus.io")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ConfigurationError("host: must not hold a user name, a password, a query or a fragment")
    origin = f"{parts.scheme}://{parts.netloc}"
    return origin, f"{origin}{parts.path.rstrip('/')}"


def _checked_key(api_key: str) -> str:
    if not api_key:
        raise ConfigurationError("api_key: is empty")
    if api_key != api_key.strip():
        raise ConfigurationError("api_key: has white space before or after it")
    if not (api_key.isascii() and api_key.isprintable()):
        raise ConfigurationError("api_key: holds a character that a header cannot carry (only printable ASCII)")
    return api_key
