"""One request out, one answer in, on one connection to the server or to a proxy.

urllib3 only connects; writing a request and reading its answer is done here and in :mod:`.reading`. A connection is
used again only if the answer came after the whole request, was read to its proper end, and nothing came behind it. It
is counted whether anything was written, so nobody has to guess that from an exception. One thing no client can tell: an
answer that comes unasked while the next request is on its way is taken for that request's.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401  # the codec for names of hosts, which Python would import when it meets the first
import logging
import os
import socket
import ssl
from collections.abc import Mapping
from contextlib import closing, suppress
from typing import Any

# Where the pools have them from: VCR.py puts others into the module that defines them, for as long as a cassette plays.
from urllib3.connectionpool import HTTPConnection, HTTPSConnection  # type: ignore[attr-defined]
from urllib3.util import wait_for_read
from urllib3.util.connection import allowed_gai_family

from lotus_durable.clock import monotonic
from lotus_durable.values import NamedTuple

from .reading import Received, Response, seconds_until

logger: logging.Logger = logging.getLogger("lotus_durable")


class Limits(NamedTuple):
    """What one request may take: seconds, ``ends_at`` of our ``monotonic()``, and bytes of its answer's body."""

    connect: float
    read: float
    whole: float
    ends_at: float
    largest: int


class Channel(HTTPConnection):
    """A connection, opened once. For one request at a time.

    Attributes:
        written: some of the last request may have arrived. A byte was handed to the system, or to TLS, which does not
            say how much it wrote when it fails.
    """

    def __init__(self, *args: Any, good: list[object], **options: Any) -> None:  # noqa: ANN401  # passed on
        super().__init__(*args, **options)
        self.written: bool = False
        self._answer: Response | None = None
        self._good = good
        self._limits = Limits(0.0, 0.0, 0.0, 0.0, 0)
        self._is_open = False
        self._is_early = False
        self._ended_at = 0.0
        self._outgoing: list[bytes] = []
        self._plain: socket.socket | None = None
        """As it was opened; TLS takes its descriptor away from it."""
        self._identity: tuple[int, os.stat_result] | None = None
        self.response_class: Any = self._response

    def open(self, limits: Limits) -> None:
        """Connect, through a proxy if one is set as a tunnel, with TLS where that is wanted."""
        self._limits, self.timeout = limits._replace(whole=limits.connect), limits.connect
        self.connect()
        self._is_open = True

    def write(
        self, method: str, target: str, content: bytes | None, headers: Mapping[str, str], limits: Limits
    ) -> None:
        """Write one request. Whatever raises leaves the connection closed."""
        self.written = False
        self._answer = None
        self._limits, self.timeout = limits, limits.read
        self._outgoing.clear()
        try:
            self.request(method, target, body=content, headers=headers)
            self._is_early = self._write(b"".join(self._outgoing), min(monotonic() + limits.read, limits.ends_at))
        except BaseException:
            self.close()
            raise

    def read(self) -> Received:
        """Read the answer to the request; its time begins now. Whatever raises leaves the connection closed."""
        try:
            self.sock.settimeout(self._limits.read)
            # Not urllib3's, which would have the body read later and elsewhere.
            with closing(super(HTTPConnection, self).getresponse()):
                assert self._answer is not None
                received = self._answer.received()
                is_clean = self._answer.is_clean
        except BaseException:
            self.close()
            raise
        if self._is_early or not is_clean:
            self.close()
        self._ended_at = monotonic()
        return received

    @property
    def is_answering(self) -> bool:
        """A byte of an answer to the last request came."""
        return self._answer is not None and self._answer.has_begun

    def is_usable(self, *, idle_at_most: float) -> bool:
        """Tell whether a request may be written: nothing lies on the connection, and it was used not long ago."""
        if self.sock is None or monotonic() - self._ended_at >= idle_at_most:
            return False
        return self._is_quiet()

    def abandon(self) -> None:
        """Let go of it in a forked child, without a byte to the server and without a lock."""
        for one in (self._plain, self.sock):
            if isinstance(one, socket.socket):
                descriptor = one.detach()  # not close(): nothing of TLS, nothing deferred to a reader that is gone
                if descriptor >= 0:
                    os.close(descriptor)
        if self._identity is not None:  # in the middle of a TLS handshake no object at hand has the descriptor
            descriptor, opened = self._identity
            with suppress(OSError):
                if os.path.samestat(os.fstat(descriptor), opened):
                    os.close(descriptor)
        self.sock = self._plain = None  # as urllib3 does

    def send(self, data: Any) -> None:  # noqa: ANN401  # bytes, of http.client and urllib3
        """Collect a request, to be written in one piece; what asks a proxy for a tunnel is sent."""
        if self._is_open:
            self._outgoing.append(data)
        else:
            super().send(data)

    def _write(self, request: bytes, ends_at: float) -> bool:
        """Write, and tell whether something came before all was written: an answer, and another may follow it."""
        is_early = not self._is_quiet()
        if is_early and (self._ended_at or self._has_tls()):
            raise ConnectionAbortedError("something came before the request")
        is_plain = type(self.sock) is socket.socket
        rest = memoryview(request)
        while rest:
            is_early = is_early or (self.written and self._has_bytes())
            self.sock.settimeout(seconds_until(ends_at))
            self.written = self.written or not is_plain
            try:
                count = self.sock.send(rest)
            except OSError:
                # A server that refuses a large request may answer before it has read it, and close.
                if self.written and self._has_bytes():
                    return True
                raise
            self.written = True
            rest = rest[count:]
        return is_early

    def _has_bytes(self) -> bool:
        """Tell whether something came, an end of the connection too."""
        pending = getattr(self.sock, "pending", None)  # bytes that TLS has taken from the connection already
        return bool(pending and pending()) or wait_for_read(self.sock, timeout=0.0)

    def _has_tls(self) -> bool:
        # TLS inside a proxy's TLS is no socket.
        return isinstance(self.sock, ssl.SSLSocket) or not isinstance(self.sock, socket.socket)

    def _is_quiet(self) -> bool:
        """Tell whether nothing came that a server says; what is read here of TLS is lost, and so is the connection."""
        if not self._has_bytes():
            return True
        if self._has_tls():
            self.sock.settimeout(0.0)
            try:
                self.sock.recv(1)
            except ssl.SSLWantReadError:
                return True  # something between the two TLS libraries, like a ticket for the next session
            except OSError:
                pass
        return False

    def _response(self, sock: socket.socket, *args: Any, **options: Any) -> Response:  # noqa: ANN401  # passed on
        ends_at = min(monotonic() + self._limits.whole, self._limits.ends_at)
        self._answer = Response(sock, *args, ends_at=ends_at, largest=self._limits.largest, **options)
        return self._answer

    def _new_conn(self) -> socket.socket:
        return self._noted(super()._new_conn())

    def _noted(self, opened: socket.socket) -> socket.socket:
        self._plain = opened
        self._identity = (opened.fileno(), os.fstat(opened.fileno()))
        return opened


class DirectChannel(Channel):
    """One that looks up the addresses itself: the last good one first, and all of them within one connect timeout."""

    def _new_conn(self) -> socket.socket:
        found = socket.getaddrinfo(self._dns_host, self.port, allowed_gai_family(), socket.SOCK_STREAM)
        found.sort(key=lambda one: one[4] not in self._good)
        ends_at = monotonic() + self._limits.connect
        failed: list[tuple[object, OSError]] = []
        for number, (family, kind, protocol, _, address) in enumerate(found):
            opened = self._noted(socket.socket(family, kind, protocol))
            try:
                for option in self.socket_options or ():
                    opened.setsockopt(*option)
                opened.settimeout(max((ends_at - monotonic()) / (len(found) - number), 0.001))
                opened.connect(address)
            except BaseException as error:
                opened.close()
                if not isinstance(error, OSError):
                    raise
                failed.append((address[0], error))
                continue
            if failed:
                dead = ", ".join(f"{each} ({error.strerror or 'no answer in time'})" for each, error in failed)
                logger.warning(
                    "%s: no connection to %s; %s answers and is tried first from now on", self.host, dead, address[0]
                )
            self._good[:] = [address]
            opened.settimeout(self._limits.connect)
            return opened
        raise failed[-1][1] if failed else OSError("the name has no address")


class DirectTLSChannel(DirectChannel, HTTPSConnection):
    """The same with TLS."""
