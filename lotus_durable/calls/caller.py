"""One call: find out which server it is, send, send again where that is safe, and return what it said.

A retry is safe for reads, for ``create_customer`` (the second time it "already exists") and for ``cancel_subscription``
(the second time it has ended). The server of 2022 makes a second subscription of a second request and both make a
second credit, so such a request is never sent again once a byte of it may have arrived, and never on a connection that
was kept open: if the server has just closed that, nobody could tell whether it had read the request.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar, cast, get_origin

from lotus_durable.clock import monotonic
from lotus_durable.config import Config
from lotus_durable.delivery.verdict import OUTAGE
from lotus_durable.errors import APIError, ConnectionFailed, InvalidRequest, UnexpectedAnswer
from lotus_durable.http.answer import Answer, NoAnswer, excerpt
from lotus_durable.http.backoff import Backoff

from .answers import exact_value
from .connections import Connections
from .generation import PING, Generation, contradicts, known_generation, told_by
from .problem import problem
from .request import Plan, Request, get

T = TypeVar("T")

_MOST_ATTEMPTS: Final = 4
_FIRST_PAUSE: Final = 0.2
"""Seconds; the longest random wait before the second attempt. It doubles with each further one."""
_LONGEST_PAUSE: Final = 5.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended."""

    call: str
    """Its name, for messages."""
    generation: Generation
    request: Request
    answer: Answer | NoAnswer
    error: APIError | None
    arrived_before: bool
    """An attempt before the last one may have been carried out."""

    def json(self) -> object:
        """Return the answer's JSON value, its numbers exact.

        Raises:
            APIError: the call failed.
        """
        if self.error is not None:
            raise self.error
        assert isinstance(self.answer, Answer)
        return exact_value(self.answer)

    def value(self, shape: type[T]) -> T:
        """Return it as what it should be: an object, of which any field may be missing, or a list.

        Raises:
            APIError: the call failed, or its answer is of another shape.
        """
        value = self.json()
        kind, name = (list, "array") if get_origin(shape) is list else (dict, "object")
        if not isinstance(value, kind):
            raise self.unexpected(f"the answer is not a JSON {name}")
        return cast("T", value)

    def unexpected(self, reason: str) -> UnexpectedAnswer:
        """Return the error for an answer that is JSON, and not what the call needs."""
        assert isinstance(self.answer, Answer)
        return UnexpectedAnswer(
            f"{self.call}: {reason} ({excerpt(self.answer)})",
            status=self.answer.status,
            request_id=self.answer.request_id,
            outcome_unknown=self.request.changes,
        )


class Caller:
    """Makes calls for one client in one process; for any number of threads at once. It connects at the first.

    Args:
        config: the configuration; without an API key only ``send=False`` works.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self._generation: Generation | None = None
        self._connections = Connections(config)
        self._pause: Callable[[float], None] = time.sleep

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.config.host}>"

    def close(self) -> None:
        """Close the connections; one in use after its request."""
        self._connections.close()

    def abandon(self) -> None:
        """Drop what a forked child inherited; what was found out about the server stays true."""
        self._connections.abandon()

    def answer(self, call: str, plan: Plan, shape: type[T], *, failed: Callable[[Outcome], T] | None = None) -> T:
        """Make a call and return its answer; with ``send=False`` only check it, and return an empty one.

        Args:
            call: its name, for messages.
            plan: makes its request.
            shape: the type of the answer.
            failed: returns what a failure comes to, or raises the error that it is; its own error if not given.

        Raises:
            APIError: the call failed; also what :meth:`outcome` raises.
        """
        if not self.config.send:
            self.check(plan)
            return shape()
        outcome = self.outcome(call, plan)
        return outcome.value(shape) if outcome.error is None or failed is None else failed(outcome)

    def check(self, plan: Plan) -> None:
        """Check what can be checked of a call without asking a server.

        Raises:
            InvalidRequest: ``api_version`` says which server it is, and that one cannot do it.
        """
        if self.config.api_version != "auto":
            plan(self.config.api_version)

    def outcome(self, call: str, plan: Plan, *, timeout: float | None = None) -> Outcome:
        """Make a call.

        Args:
            call: its name, for messages.
            plan: makes its request.
            timeout: seconds for all of it; ``call_timeout`` if not given.

        Raises:
            InvalidRequest: the server cannot do it, or needs an argument more.
            APIError: it cannot be told which server it is; the call itself was not sent.
            ConfigurationError: there is no API key.
        """
        ends_at = monotonic() + (self.config.call_timeout if timeout is None else timeout)
        generation, request = self._planned(call, plan, ends_at)
        answer, arrived_before = self._send(request, ends_at)
        if self.config.api_version == "auto" and contradicts(generation, answer):
            found = self._find_out(call, ends_at)
            if found != generation:
                generation, request = found, plan(found)
                answer, arrived_before = self._send(request, ends_at)
        error = problem(call, answer, changes=request.changes)
        if error is not None and arrived_before:
            error.outcome_unknown = request.changes
            if isinstance(error, ConnectionFailed):
                error.sent = True
        return Outcome(call, generation, request, answer, error, arrived_before)

    def _planned(self, call: str, plan: Plan, ends_at: float) -> tuple[Generation, Request]:
        if self.config.api_version != "auto":
            return self.config.api_version, plan(self.config.api_version)
        known = self._generation = self._generation or known_generation(self.config)
        generation = known or self._find_out(call, ends_at)
        try:
            return generation, plan(generation)
        except InvalidRequest:
            # Perhaps the server was replaced since it was asked.
            found = generation if known is None else self._find_out(call, ends_at)
            if found == generation:
                raise
        return found, plan(found)

    # Which server it is

    def _find_out(self, call: str, ends_at: float) -> Generation:
        """Ask the server, and remember what it is."""
        found, answer = told_by(lambda path: self._send(get(path), ends_at)[0])
        if found is None:
            raise problem(call, answer, changes=False) or _strange(call, answer)
        self._generation = found
        return found

    # Sending

    def _send(self, request: Request, ends_at: float) -> tuple[Answer | NoAnswer, bool]:
        """Send until there is an answer worth having, and tell whether an attempt before it may have arrived."""
        backoff = Backoff(base=_FIRST_PAUSE, cap=_LONGEST_PAUSE)
        target, content = request.target(), request.content()
        arrived_before = False
        idle_at_most = math.inf if request.repeatable else 0.0
        while True:
            answer = self._connections.exchange(
                request.method, target, content, ends_at=ends_at, idle_at_most=idle_at_most
            )
            if isinstance(answer, NoAnswer) and answer.was_kept and idle_at_most:
                # The server closed a connection that was idle. That says nothing of how it is: no attempt, no pause.
                arrived_before = arrived_before or answer.sent
                idle_at_most = 0.0
                continue
            if backoff.failures + 1 >= _MOST_ATTEMPTS or not _is_worth_repeating(request, answer):
                return answer, arrived_before
            wait = backoff.failed(at_least=(answer.retry_after or 0.0) if isinstance(answer, Answer) else 0.0)
            if monotonic() + wait >= ends_at:
                return answer, arrived_before
            arrived_before = arrived_before or _may_have_been_carried_out(answer)
            self._pause(wait)


def _is_worth_repeating(request: Request, answer: Answer | NoAnswer) -> bool:
    if isinstance(answer, NoAnswer):
        return request.repeatable or not answer.sent
    return request.repeatable and answer.status in OUTAGE  # not 500, which is said again


def _may_have_been_carried_out(answer: Answer | NoAnswer) -> bool:
    if isinstance(answer, NoAnswer):
        return answer.sent
    return answer.status != 429  # noqa: PLR2004  # that one says that it was not


def _strange(call: str, answer: Answer | NoAnswer) -> APIError:
    status = answer.status if isinstance(answer, Answer) else None
    return UnexpectedAnswer(
        f"{call}: it cannot be told which server this is (HTTP {status} to {PING}); check the host and any proxy in "
        "between, or set api_version",
        status=status,
    )
