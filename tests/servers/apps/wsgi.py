"""A WSGI application that tracks events."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from .tracking import track

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer ``/track/N`` after tracking N events, ``/hang`` never, and anything else at once; with its process id."""
    _, action, *rest = environ["PATH_INFO"].split("/")
    if action == "track":
        track(int(rest[0]))
    while action == "hang":
        time.sleep(1)
    body = b"%d\n" % os.getpid()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
