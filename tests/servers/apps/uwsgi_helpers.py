"""A WSGI application whose mules and spoolers track events."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

import uwsgi  # type: ignore[import-untyped]  # it is there inside uWSGI only

from .tracking import track

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment


def spooler(arguments: dict[bytes, bytes]) -> int:
    """Track as many as the file of the spooler says."""
    track(int(arguments[b"count"]))
    return int(uwsgi.SPOOL_OK)


uwsgi.spooler = spooler  # what its decorators do


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer ``/mule/N`` and ``/spool/N`` when a mule or spooler was told to track N events, anything else at once."""
    _, action, *rest = environ["PATH_INFO"].split("/")
    if action == "mule":
        uwsgi.mule_msg(rest[0].encode())
    elif action == "spool":
        uwsgi.spool({b"count": rest[0].encode()})
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%d\n" % os.getpid()]
