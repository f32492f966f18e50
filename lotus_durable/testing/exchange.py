"""HTTP/1.1, the server's side: requests, answers and how they travel as values; read from and written for a socket.

Written by hand because a server that injects faults must hold every byte itself: it resets, drips and truncates. Knows
nothing of Lotus.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from http import HTTPStatus
from typing import Any, BinaryIO

from lotus_durable.testing.data import load

JSON = "application/json"
HTML = "text/html; charset=utf-8"
_MAX_LINE = 65_536
_EMPTY = {b"\r\n", b"\n"}
_PHRASES = defaultdict(lambda: "Unknown", {status.value: status.phrase for status in HTTPStatus})
_PHRASES |= {int(status): phrase for status, phrase in load("proxies")["phrases"].items()}  # nginx, AWS and Cloudflare


@dataclass(frozen=True, slots=True)
class Request:
    """One request as read from the socket: the path still percent-encoded, headers by lower-case name.

    ``content_length`` is what the header said, or None (no body, or a chunked one).
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
    """An answer, or None to end the connection (by RST with ``reset``, else by FIN), and the way it travels.

    ``delay`` seconds late, behind ``interim`` answers, ``pause`` seconds before each byte of the body, of which only
    ``keep`` are sent before the connection is closed; with ``close`` it is closed in any case.
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
    """A request the server got, its path with the query and its headers by lower-case name, and what it answered.

    ``status`` is None when the connection was ended instead; ``fault`` is the name of the injected fault.
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
    title = f"{status} {_PHRASES[status]}"
    body = (
        f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n"
        f"<center><h1>{title}</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
    )
    return Answer(status, body.encode(), "text/html", headers)


class BadRequest(Exception):
    """What came in is not HTTP; the connection cannot be used further."""


class Disconnected(Exception):
    """The client went away in the middle of a request."""


def read_head(stream: BinaryIO) -> Request | None:
    """Read a request line and its headers; None when the client closed the connection between requests."""
    line = stream.readline(_MAX_LINE)
    while line in _EMPTY:  # clients may send an empty line before a request (RFC 9112, 2.2)
        line = stream.readline(_MAX_LINE)
    if not line:
        return None
    parts = line.decode("latin-1").split()
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):  # noqa: PLR2004  # method, target, version
        raise BadRequest(line[:100])
    method, target, version = parts
    headers = {"connection": "close"} if version == "HTTP/1.0" else {}
    while (line := stream.readline(_MAX_LINE)) not in _EMPTY:
        if not line.endswith(b"\n"):
            raise Disconnected
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon:
            raise BadRequest(line[:100])
        name, value = name.lower(), value.strip()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    length = headers.get("content-length")
    if length is not None and not (length.isascii() and length.isdigit()):
        raise BadRequest(b"Content-Length")
    path, _, query = target.partition("?")
    return Request(method, path, query, headers, content_length=None if length is None else int(length))


def read_body(stream: BinaryIO, head: Request) -> bytes:
    """Read the body that belongs to ``head``; raises Disconnected when it ends too early."""
    if "chunked" not in head.headers.get("transfer-encoding", "").lower():
        return _read(stream, head.content_length or 0)
    pieces: list[bytes] = []
    while size := _chunk_size(stream.readline(_MAX_LINE)):
        pieces.append(_read(stream, size))
        stream.readline(_MAX_LINE)
    while stream.readline(_MAX_LINE) not in {*_EMPTY, b""}:  # trailers
        pass
    return b"".join(pieces)


def _read(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise Disconnected
    return data


def _chunk_size(line: bytes) -> int:
    if not line:
        raise Disconnected
    try:
        return int(line.split(b";")[0], 16)
    except ValueError:
        raise BadRequest(line[:100]) from None


def encode_head(answer: Answer, *, close: bool) -> bytes:
    """Return status line and headers, up to and with the empty line."""
    lines = [
        f"HTTP/1.1 {answer.status} {_PHRASES[answer.status]}",
        f"Date: {format_datetime(datetime.now(UTC), usegmt=True)}",
        f"Content-Type: {answer.content_type}",
        f"Content-Length: {len(answer.body)}",
        f"Connection: {'close' if close else 'keep-alive'}",
        *(f"{name}: {value}" for name, value in answer.headers),
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")


def encode_interim(statuses: tuple[int, ...]) -> bytes:
    """Return these interim answers, which have no body."""
    hint = {103: "Link: </style.css>; rel=preload; as=style\r\n"}
    return "".join(
        f"HTTP/1.1 {status} {_PHRASES[status]}\r\n{hint.get(status, '')}\r\n" for status in statuses
    ).encode()
