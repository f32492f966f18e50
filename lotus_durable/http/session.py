"""A requests session for one process, one thread and one server.

What requests does not do by itself, and a process that uploads for weeks needs:

- **A deadline for a whole answer.** requests' read timeout is for one silence: a server that sends a byte now and then
  would hang the uploader for ever.
- **The read timeout also for sending.** urllib3 sends under the connect timeout, which is meant to be short: a large
  batch on a slow line would never get through.
- **Knowing whether a connection was opened.** A request that failed on one kept alive may have met a server that just
  closed it; on a fresh one it is an outage.
- **Leaving it behind after a fork.** A child closes its copies of the descriptors, sends nothing on them, and takes no
  lock that a thread of the parent may have held at the fork.

The only module that reaches below requests, through what is meant for it: a urllib3 pool's ``ConnectionCls`` and
http.client's ``response_class``. Imported when first needed, because requests is slow to import.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from http.client import HTTPResponse
from http.cookiejar import DefaultCookiePolicy
from math import inf
from queue import LifoQueue
from socket import socket
from time import monotonic
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool


def open_session(adapter: Adapter, headers: Mapping[str, str], url: str) -> requests.Session:
    """Return a session for the server at ``url`` that sends these headers and no others; no cookies, no netrc.

    Proxies and CA bundles are taken from the environment, as requests does it, but once: it looks at all of the
    environment for each request, which takes as long as half of what else there is to it (measured: 0.2 to 0.4 ms).
    """
    session = requests.Session()
    session.headers.clear()
    session.headers.update(headers)
    # An auth of our own, that adds nothing: without one requests adds what ~/.netrc has for the host.
    session.auth = _no_auth
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    settings = session.merge_environment_settings(url, {}, None, None, None)
    session.proxies, session.verify = settings["proxies"], settings["verify"]
    session.trust_env = False
    return session


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


class Adapter(HTTPAdapter):
    """Keeps one connection alive, and watches over it."""

    def __init__(self) -> None:
        super().__init__(pool_connections=1, pool_maxsize=1)
        self.opened = 0
        self.send_within: float | None = None
        self.answer_within = self.ends_at = inf
        self._pools: list[HTTPConnectionPool] = []
        self._sockets: list[socket] = []
        self._connecting: tuple[int, int] | None = None

    def bound(self, send_within: float, answer_within: float, *, ends_at: float = inf) -> None:
        """Bound what the next requests may take, beside the timeouts given with each.

        Args:
            send_within: seconds to send a request.
            answer_within: seconds from the end of a request after which no further read of its answer begins.
            ends_at: of ``time.monotonic()``; no read of an answer lasts longer than that.
        """
        self.send_within = send_within
        self.answer_within = answer_within
        self.ends_at = ends_at

    def get_connection_with_tls_context(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401  # passed on
        """Return a pool whose connections report here."""
        pool: Any = super().get_connection_with_tls_context(*args, **options)
        if pool.ConnectionCls in _WATCHED:  # not for a SOCKS proxy: that one goes without
            pool.ConnectionCls = _WATCHED[pool.ConnectionCls]
            pool.conn_kw["adapter"] = self
            self._pools.append(pool)
        return pool

    def connecting(self, connection: socket | None) -> None:
        """Note a connection that is being made: TLS takes its descriptor away from it until the handshake is over."""
        self._connecting = None if connection is None else (connection.fileno(), os.fstat(connection.fileno()).st_ino)

    def connected(self, connection: socket) -> None:
        """Note that a connection was opened."""
        self.opened += 1
        self._sockets = [known for known in self._sockets if known.fileno() >= 0]
        if isinstance(connection, socket):  # TLS inside a proxy's TLS is not: children keep that descriptor
            self._sockets.append(connection)

    def close(self) -> None:
        """Close the connection now; urllib3 alone would leave that to the collector of garbage."""
        for pool in self._pools:
            pool.close()
        self._pools.clear()
        super().close()

    def abandon(self) -> None:
        """Let go of everything, in a forked child, without a byte to the server and without a lock."""
        for connection in self._sockets:
            descriptor = connection.detach()  # not close(): nothing of TLS, nothing deferred to a reader that is gone
            if descriptor >= 0:
                os.close(descriptor)
        connecting, self._connecting = self._connecting, None
        if connecting is not None:
            descriptor, inode = connecting
            with suppress(OSError):  # closed, at the moment of the fork
                if os.fstat(descriptor).st_ino == inode:
                    os.close(descriptor)
        for pool in self._pools:
            if pool.pool is not None:
                # urllib3 empties this queue when the pool is collected, or at exit: with new locks, and nothing in it.
                LifoQueue.__init__(pool.pool, 1)


class _Watched(HTTPConnection):
    def __init__(self, *args: Any, adapter: Adapter, **options: Any) -> None:  # noqa: ANN401  # passed on
        super().__init__(*args, **options)
        self._adapter = adapter
        # On the instance: a partial becomes a method on a class from Python 3.14 on.
        timed: Any = partial(_TimedResponse, adapter=adapter)
        self.response_class = timed

    def _new_conn(self) -> socket:
        connection = super()._new_conn()
        self._adapter.connecting(connection)
        return connection

    def connect(self) -> None:
        try:
            super().connect()
        finally:
            self._adapter.connecting(None)
        self.sock.settimeout(self._adapter.send_within)
        self._adapter.connected(self.sock)

    def putrequest(self, *args: Any, **options: Any) -> None:  # noqa: ANN401  # passed on
        if self.sock is not None:
            self.sock.settimeout(self._adapter.send_within)  # on a connection that is used again
        super().putrequest(*args, **options)


class _WatchedTLS(_Watched, HTTPSConnection):
    pass


_WATCHED: dict[Any, Any] = {HTTPConnection: _Watched, HTTPSConnection: _WatchedTLS}


class _TimedResponse(HTTPResponse):
    def __init__(self, sock: socket, *args: Any, adapter: Adapter, **options: Any) -> None:  # noqa: ANN401  # passed on
        super().__init__(sock, *args, **options)
        last_read_at = min(monotonic() + adapter.answer_within, adapter.ends_at)
        # A deadline also ends a read that has begun.
        narrowed = None if adapter.ends_at == inf else sock
        self.fp = io.BufferedReader(_TimedReader(self.fp.detach(), last_read_at, narrowed))


class _TimedReader(io.RawIOBase):
    """The bytes of one answer, from its status line on, until it is too late."""

    def __init__(self, raw: io.RawIOBase, ends_at: float, narrowed: socket | None) -> None:
        self._raw = raw
        self._ends_at = ends_at
        self._narrowed = narrowed

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:  # noqa: ANN401  # a writable buffer, which has no name before 3.12
        left = self._ends_at - monotonic()
        if left <= 0:
            raise TimeoutError("the answer did not end in time")
        if self._narrowed is not None and left < (self._narrowed.gettimeout() or inf):
            self._narrowed.settimeout(left)
        count: int | None = self._raw.readinto(buffer)
        return count

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
        super().close()
