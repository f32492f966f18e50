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
        match self._fault:
            case Interim(statuses, early=True):
                return Reply(None, interim=statuses)
            case Away() | Reset("before_reading") | Close("before_reading") | Early():
                return self._recorded(self._head, self._without_body(self._fault))
            case _:
                return None

    def after_body(self, request: Request, wait: Callable[[float], bool]) -> Reply:
        """Process the request as far as the fault lets it be, and say how to answer."""
        if self._fault is None and self._faults.poison:
            self._fault = self._poison_in(request)
        return self._recorded(request, self._reply(request, wait))

    def _without_body(self, fault: Away | Reset | Close | Early) -> Reply:
        match fault:
            case Away(seconds):
                self._go_away(seconds)
                return RESET
            case Early(status, interim):
                return Reply(nginx_page(status), interim=interim, close=True)
            case Reset():
                return RESET
            case Close():
                return CLOSE

    def _reply(self, request: Request, wait: Callable[[float], bool]) -> Reply:
        fault = self._fault
        match fault:
            case Status(stored=False) | DatabaseDown() | RateLimited() | Redirect():
                return Reply(self._instead(fault))
            case Away() | Reset("before_reading") | Close("before_reading") | Early():
                return self._without_body(fault)  # a poison: the body had to be read to know
        seconds = fault.seconds if isinstance(fault, Slow) else 0.0
        answer = self._generation.respond(request, self._refusal, lambda: bool(seconds) and wait(seconds))
        if answer is None:
            return RESET
        return _on_its_way(_status_page(fault) if isinstance(fault, Status) else answer, fault)

    def _instead(self, fault: Status | DatabaseDown | RateLimited | Redirect) -> Answer:
        """Return the answer that takes the place of the server's."""
        match fault:
            case DatabaseDown():
                return self._generation.database_down()
            case RateLimited():
                return _rate_limited(fault)
            case Redirect(location, status):
                return Answer(status, headers=(("Location", location),))
            case Status():
                return _status_page(fault)

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
