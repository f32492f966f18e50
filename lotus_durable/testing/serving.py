"""What a fault makes of a request, or of the generation's answer to it."""

from __future__ import annotations

from email.utils import formatdate
from time import time
from typing import TYPE_CHECKING

from lotus_durable.testing import faults as f
from lotus_durable.testing.exchange import HTML, Answer, Reply, nginx_page

if TYPE_CHECKING:
    from collections.abc import Callable

    from lotus_durable.testing.generation import Generation

_PROXY_PAGE = "<!DOCTYPE html><html><head><title>Sign in</title></head><body>Welcome to the network.</body></html>"
RESET = Reply(None)
_CLOSE = Reply(None, reset=False)


def unread(fault: f.Fault | None, go_away: Callable[[float], None]) -> Reply | None:
    """Return the reply of a fault that leaves the body unread."""
    match fault:
        case f.Away(seconds):
            go_away(seconds)
            return RESET
        case f.Reset("before_reading"):
            return RESET
        case f.Close("before_reading"):
            return _CLOSE
        case f.Early(status, interim):
            return Reply(nginx_page(status), interim=interim, close=True)
        case _:
            return None


def instead(fault: f.Fault | None, generation: Generation) -> Reply | None:
    """Return the reply that takes the place of the server's."""
    match fault:
        case f.DatabaseDown():
            return Reply(generation.database_down())
        case f.RateLimited(None):
            return Reply(nginx_page(429))
        case f.RateLimited(int(seconds), as_date):
            value = formatdate(time() + seconds, usegmt=True) if as_date else str(seconds)
            return Reply(nginx_page(429, ("Retry-After", value)))
        case f.Redirect(location, status):
            return Reply(Answer(status, headers=(("Location", location),)))
        case f.Status(stored=False):
            return Reply(_status_page(fault))
        case _:
            return None


def on_its_way(answer: Answer, fault: f.Fault | None) -> Reply:
    """Return how the server's answer travels."""
    reply = Reply(answer)
    match fault:
        case f.Status():
            reply = Reply(_status_page(fault))
        case f.Reset():
            reply = RESET
        case f.Close():
            reply = _CLOSE
        case f.Delay(seconds):
            reply = Reply(answer, delay=seconds)
        case f.Drip(pause):
            reply = Reply(answer, pause=pause)
        case f.Truncate(keep):
            reply = Reply(answer, keep=keep)
        case f.Interim(statuses, early=False):
            reply = Reply(answer, interim=statuses)
    return reply


def _status_page(fault: f.Status) -> Answer:
    if fault.body is not None:
        return Answer(fault.status, fault.body.encode(), fault.content_type, fault.headers)
    if fault.status < 300:  # noqa: PLR2004  # "success" from somebody who is not Lotus
        return Answer(fault.status, _PROXY_PAGE.encode(), HTML, fault.headers)
    return nginx_page(fault.status, *fault.headers)
