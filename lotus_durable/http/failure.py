"""Turning an exception of urllib3, http.client or the system into a sentence for an operator: who refused, and what.

It never has the exception's own text, which may hold memory addresses, a proxy's password or what a server sent.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final, TypeAlias

from urllib3 import exceptions as of_urllib3

from .answer import NoAnswer
from .channel import Limits
from .reading import Undecodable


class Unusable(Exception):
    """No request can be made with these settings; the text is the reason, for an operator."""


NETWORK_ERRORS: Final = (OSError, of_urllib3.HTTPError, http.client.HTTPException, UnicodeError, Unusable)
"""What a request can raise through no fault of ours."""

_CLOSED = (http.client.RemoteDisconnected, ConnectionError)
_TIMEOUT = (TimeoutError, of_urllib3.TimeoutError)
_NO_TLS: Final = {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST"}
"""What OpenSSL makes of an answer in plain HTTP."""
_BEGINS_TLS = re.compile(r"[\x14-\x17]\x03")
_REFUSED_TUNNEL = re.compile(r"Tunnel connection failed: (\d{3})\b")
"""http.client's words: it keeps the status nowhere else."""

_Rows: TypeAlias = tuple[tuple[tuple[type[BaseException], ...], str], ...]

# The first row that fits an exception or anything it wraps counts; so the order matters.
_OPENING: _Rows = (
    ((UnicodeError, of_urllib3.LocationValueError), "no request can be made for {to}"),
    ((socket.gaierror,), "the name does not resolve: {by}"),
    ((ssl.SSLCertVerificationError,), "TLS: certificate of {to} refused: {detail}"),
    ((ssl.SSLError,), "TLS: {to}: {detail}"),
    (_TIMEOUT, "no connection to {by} within {connect:.3g} s"),
    ((ConnectionRefusedError,), "connection refused by {by}"),
    (_CLOSED, "{by} closed the connection before it could be used"),
    ((http.client.HTTPException,), "{by} does not answer in HTTP"),
    ((Exception,), "no connection to {by}: {detail}"),
)
_OPEN: _Rows = (
    (_TIMEOUT, "no answer from {by}: nothing within {read:.3g} s, or no end within {whole}"),
    ((ssl.SSLError,), "TLS: {to}: {detail}"),
    ((http.client.IncompleteRead,), "{by} closed the connection in the middle of its answer"),
    (_CLOSED, "{by} closed the connection before answering"),
    ((Undecodable,), "{by} answers in an encoding that was not asked for and cannot be read"),
    ((http.client.HTTPException,), "{by} does not answer in HTTP{hint}"),
    ((Exception,), "no answer from {by}: {kind}: {detail}"),
)


def unopened(error: Exception, to: str, *, proxy: str | None, connect: float) -> NoAnswer:
    """Say why there is no connection to a server, perhaps by way of a proxy, in one clause."""
    if isinstance(error, Unusable):
        return NoAnswer(str(error), needs_person=True)
    by = to if proxy is None else f"the proxy {proxy} on the way to {to}"
    refused = _REFUSED_TUNNEL.search(str(error))
    if refused is not None:
        asks = " (it asks for a user name and password, or refuses those in its URL)" if refused[1] == "407" else ""
        is_outage = refused[1].startswith("5") or refused[1] in ("408", "429")
        return NoAnswer(f"{by} refuses: HTTP {refused[1]}{asks}", needs_person=not is_outage)
    return _explained(_OPENING, error, {"to": to, "by": by, "connect": connect})


def unanswered(
    error: Exception, to: str, *, proxy: str | None, sent: bool, was_kept: bool, is_answering: bool, limits: Limits
) -> NoAnswer:
    """Say why a request on an open connection has no answer, in one clause.

    The proxy is one that takes the request and answers for the server.
    """
    by = to if proxy is None else f"the proxy {proxy} on the way to {to}"
    if isinstance(error, _CLOSED) and is_answering:
        error = http.client.IncompleteRead(b"")
    whole = "twice that" if limits.whole == 2 * limits.read else f"{limits.whole:.3g} s"
    facts = {"to": to, "by": by, "read": limits.read, "whole": whole}
    found = _explained(_OPEN, error, facts, sent=sent)
    return replace(found, was_kept=was_kept and not is_answering and not found.timed_out)


def _explained(rows: _Rows, error: Exception, facts: Mapping[str, object], *, sent: bool = False) -> NoAnswer:
    causes = _causes(error)
    timed_out = _first(causes, _TIMEOUT) is not None
    for types, words in rows:
        if _first(causes, types) is not None:
            more = {"kind": type(error).__name__, "detail": _detail(causes), "hint": _hint(error)}
            reason = words.format_map({**facts, **more})
            return NoAnswer(reason, timed_out, sent, needs_person=any(map(_needs_person, causes)))
    raise AssertionError("the last row fits everything")


def _needs_person(cause: BaseException) -> bool:
    if isinstance(cause, UnicodeError | of_urllib3.LocationValueError | ssl.SSLCertVerificationError):
        return True
    if isinstance(cause, ssl.SSLError):
        return getattr(cause, "reason", "") in _NO_TLS
    # Not EAI_AGAIN, of which the name service recovers.
    return isinstance(cause, socket.gaierror) and cause.errno == socket.EAI_NONAME


def _hint(error: Exception) -> str:
    is_tls = isinstance(error, http.client.BadStatusLine) and _BEGINS_TLS.match(str(error))
    return ", but in TLS (https?)" if is_tls else ""


def _detail(causes: list[BaseException]) -> str:
    """Return what the TLS library or the system says: fixed phrases of theirs, with nothing of ours in them."""
    for cause in causes:
        if isinstance(cause, ssl.SSLError):
            # Attributes that are there only where OpenSSL raised it, not where Python did.
            reason = getattr(cause, "reason", "") or ""
            words = getattr(cause, "verify_message", "") or reason.replace("_", " ").lower()
            if words:
                return f"{words} (http?)" if reason in _NO_TLS else str(words)
        elif isinstance(cause, OSError) and cause.errno and cause.strerror:
            return cause.strerror
    return "no details"


def _first(causes: list[BaseException], types: tuple[type[BaseException], ...]) -> BaseException | None:
    return next((cause for cause in causes if isinstance(cause, types)), None)


def _causes(error: Exception) -> list[BaseException]:
    """Return the error and all it wraps, which urllib3 puts in args, in ``reason`` or in the chain.

    Not what was being handled when it was raised: that may be an error of the application's, about something else.
    """
    found: list[BaseException] = [error]
    for one in found:  # grows while it is walked
        found.extend(wrapped for wrapped in _wrapped(one) if not any(wrapped is known for known in found))
    return found


def _wrapped(error: BaseException) -> Iterator[BaseException]:
    for candidate in (*error.args, getattr(error, "reason", None), error.__cause__):
        if isinstance(candidate, BaseException):
            yield candidate
