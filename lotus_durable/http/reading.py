"""Reading one answer: only a final one, to a definite end, and within limits of time and bytes.

http.client does less. It takes a 102 or 103 for the answer and leaves the real one for the next request. It drops what
came behind an answer without a word. And its timeout limits each silence, not the whole answer.
"""

from __future__ import annotations

import http.client
import io
import re
import zlib
from contextlib import suppress
from email.message import Message
from socket import socket
from typing import Any, Final

from lotus_durable.clock import monotonic
from lotus_durable.values import NamedTuple

_CHUNK: Final = 64 * 1024
_BESIDE_THE_BODY: Final = 1024 * 1024
"""Bytes of status lines, headers and chunk sizes that are read, beside as many again as the body may have."""
_LENGTH = re.compile(r"[0-9]{1,18}")


class Received(NamedTuple):
    """A final answer; its body may be cut off at the largest size."""

    status: int
    headers: Message
    body: bytes


class Undecodable(http.client.HTTPException):
    """The body is not in the encoding that its header names, or in one that was not asked for."""


class Response(http.client.HTTPResponse):
    """An answer on its way in: all of it until ``ends_at``, of ``monotonic()``, and ``largest`` bytes of its body."""

    def __init__(self, sock: socket, *args: Any, ends_at: float, largest: int, **options: Any) -> None:  # noqa: ANN401  # passed on
        super().__init__(sock, *args, **options)
        self._largest = largest
        self._source = _Source(self.fp.detach(), sock, ends_at, 2 * largest + _BESIDE_THE_BODY)
        self.fp = self._buffer = _Buffer(self._source)

    @property
    def has_begun(self) -> bool:
        """A byte of it came."""
        return self._source.has_begun

    @property
    def is_clean(self) -> bool:
        """After the body was read: it came to its proper end, nothing came behind it, and the connection stays."""
        return self.isclosed() and not self.will_close and not self._buffer.surplus

    def begin(self) -> None:
        """Read heads until one is final; http.client itself reads past 100 alone."""
        while self.headers is None:
            super().begin()
            if self.status == http.client.SWITCHING_PROTOCOLS:
                raise http.client.UnknownProtocol("nobody asked for another")
            if self.status < http.client.OK:
                self.headers = self.msg = None
        self._check_framing()

    def _check_framing(self) -> None:
        """Refuse a head that says in two ways, or in none that can be understood, where its body ends."""
        codings = ",".join(self.headers.get_all("Transfer-Encoding", ())).strip().lower()
        fields = ",".join(self.headers.get_all("Content-Length", ()))
        lengths = {each.strip() for each in fields.split(",")} if fields else set()
        if codings not in ("", "chunked") or len(lengths) > 1 or not all(map(_LENGTH.fullmatch, lengths)):
            raise http.client.HTTPException("it cannot be told where the body ends")
        if codings and lengths:
            self.will_close = True

    def received(self) -> Received:
        """Read the body, and no more of it than is wanted."""
        content = bytearray()
        while len(content) < self._largest and (piece := self.read(min(_CHUNK, self._largest - len(content)))):
            content += piece
        if self.length and len(content) < self._largest:
            raise http.client.IncompleteRead(b"")
        encoding = str(self.headers.get("Content-Encoding", "")).strip().lower()
        return Received(self.status, self.headers, _decoded(encoding, bytes(content), self._largest))


class _Buffer(io.BufferedReader):
    """Knows when it is closed, as http.client does it at an answer's end, whether more came than was read."""

    surplus = False
    raw: _Source

    def close(self) -> None:
        if not self.closed:
            self.raw.is_over = True
            self.surplus = bool(self.peek(1))
        super().close()


class _Source(io.RawIOBase):
    """The bytes of one answer, from its status line on, until it is too late or there are too many."""

    def __init__(self, raw: io.RawIOBase, sock: socket, ends_at: float, most: int) -> None:
        self.has_begun = self.is_over = False
        self._raw = raw
        self._sock = sock
        self._ends_at = ends_at
        self._most = most

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:  # noqa: ANN401  # a writable buffer, which has no name before 3.12
        if self.is_over:
            return 0
        if self._most <= 0:
            raise http.client.HTTPException("the answer is too long")
        left = seconds_until(self._ends_at)
        if left < (self._sock.gettimeout() or left + 1.0):
            self._sock.settimeout(left)
        count: int | None = self._raw.readinto(buffer)
        self._most -= count or 0
        self.has_begun = self.has_begun or bool(count)
        return count

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
        super().close()


def seconds_until(ends_at: float) -> float:
    """Return what is left until then.

    Raises:
        TimeoutError: nothing is.
    """
    left = ends_at - monotonic()
    if left <= 0:
        raise TimeoutError("it did not end in time")
    return left


def _decoded(encoding: str, body: bytes, largest: int) -> bytes:
    """Undo a compression that was not asked for, as some proxies add it."""
    if encoding in ("", "identity") or not body:
        return body
    if encoding in ("gzip", "x-gzip", "deflate"):
        with suppress(zlib.error):
            unpacked = zlib.decompressobj(zlib.MAX_WBITS | 32)  # finds out itself which of them it is
            content = unpacked.decompress(body, largest)
            if unpacked.eof or len(content) >= largest:
                return content
    raise Undecodable(encoding)
