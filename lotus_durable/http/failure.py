"""From an exception of requests, urllib3, http.client or the system to an operator's words.

Never the exception's own text: that of requests shows memory addresses, and URLs with a proxy's password in them.
Imported when first needed, because requests is slow to import.
"""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Iterator
from typing import TypeAlias

from requests import exceptions as of_requests
from urllib3 import exceptions as of_urllib3

from .answer import NoAnswer

# RequestException is an OSError; the others slip through requests now and then.
NETWORK_ERRORS = (OSError, of_urllib3.HTTPError, http.client.HTTPException, UnicodeError)
"""What a request can raise through no fault of ours."""

_CLOSED = (http.client.RemoteDisconnected, ConnectionResetError, ConnectionAbortedError, BrokenPipeError)
_CUT = (http.client.IncompleteRead, of_requests.ChunkedEncodingError)
_TIMEOUT = (TimeoutError, of_urllib3.ReadTimeoutError, of_requests.ReadTimeout)

_Rows: TypeAlias = tuple[tuple[tuple[type[BaseException], ...], str], ...]

# The first row that fits an exception or anything it wraps counts; so the order matters.
_BEFORE_SENDING: _Rows = (
    ((of_requests.InvalidURL, of_requests.InvalidHeader, UnicodeError), "no request can be made for {to}"),
    ((of_requests.InvalidSchema,), "the proxy setting cannot be used (a SOCKS proxy needs requests[socks])"),
    ((of_requests.ProxyError,), "the proxy on the way to {to} cannot be reached, or refuses"),
    ((socket.gaierror,), "the name does not resolve: {to}"),
    ((ssl.SSLCertVerificationError,), "TLS: certificate of {to} refused: {detail}"),
    ((of_requests.ConnectTimeout,), "no connection to {to} within {connect:.3g} s"),
    ((ConnectionRefusedError,), "connection refused by {to}"),
    ((of_urllib3.NewConnectionError,), "no connection to {to}: {detail}"),
)
_AFTER_SENDING: _Rows = (
    (_TIMEOUT, "no answer from {to}: nothing within {read:.3g} s, or no end within {whole}"),
    (
        (ssl.SSLError, of_requests.SSLError),
        "TLS: {to}: {detail}",
    ),  # mostly the handshake, but it can break off later too
    (_CUT, "{to} closed the connection in the middle of its answer"),
    (_CLOSED, "{to} closed the connection before answering"),
    ((http.client.HTTPException,), "{to} does not answer in HTTP"),
    ((Exception,), "no answer from {to}: {kind}: {detail}"),
)


def closed_before_answering(error: Exception) -> bool:
    """Tell whether the server closed the connection and no byte of an answer came."""
    causes = _causes(error)
    return _first(causes, _CUT) is None and _first(causes, _CLOSED) is not None


def explained(error: Exception, to: str, *, connect: float, read: float, whole: float | None = None) -> NoAnswer:
    """Say what happened in one clause, and whether the request may have reached the server.

    Args:
        error: one of ``NETWORK_ERRORS``.
        to: the server's scheme, host and port.
        connect: seconds allowed for opening a connection.
        read: seconds of silence allowed.
        whole: seconds allowed for an answer as a whole; twice ``read`` if not given.
    """
    if type(error) is OSError and error.errno is None:  # requests raises this one itself, before it opens anything
        return NoAnswer("TLS: the CA bundle that REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE names cannot be read")
    causes = _causes(error)
    shown = "twice that" if whole is None or whole == 2 * read else f"{whole:.3g} s"
    facts = {
        "to": to,
        "connect": connect,
        "read": read,
        "whole": shown,
        "detail": _detail(causes),
        "kind": type(error).__name__,
    }
    timed_out = _first(causes, (*_TIMEOUT, of_requests.ConnectTimeout)) is not None
    for rows, sent in ((_BEFORE_SENDING, False), (_AFTER_SENDING, True)):
        for types, words in rows:
            if _first(causes, types) is not None:
                return NoAnswer(words.format_map(facts), timed_out, sent)
    raise AssertionError("the last row fits everything")


def _detail(causes: list[BaseException]) -> str:
    """Return what the TLS library or the system says: fixed phrases of theirs, with nothing of ours in them."""
    for cause in causes:
        if isinstance(cause, ssl.SSLError):
            # Attributes that are there only where OpenSSL raised it, not where Python did.
            words = (
                getattr(cause, "verify_message", "") or (getattr(cause, "reason", "") or "").replace("_", " ").lower()
            )
            if words:
                return str(words)
        elif isinstance(cause, OSError) and cause.errno and cause.strerror:
            return cause.strerror
    return "no details"


def _first(causes: list[BaseException], types: tuple[type[BaseException], ...]) -> BaseException | None:
    return next((cause for cause in causes if isinstance(cause, types)), None)


def _causes(error: Exception) -> list[BaseException]:
    """Return the error and all it wraps: requests and urllib3 put that in args, in ``reason``, or in the chain."""
    found: list[BaseException] = [error]
    for one in found:  # grows while it is walked
        found.extend(wrapped for wrapped in _wrapped(one) if not any(wrapped is known for known in found))
    return found


def _wrapped(error: BaseException) -> Iterator[BaseException]:
    for candidate in (*error.args, getattr(error, "reason", None), error.__cause__, error.__context__):
        if isinstance(candidate, BaseException):
            yield candidate
