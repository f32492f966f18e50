"""The answer to one request, and how its body is read: carefully, because a proxy may have written it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NoReturn

from lotus_durable.values import NamedTuple

NOT_JSON: Final = object()
"""What ``json_value`` returns for a body that is not JSON; None is a JSON value."""

_TAG = re.compile(r"<[^<>]*>")
_READ_FOR_EXCERPT = 2_000  # bytes
_LONGEST_TEXT = 200  # characters


class Answer(NamedTuple):
    """A complete HTTP answer, its body cut off at the transport's limit."""

    status: int
    content_type: str
    body: bytes
    retry_after: float | None = None
    """Seconds the server asked us to wait."""
    request_id: str | None = None
    """What the server or a proxy calls this request in its log (``X-Request-ID``)."""
    date: float | None = None
    """What the server says is the time (``Date``), unix seconds."""


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """There was no complete answer."""

    reason: str
    """One clause for an operator, without the API key."""
    timed_out: bool = False
    sent: bool = False
    """A byte of the request may have reached the server; if not, none was written."""
    was_kept: bool = field(default=False, compare=False)
    """It was sent on a connection kept open, which the server may have closed before: not a byte of an answer came."""
    needs_person: bool = field(default=False, compare=False)
    """A person has to mend it, most likely: a wrong host name, a certificate, a proxy's password, a setting."""


def media_type(answer: Answer) -> str:
    """Return the content type without its parameters, in lower case."""
    return answer.content_type.partition(";")[0].strip().lower()


def json_value(answer: Answer, *, fraction: Callable[[str], object] = float) -> object:
    """Return the body's JSON value, or ``NOT_JSON``; raises nothing. ``fraction`` reads numbers that have a point.

    Strict, since it decides whether events count as delivered: the content type must say JSON, the text must be UTF-8,
    a key must not occur twice in an object, and NaN and infinity are not JSON.
    """
    if media_type(answer) != "application/json":
        return NOT_JSON
    try:
        return json.loads(
            answer.body.decode(), object_pairs_hook=_object, parse_float=fraction, parse_constant=_not_json
        )
    except (ValueError, RecursionError):
        return NOT_JSON


def excerpt(answer: Answer) -> str:
    """Return the status and the beginning of the body as one printable line, tags left out."""
    text = answer.body[:_READ_FOR_EXCERPT].decode(errors="replace")
    if media_type(answer) == "text/html":
        text = _TAG.sub(" ", text)
    text = printable(text)
    return f"HTTP {answer.status}: {text}" if text else f"HTTP {answer.status}, no text"


def printable(text: str) -> str:
    """Return foreign text fit for a log line or a terminal: one line, no control characters, cut short."""
    if len(text) <= _LONGEST_TEXT and text.isprintable():
        return text.strip()  # the reasons of 500 events mostly are: not one character at a time, then
    # Cut before cleaning as well: a reason may be as long as the answer.
    visible = "".join(character if character.isprintable() else " " for character in text[:_READ_FOR_EXCERPT])
    line = " ".join(visible.split())
    return line if len(line) <= _LONGEST_TEXT else f"{line[: _LONGEST_TEXT - 1]}…"


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key occurs twice")
    return value


def _not_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
