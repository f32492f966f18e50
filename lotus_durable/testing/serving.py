"""A request on its way through the server, and what a fault makes of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate

from lotus_durable.testing import faults as f
from lotus_durable.testing.exchange import HTML, Answer, Reply, Request, nginx_page
from lotus_durable.testing.generation import Generation
from lotus_durable.testing.listener import Connection, Server

_PROXY_PAGE = "<!DOCTYPE html><html><head><title>Sign in</title></head><body>Welcome to the network.</body></html>"


@dataclass
class Exchange:
    """A request of which the connection has read the head, and its way through the server."""

    request: Request
    connection: Connection
    server: Server
    generation: Generation
    is_read: bool = False

    def read(self) -> Request:
        """Return the request with its body."""
        if not self.is_read:
            self.request, self.is_read = self.connection.whole(self.request), True
        return self.request

    def reply(self, fault: f.Fault | None, chance: Callable[[], float]) -> Reply:
        """Let happen what the fault allows, and return how the request is answered."""
        return self._unread(fault) or self._instead(fault) or self._on_its_way(fault, chance)

    def _unread(self, fault: f.Fault | None) -> Reply | None:
        """Reply before the body is read."""
        match fault:
            case f.Away(seconds):
                self.server.go_away_for(seconds)
                return Reply(None)
            case f.Reset("before_reading") | f.Close("before_reading"):
                return Reply(None, reset=isinstance(fault, f.Reset))
            case f.Early(status, interim):
                return Reply(nginx_page(status), interim=interim, close=True)
            case f.Interim(statuses, early=True):
                self.connection.send_interim(statuses)
        return None

    def _instead(self, fault: f.Fault | None) -> Reply | None:
        """Read the body and reply in the place of the server."""
        self.read()
        match fault:
            case f.DatabaseDown():
                return Reply(self.generation.record.answer("database down"))
            case f.RateLimited(after, as_date):
                when = formatdate(time.time() + (after or 0), usegmt=True) if as_date else str(after)
                return Reply(nginx_page(429, *([] if after is None else [("Retry-After", when)])))
            case f.Redirect(location, status):
                return Reply(Answer(status, headers=(("Location", location),)))
            case f.Status(stored=False):
                return Reply(_page(fault))
        return None

    def _on_its_way(self, fault: f.Fault | None, chance: Callable[[], float]) -> Reply:
        """Let the server process the request, and return how its answer travels."""

        def why_refused(id_: str) -> str | None:
            return fault.reason if isinstance(fault, f.RefuseEvents) and fault.refuses(id_, chance) else None

        def works() -> bool:
            return isinstance(fault, f.Slow) and self.connection.wait(fault.seconds)

        answer = self.generation.respond(self.request, why_refused, works)
        reply = Reply(answer)
        match fault:
            case f.Status():
                reply = Reply(_page(fault))
            case f.Reset() | f.Close():
                reply = Reply(None, reset=isinstance(fault, f.Reset))
            case f.Delay(seconds):
                reply = Reply(answer, delay=seconds)
            case f.Drip(pause):
                reply = Reply(answer, pause=pause)
            case f.Truncate(keep):
                reply = Reply(answer, keep=keep)
            case f.Interim(statuses, early=False):
                reply = Reply(answer, interim=statuses)
        return reply


def _page(fault: f.Status) -> Answer:
    if fault.body is not None:
        return Answer(fault.status, fault.body.encode(), fault.content_type, fault.headers)
    if fault.status < 300:  # noqa: PLR2004  # "success" from somebody who is not Lotus
        return Answer(fault.status, _PROXY_PAGE.encode(), HTML, fault.headers)
    return nginx_page(fault.status, *fault.headers)
