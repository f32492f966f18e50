"""What goes over the wire as values: a request that came in, an answer, and how the answer is to be sent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from lotus_durable.testing.data import load

JSON = "application/json"
HTML = "text/html; charset=utf-8"
_PHRASES = {status.value: status.phrase for status in HTTPStatus}
_PHRASES |= {int(status): phrase for status, phrase in load("proxies")["phrases"].items()}  # nginx, AWS and Cloudflare


@dataclass(frozen=True, slots=True)
class Request:
    """One request as read from the socket.

    Attributes:
        path: without the query, still percent-encoded.
        headers: by lower-case name; repeated ones joined with ", ".
        body: the bytes after transfer decoding.
        content_length: what the header said, or None (no body, or a chunked one).
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes = b""
    content_length: int | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A status line, headers and a body."""

    status: int
    body: bytes = b""
    content_type: str = HTML
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer and the way it travels: late, slowly, cut short, behind interim answers, or not at all.

    Attributes:
        answer: None ends the connection instead of answering.
        reset: without an answer: by RST, else by FIN.
        delay: seconds to wait before the first byte.
        pause: seconds to wait before each further byte of the body.
        keep: how many bytes of the body are sent before the connection is closed; None sends all.
        interim: statuses of the interim answers (1xx) that go before it.
        close: close the connection after it.
    """

    answer: Answer | None
    reset: bool = True
    delay: float = 0.0
    pause: float = 0.0
    keep: int | None = None
    interim: tuple[int, ...] = ()
    close: bool = False


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """A request the server got, and what it answered.

    Attributes:
        path: with its query, as sent.
        headers: by lower-case name.
        status: the status of the answer; None when the connection was ended instead.
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


def nginx_page(status: int, *headers: tuple[str, str]) -> Answer:
    """Answer with nginx's page for this status."""
    title = f"{status} {phrase(status)}"
    body = (
        f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n"
        f"<center><h1>{title}</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
    )
    return Answer(status, body.encode(), "text/html", headers)


def phrase(status: int) -> str:
    """Return the reason phrase of a status, or "Unknown"."""
    return _PHRASES.get(status, "Unknown")
