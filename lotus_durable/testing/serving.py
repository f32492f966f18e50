"""One request of a FakeLotus: the generation's answer, bent by the fault that was drawn for it."""

from __future__ import annotations

import json
from email.utils import formatdate
from time import time
from typing import TYPE_CHECKING

from lotus_durable.testing.exchange import HTML, Answer, ReceivedRequest, Reply, Request, nginx_page
from lotus_durable.testing.faults import (
    Away,
    Close,
    DatabaseDown,
    Delay,
    Drip,
    Early,
    Fault,
    Faults,
    Interim,
    RateLimited,
    Redirect,
    RefuseEvents,
    Reset,
    Slow,
    Status,
    Truncate,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from lotus_durable.testing.generation import Generation

PROXY_PAGE = "<!DOCTYPE html><html><head><title>Sign in</title></head><body>Welcome to the network.</body></html>"
RESET = Reply(None)
CLOSE = Reply(None, reset=False)


class FaultyExchange:
    """Decides one reply and reports it; the connection asks before and after it reads the body."""

    def __init__(
        self,
        head: Request,
        generation: Generation,
        faults: Faults,
        *,
        report: Callable[[ReceivedRequest], None],
        go_away: Callable[[float], None],
    ) -> None:
        self._head = head
        self._generation = generation
        self._faults = faults
        self._fault = faults.draw(head.path)
        self._report = report
        self._go_away = go_away

    def before_body(self) -> Reply | None:
        """Do what the fault does without the body."""
        if isinstance(self._fault, Interim) and self._fault.early:
            return Reply(None, interim=self._fault.statuses)
        reply = self._at_once()
        return reply and self._recorded(self._head, reply)

    def after_body(self, request: Request, wait: Callable[[float], bool]) -> Reply:
        """Process the request as far as the fault lets it be, and say how to answer."""
        if self._fault is None and self._faults.poison:
            self._fault = self._poison_in(request)
        return self._recorded(request, self._reply(request, wait))

    def _reply(self, request: Request, wait: Callable[[float], bool]) -> Reply:
        reply = self._at_once() or self._instead()  # a poison comes at once too, but the body had to be read to know
        if reply is not None:
            return reply
        seconds = self._fault.seconds if isinstance(self._fault, Slow) else 0.0
        answer = self._generation.respond(request, self._refusal, lambda: bool(seconds) and wait(seconds))
        return RESET if answer is None else _on_its_way(answer, self._fault)

    def _at_once(self) -> Reply | None:
        """Return the reply of a fault that leaves the body unread."""
        match self._fault:
            case Away(seconds):
                self._go_away(seconds)
                return RESET
            case Reset("before_reading"):
                return RESET
            case Close("before_reading"):
                return CLOSE
            case Early(status, interim):
                return Reply(nginx_page(status), interim=interim, close=True)
            case _:
                return None

    def _instead(self) -> Reply | None:
        """Return the reply that takes the place of the server's."""
        match self._fault:
            case DatabaseDown():
                return Reply(self._generation.database_down())
            case RateLimited():
                return Reply(_rate_limited(self._fault))
            case Redirect(location, status):
                return Reply(Answer(status, headers=(("Location", location),)))
            case Status(stored=False):
                return Reply(_status_page(self._fault))
            case _:
                return None

    def _refusal(self, idempotency_id: str) -> str | None:
        fault = self._fault
        if isinstance(fault, RefuseEvents) and self._faults.refuses(fault, idempotency_id):
            return fault.reason
        return None

    def _poison_in(self, request: Request) -> Fault | None:
        """Return the fault of the first poisonous event in the batch."""
        try:
            batch = json.loads(request.body)["batch"]
            ids = [event["idempotency_id"] for event in batch]
        except (ValueError, LookupError, TypeError):
            return None
        return next((self._faults.poison[id_] for id_ in ids if id_ in self._faults.poison), None)

    def _recorded(self, request: Request, reply: Reply) -> Reply:
        self._report(
            ReceivedRequest(
                method=request.method,
                path=f"{request.path}?{request.query}" if request.query else request.path,
                headers=request.headers,
                body=request.body,
                status=None if reply.answer is None else reply.answer.status,
                fault=None if self._fault is None else type(self._fault).__name__,
            )
        )
        return reply


def _on_its_way(answer: Answer, fault: Fault | None) -> Reply:
    match fault:
        case Status():
            reply = Reply(_status_page(fault))
        case Reset():
            reply = RESET
        case Close():
            reply = CLOSE
        case Delay(seconds):
            reply = Reply(answer, delay=seconds)
        case Drip(pause):
            reply = Reply(answer, pause=pause)
        case Truncate(keep):
            reply = Reply(answer, keep=keep)
        case Interim(statuses, early=False):
            reply = Reply(answer, interim=statuses)
        case _:
            reply = Reply(answer)
    return reply


def _rate_limited(fault: RateLimited) -> Answer:
    page = nginx_page(429)
    if fault.retry_after is None:
        return page
    value = str(fault.retry_after)
    if fault.as_date:
        value = formatdate(time() + fault.retry_after, usegmt=True)
    return Answer(page.status, page.body, page.content_type, headers=(("Retry-After", value),))


def _status_page(fault: Status) -> Answer:
    if fault.body is not None:
        return Answer(fault.status, fault.body.encode(), fault.content_type, fault.headers)
    if fault.status < 300:  # noqa: PLR2004  # "success" from somebody who is not Lotus
        return Answer(fault.status, PROXY_PAGE.encode(), HTML, fault.headers)
    page = nginx_page(fault.status)
    return Answer(page.status, page.body, page.content_type, fault.headers)
