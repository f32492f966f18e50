"""A WSGI application that tracks events, and shows metrics as prometheus_client says for multi-process servers."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, make_wsgi_app
from prometheus_client.multiprocess import MultiProcessCollector

from lotus_durable.contrib.prometheus import QueueCollector

from . import wsgi

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

_requests = Counter("shop_requests", "Requests of this application.")


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer ``/metrics``; anything else as the application beside this one."""
    if environ["PATH_INFO"] != "/metrics":
        _requests.inc()
        return wsgi.application(environ, start_response)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    registry.register(QueueCollector())

    def start(status: str, headers: list[tuple[str, str]]) -> object:
        return start_response(status, [*headers, ("X-Process", str(os.getpid()))])

    return make_wsgi_app(registry)(environ, start)  # type: ignore[no-any-return]
