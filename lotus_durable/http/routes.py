"""How one server is reached: through which proxy, and trusting which certificates. Read once, before the first request.

After that nothing is opened or imported, however long the process lives: a deploy may replace the CA bundle on disk, or
the whole environment of Python. The certificates are kept as text, so that a forked child can make a TLS context of its
own (a thread of the parent may hold a lock in the parent's at the fork).

requests says which proxy and which bundle, by the variables it documents, and its ``HTTPAdapter`` gives the pool with
the proxy's headers. Neither ``requests.Session`` nor ``HTTPAdapter.send`` are used: the first adds netrc, cookies and
redirects, and both are what an application patches when it wants its own requests cached or answered by a test.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, cast

from requests.adapters import HTTPAdapter
from requests.exceptions import InvalidSchema
from requests.utils import DEFAULT_CA_BUNDLE_PATH, get_environ_proxies, select_proxy
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.exceptions import HTTPError
from urllib3.util import parse_url
from urllib3.util.ssl_ import create_urllib3_context

from lotus_durable.url import host_name, is_loopback
from lotus_durable.values import NamedTuple

from .channel import Channel, DirectChannel, DirectTLSChannel
from .failure import Unusable

_BUNDLES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


class _Settings(NamedTuple):
    proxy: str | None
    certificates: str
    """PEM; empty where no TLS is spoken."""


class Route(NamedTuple):
    """A connection that is still to be opened, and what a request on it must look like."""

    channel: Channel
    prefix: str
    """What comes before ``/api/`` in the request line: a path, or a whole URL for a proxy."""
    headers: Mapping[str, str] = MappingProxyType({})
    """What the proxy is told with each request."""
    proxy: str | None = None
    """Its URL, without user name and password."""
    is_tunnel: bool = False
    """The proxy takes no part in a request and its answer."""


class Routes:
    """How one server is reached; any number of connections, threads and forked processes share it."""

    def __init__(self, host: str) -> None:
        """Read nothing yet.

        Args:
            host: as the configuration has it: a URL with or without a path before ``/api/``.
        """
        scheme, _, rest = host.partition("://")
        self.origin: str = f"{scheme}://{rest.partition('/')[0]}"
        """Scheme, host and port, for messages."""
        self.base: str = host.rstrip("/")
        """What comes before ``/api/`` in URLs."""
        self._settings: _Settings | None = None
        self._adapter: tuple[int, _Adapter] | None = None
        self._good: list[object] = []
        """The address of the server's, or the proxy's, name that has answered last; it is tried first."""

    def route(self) -> Route:
        """Return the way to the server; the first one reads what has to be read.

        Raises:
            Unusable: there is none.
        """
        settings = self._settings
        if settings is None:  # of two threads here at once, both read the same
            settings, context = _read(self.base)
            self._adapter, self._settings = (os.getpid(), _Adapter(context)), settings
        try:
            return self._route(settings)
        except InvalidSchema as error:
            raise Unusable("the proxy setting cannot be used (a SOCKS proxy needs requests[socks])") from error
        except (HTTPError, ValueError) as error:
            raise Unusable(f"no request can be made for {self.origin}, or its proxy's setting is no URL") from error

    def _route(self, settings: _Settings) -> Route:
        url = parse_url(self.base)
        pool = self._adapter_here(settings).pool(self.base, settings.proxy)
        options = {**pool.conn_kw, "good": self._good}
        options.pop("socket_options", None)  # of urllib3, which has Nagle's algorithm delay what goes to a proxy
        path, shown, proxy = (url.path or "").rstrip("/"), _shown(settings.proxy), pool.proxy
        if proxy is None:
            channel = _kind(pool)(host=pool.host, port=pool.port, **options)
            return Route(channel, path, proxy=shown, is_tunnel=True)
        channel = _kind(pool)(host=(proxy.host or "").strip("[]"), port=proxy.port, **options)
        if url.scheme == "http":
            return Route(channel, url.url.rstrip("/"), pool.proxy_headers, shown)
        channel.set_tunnel(pool.host, pool.port or 443, pool.proxy_headers, proxy.scheme or "http")
        return Route(channel, path, proxy=shown, is_tunnel=True)

    def _adapter_here(self, settings: _Settings) -> _Adapter:
        pid, adapter = self._adapter or (0, None)
        if adapter is None or pid != os.getpid():
            context = create_urllib3_context() if settings.certificates else None
            if context is not None:
                context.load_verify_locations(cadata=settings.certificates)
            adapter = _Adapter(context)
            self._adapter = (os.getpid(), adapter)
        return adapter


class _Adapter(HTTPAdapter):
    def __init__(self, context: ssl.SSLContext | None) -> None:
        self._context = context
        super().__init__(pool_connections=1, pool_maxsize=1)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:  # noqa: ANN401  # passed on
        super().init_poolmanager(*args, ssl_context=self._context, **options)

    def pool(self, url: str, proxy: str | None) -> HTTPConnectionPool:
        parts = parse_url(url)
        manager: Any = self.poolmanager
        if proxy is not None:
            options = {} if proxy.lower().startswith("socks") else {"proxy_ssl_context": self._context}
            manager = self.proxy_manager_for(proxy, ssl_context=self._context, **options)
        return cast("HTTPConnectionPool", manager.connection_from_host(parts.host, parts.port, parts.scheme))


def _kind(pool: HTTPConnectionPool) -> type[Channel]:
    if "_socks_options" in pool.conn_kw:  # connects by a package of its own
        return type("SocksChannel", (Channel, pool.ConnectionCls), {})
    return DirectTLSChannel if pool.scheme == "https" else DirectChannel


def _read(url: str) -> tuple[_Settings, ssl.SSLContext | None]:
    """Read what there is to read, and return with it the TLS context that was made to see whether it can be used.

    To load a usual bundle takes about as long as a sixth of all that a flusher imports.
    """
    # A server on this machine no proxy finds: a test's own, mostly, where the network is one of proxies.
    proxy = None if is_loopback(host_name(url)) else select_proxy(url, get_environ_proxies(url)) or None
    if proxy is not None and "://" not in proxy:
        proxy = f"http://{proxy}"
    if not any((each or "").lower().startswith("https:") for each in (url, proxy)):
        return _Settings(proxy, ""), None
    certificates, context = _certificates()
    return _Settings(proxy, certificates), context


def _certificates() -> tuple[str, ssl.SSLContext]:
    """Return those to trust: of the bundle that the environment names, else requests' own, else the system's."""
    named = next((name for name in _BUNDLES if os.environ.get(name)), None)
    system = ssl.get_default_verify_paths()
    places = [os.environ[named]] if named else [DEFAULT_CA_BUNDLE_PATH, system.cafile, system.capath]
    for place in places:
        with suppress(OSError):
            text = _text(Path(place)) if place else ""
            if "-----BEGIN" in text:
                context = create_urllib3_context()
                context.load_verify_locations(cadata=text)  # an SSLError is an OSError
                return text, context
    which = f"the CA bundle that {named} names" if named else "the CA bundle"
    raise Unusable(f"TLS: {which} cannot be read, or holds no certificate")


def _text(place: Path) -> str:
    files = sorted(each for each in place.iterdir() if each.is_file()) if place.is_dir() else [place]
    return "\n".join(each.read_bytes().decode("ascii", "ignore") for each in files)  # comments are in any language


def _shown(proxy: str | None) -> str | None:
    if proxy is None:
        return None
    parts = parse_url(proxy)
    return f"{parts.scheme}://{parts.host}" + (f":{parts.port}" if parts.port else "")
