"""An application of gunicorn's dirty workers that tracks events, and the WSGI application that calls it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from gunicorn.dirty import get_dirty_client  # type: ignore[import-untyped]
from gunicorn.dirty.app import DirtyApp  # type: ignore[import-untyped]

from .tracking import track

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment


class Tracking(DirtyApp):  # type: ignore[misc]
    """Work that takes too long for a request."""

    def __call__(self, action: str, *arguments: Any, **options: Any) -> int:
        """Track some events, and return whose process it was."""
        del action, options
        track(*arguments)
        return os.getpid()

    def close(self) -> None:
        """Track the last ones, when the worker ends."""
        track(10)


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer ``/track/N`` after a dirty worker tracked N events, with its process id, and anything else at once."""
    _, action, *rest = environ["PATH_INFO"].split("/")
    pid = os.getpid()
    if action == "track":
        pid = get_dirty_client().execute("tests.servers.apps.dirty:Tracking", "track", int(rest[0]))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%d\n" % pid]
