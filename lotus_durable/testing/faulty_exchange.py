"""One request of a FakeLotus: the generation's answer, bent by the fault that was drawn for it."""

from __future__ import annotations

import json
from email.utils import formatdate
from time import time
from typing import TYPE_CHECKING

from lotus_durable.testing.exchange import HTML, RESET, Answer, ReceivedRequest, Reply, Request, nginx_page
from lotus_durable.testing.faults import (
    Away,
    DatabaseDown,
    Delay,
    Drip,
    Fault,
    Faults,
    RateLimited,
    Redirect,
    RefuseEvents,
    Reset,
    Status,
    Truncate,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from lotus_durable.testing.generation import Generation, Refusal

PROXY_PAGE = "<!DOCTYPE html><html><head><title>Sign in</title></head><body>Welcome to the network.</body></html>"


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
        """Fail now, if the fault is one that leaves the body unread."""
        if isinstance(self._fault, Away):
            self._record(self._head, None)
            self._go_away(self._fault.seconds)
            return RESET
        if self._fault == Reset("before_reading"):
            self._record(self._head, None)
            return RESET
        return None

    def after_body(self, request: Request) -> Reply:
        """Process the request as far as the fault lets it be, and say how to answer."""
        if self._fault is None and self._faults.poison:
            self._fault = self._poison_in(request)
        reply = self._reply(request, self._fault)
        self._record(request, reply.answer)
        return reply

    def _reply(self, request: Request, fault: Fault | None) -> Reply:
        match fault:
            case Status() | DatabaseDown() | RateLimited() | Redirect():
                return Reply(self._instead(request, fault))
            case Away(seconds):  # a poison: the body had to be read to know
                self._go_away(seconds)
                return RESET
            case Reset("before_reading"):  # a poison too
                return RESET
            case _:
                return _sent(self._process(request, self._refusal(fault)), fault)

    def _instead(self, request: Request, fault: Status | DatabaseDown | RateLimited | Redirect) -> Answer:
        """Return the answer that takes the place of the server's."""
        match fault:
            case DatabaseDown():
                return self._generation.database_down()
            case RateLimited():
                return _rate_limited(fault)
            case Redirect(location, status):
                return Answer(status, headers=(("Location", location),))
            case Status():
                if fault.stored:
                    self._process(request)
                return _status_page(fault)

    def _process(self, request: Request, refuse: Refusal = lambda _id: None) -> Answer:
        return self._generation.respond(request, refuse)

    def _refusal(self, fault: Delay | Drip | Truncate | Reset | RefuseEvents | None) -> Refusal:
        if not isinstance(fault, RefuseEvents):
            return lambda _id: None
        return lambda id_: fault.reason if self._faults.refuses(fault, id_) else None

    def _poison_in(self, request: Request) -> Fault | None:
        """Return the fault of the first poisonous event in the batch."""
        try:
            batch = json.loads(request.body)["batch"]
            ids = [event["idempotency_id"] for event in batch]
        except (ValueError, LookupError, TypeError):
            return None
        return next((self._faults.poison[id_] for id_ in ids if id_ in self._faults.poison), None)

    def _record(self, request: Request, answer: Answer | None) -> None:
        self._report(
            ReceivedRequest(
                method=request.method,
                path=f"{request.path}?{request.query}" if request.query else request.path,
                headers=request.headers,
                body=request.body,
                status=None if answer is None else answer.status,
                fault=None if self._fault is None else type(self._fault).__name__,
            )
        )


def _sent(answer: Answer, fault: Delay | Drip | Truncate | Reset | RefuseEvents | None) -> Reply:
    """Return how the server's own answer travels."""
    match fault:
        case Delay(seconds):
            return Reply(answer, delay=seconds)
        case Drip(pause):
            return Reply(answer, pause=pause)
        case Truncate(keep):
            return Reply(answer, keep=keep)
        case Reset():
            return RESET
        case _:
            return Reply(answer)


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
