"""What a fault makes of a request on its way through the server."""

from __future__ import annotations

from collections.abc import Callable

from lotus_durable.testing import faults as f
from lotus_durable.testing.exchange import HTML, Answer, Reply, nginx_page
from lotus_durable.testing.generation import Generation
from lotus_durable.testing.listener import Connection

_PROXY_PAGE = "<!DOCTYPE html><html><head><title>Sign in</title></head><body>Welcome to the network.</body></html>"


def reply_to(
    connection: Connection, fault: f.Fault | None, generation: Generation, chance: Callable[[], float]
) -> Reply:
    """Let happen what the fault allows, and return how the request of this connection is answered."""

    def why_refused(id_: str) -> str | None:
        return fault.reason if isinstance(fault, f.RefuseEvents) and fault.refuses(id_, chance) else None

    def works() -> bool:
        return isinstance(fault, f.Slow) and connection.wait(fault.seconds)

    reply = _before_reading(fault, connection)
    if reply is None:
        request = connection.read()
        reply = _instead(fault, generation) or _travelling(generation.respond(request, why_refused, works), fault)
    return reply


def _before_reading(fault: f.Fault | None, connection: Connection) -> Reply | None:
    match fault:
        case f.Away() | f.Reset("before_reading") | f.Close("before_reading"):
            return Reply(None, reset=not isinstance(fault, f.Close))
        case f.Early(status, interim):
            return Reply(nginx_page(status), interim=interim, close=True)
        case f.Interim(statuses, early=True):
            connection.send_interim(statuses)
    return None


def _instead(fault: f.Fault | None, generation: Generation) -> Reply | None:
    match fault:
        case f.DatabaseDown():
            return Reply(generation.record.answer("database down"))
        case f.RateLimited(after):
            return Reply(nginx_page(429, *([] if after is None else [("Retry-After", str(after))])))
        case f.Redirect(location, status):
            return Reply(Answer(status, headers=(("Location", location),)))
        case f.Status(stored=False):
            return Reply(_page(fault))
    return None


def _travelling(answer: Answer | None, fault: f.Fault | None) -> Reply:  # noqa: PLR0911  # a table: one return a row
    match fault:
        case f.Status():
            return Reply(_page(fault))
        case f.Reset() | f.Close():
            return Reply(None, reset=isinstance(fault, f.Reset))
        case f.Delay(seconds):
            return Reply(answer, delay=seconds)
        case f.Drip(pause):
            return Reply(answer, pause=pause)
        case f.Truncate(keep):
            return Reply(answer, keep=keep)
        case f.Interim(statuses, early=False):
            return Reply(answer, interim=statuses)
    return Reply(answer)


def _page(fault: f.Status) -> Answer:
    if fault.body is not None:
        return Answer(fault.status, fault.body.encode(), fault.content_type, fault.headers)
    if fault.status < 300:  # noqa: PLR2004  # "success" from somebody who is not Lotus
        return Answer(fault.status, _PROXY_PAGE.encode(), HTML, fault.headers)
    return nginx_page(fault.status, *fault.headers)
