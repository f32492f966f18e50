"""HTTP/1.1 on a socket, the server's side: read a request, encode an answer. Knows nothing of Lotus.

Written by hand because a server that injects faults must hold every byte itself: it resets, drips and truncates.
"""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime
from typing import BinaryIO

from lotus_durable.testing.exchange import Answer, Request, phrase

_MAX_LINE = 65_536
_EMPTY = {b"\r\n", b"\n"}


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
        f"HTTP/1.1 {answer.status} {phrase(answer.status)}",
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
    return "".join(f"HTTP/1.1 {status} {phrase(status)}\r\n{hint.get(status, '')}\r\n" for status in statuses).encode()
