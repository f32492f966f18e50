"""What goes over the wire as values: a request that came in, an answer, and how the answer is to be sent."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

JSON = "application/json"
HTML = "text/html; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Request:
    """One request as read from the socket.

    Attributes:
        path: the path without the query, still percent-encoded.
        query: what follows the question mark, without it.
        headers: by lower-case name; repeated ones joined with ", ".
        body: the bytes after transfer decoding; empty when longer than the server cares to hold.
        content_length: what the header said, or None (no body, or a chunked one).
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes = b""
    content_length: int | None = None

    @property
    def chunked(self) -> bool:
        """Whether the body came without a length, in chunks."""
        return "chunked" in self.headers.get("transfer-encoding", "").lower()


@dataclass(frozen=True, slots=True)
class Answer:
    """A status line, headers and a body."""

    status: int
    body: bytes = b""
    content_type: str = HTML
    headers: tuple[tuple[str, str], ...] = ()
    close: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer and the way it travels: late, slowly, cut short, or not at all.

    Attributes:
        answer: None resets the connection instead of answering.
        delay: seconds to wait before the first byte.
        pause: seconds to wait before each further byte of the body.
        keep: how many bytes of the body are sent before the connection is closed; None sends all.
    """

    answer: Answer | None
    delay: float = 0.0
    pause: float = 0.0
    keep: int | None = None


RESET = Reply(None)


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """A request the server got, and what it answered.

    Attributes:
        path: with its query, as sent.
        headers: by lower-case name.
        status: the status of the answer; None when the connection was reset instead.
        fault: the name of the injected fault, or None.
    """

    method: str
    path: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    status: int | None
    fault: str | None = None

    def json(self) -> Any:  # noqa: ANN401  # whatever was sent
        """Return the body parsed as JSON; raises ValueError when it is not."""
        return json.loads(self.body)


def django_json(status: int, value: object) -> Answer:
    """Answer as Django's JsonResponse does: separators with spaces."""
    return Answer(status, json.dumps(value).encode(), JSON)


def drf_json(status: int, value: object) -> Answer:
    """Answer as Django REST framework does: compact, not escaped."""
    body = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return Answer(status, body.encode("utf-8", "replace"), JSON)


_GO_ESCAPES = str.maketrans({"<": r"\u003c", ">": r"\u003e", "&": r"\u0026", "\u2028": r"\u2028", "\u2029": r"\u2029"})


def go_json(status: int, value: object) -> Answer:
    """Answer as Go's echo does: compact, HTML characters escaped, a newline, and a charset."""
    body = json.dumps(value, ensure_ascii=False, separators=(",", ":")).translate(_GO_ESCAPES)
    return Answer(status, body.encode("utf-8", "replace") + b"\n", "application/json; charset=UTF-8")


def django_page(status: int, title: str) -> Answer:
    """Answer with one of Django's built-in error pages."""
    body = (
        f'\n<!doctype html>\n<html lang="en">\n<head>\n  <title>{title}</title>\n</head>\n'
        f"<body>\n  <h1>{title}</h1><p></p>\n</body>\n</html>\n"
    )
    return Answer(status, body.encode())


def nginx_page(status: int) -> Answer:
    """Answer with nginx's page for this status."""
    title = f"{status} {phrase(status)}"
    body = (
        f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n"
        f"<center><h1>{title}</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
    )
    return Answer(status, body.encode(), "text/html")


def phrase(status: int) -> str:
    """Return the reason phrase of a status, or "Unknown"."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
