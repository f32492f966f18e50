"""One call: find out which server it is, send, send again where that is safe, and return what it said.

A retry is safe for reads, for ``create_customer`` (the second time it "already exists") and for ``cancel_subscription``
(the second time it has ended). The server of 2022 makes a second subscription of a second request and both make a
second credit, so such a request is never sent again once a byte of it may have arrived, and never on a connection that
was kept open: if the server has just closed that, nobody could tell whether it had read the request.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from lotus_durable.config import Config
from lotus_durable.delivery.verdict import OUTAGE
from lotus_durable.errors import APIError, ConnectionFailed, InvalidRequest, UnexpectedAnswer
from lotus_durable.http.answer import Answer, NoAnswer, excerpt
from lotus_durable.http.backoff import Backoff
from lotus_durable.queue.directory import QueueDirectory

from .answers import exact_value
from .connections import Connections, connections_of
from .generation import PING, Generation, KnownServer, contradicts, told_by
from .problem import problem
from .request import Plan, Request, get

T = TypeVar("T")

_MOST_ATTEMPTS: Final = 4
_FIRST_PAUSE: Final = 0.2
"""Seconds; the longest random wait before the second attempt. It doubles with each further one."""
_LONGEST_PAUSE: Final = 5.0
_LARGEST_ANSWER: Final = 64 * 1024 * 1024
"""Bytes; a list has no pages."""
_JSON_NAMES: Mapping[type, str] = {dict: "object", list: "array"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended."""

    generation: Generation
    request: Request
    answer: Answer | NoAnswer
    error: APIError | None
    arrived_before: bool
    """An attempt before the last one may have been carried out."""


@dataclass(frozen=True, slots=True)
class Limits:
    """When a call must have ended, of ``time.monotonic()``, and how often each request may be sent."""

    ends_at: float
    attempts: int


class Caller:
    """Makes calls for one client in one process; for any number of threads at once.

    Args:
        config: the configuration; without an API key only ``send=False`` works.
        server: what is known about the host.
        connections: to the host.
        pause: waits between two attempts; injected by tests.
    """

    def __init__(
        self,
        config: Config,
        server: KnownServer,
        connections: Connections,
        *,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.config = config
        self._server = server
        self._connections = connections
        self._pause = pause

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.config.host}>"

    def close(self) -> None:
        """Close the connections; one in use after its request."""
        self._connections.close()

    def abandon(self) -> None:
        """Drop what a forked child inherited; what was found out about the server stays true."""
        self._connections.abandon()

    def object_of(
        self, call: str, plan: Plan, *, failed: Callable[[Outcome], dict[str, Any]] | None = None
    ) -> dict[str, Any]:
        """Make a call that is answered by an object; with ``send=False`` only check it, and return an empty one.

        Args:
            call: its name, for messages.
            plan: makes its request.
            failed: returns what a failure comes to, or raises the error that it is; its own error if not given.

        Raises:
            APIError: the call failed; also what :meth:`outcome` raises.
        """
        return self._value(call, plan, dict, failed)

    def list_of(self, call: str, plan: Plan) -> list[Any]:
        """Make a call that is answered by a list; otherwise as :meth:`object_of`."""
        return self._value(call, plan, list)

    def _value(self, call: str, plan: Plan, shape: type[T], failed: Callable[[Outcome], T] | None = None) -> T:
        if not self.config.send:
            self.check(plan)
            return shape()
        outcome = self.outcome(call, plan)
        return value_of(call, outcome, shape) if outcome.error is None or failed is None else failed(outcome)

    def check(self, plan: Plan) -> None:
        """Check what can be checked of a call without asking a server.

        Raises:
            InvalidRequest: ``api_version`` says which server it is, and that one cannot do it.
        """
        if self.config.api_version != "auto":
            plan(self.config.api_version)

    def outcome(
        self, call: str, plan: Plan, *, timeout: float | None = None, attempts: int = _MOST_ATTEMPTS
    ) -> Outcome:
        """Make a call.

        Args:
            call: its name, for messages.
            plan: makes its request.
            timeout: seconds for all of it; ``call_timeout`` if not given.
            attempts: how often it may be sent, where that is safe.

        Raises:
            InvalidRequest: the server cannot do it, or needs an argument more.
            APIError: it cannot be told which server it is; the call itself was not sent.
            ConfigurationError: there is no API key.
        """
        limits = Limits(time.monotonic() + (self.config.call_timeout if timeout is None else timeout), attempts)
        generation, request = self._planned(call, plan, limits)
        answer, arrived_before = self._send(request, limits)
        if self.config.api_version == "auto" and contradicts(generation, answer):
            found = self._find_out(call, limits)
            if found != generation:
                generation, request = found, plan(found)
                answer, arrived_before = self._send(request, limits)
        return _ended(call, generation, request, answer, arrived_before=arrived_before)

    def _planned(self, call: str, plan: Plan, limits: Limits) -> tuple[Generation, Request]:
        if self.config.api_version != "auto":
            return self.config.api_version, plan(self.config.api_version)
        known = self._server.generation()
        generation = known or self._find_out(call, limits)
        try:
            return generation, plan(generation)
        except InvalidRequest:
            # Perhaps the server was replaced since it was asked.
            found = generation if known is None else self._find_out(call, limits)
            if found == generation:
                raise
        return found, plan(found)

    # Which server it is

    def _find_out(self, call: str, limits: Limits) -> Generation:
        """Ask the server, and remember what it is."""
        found, answer = told_by(lambda path: self._send(get(path), limits)[0])
        if found is None:
            raise problem(call, answer, changes=False) or _strange(call, answer)
        self._server.learn(found)
        return found

    # Sending

    def _send(self, request: Request, limits: Limits) -> tuple[Answer | NoAnswer, bool]:
        """Send until there is an answer worth having, and tell whether an attempt before it may have arrived."""
        backoff = Backoff(base=_FIRST_PAUSE, cap=_LONGEST_PAUSE, grace=0.0)
        target, content = request.target(), request.content()
        arrived_before = False
        idle_at_most = math.inf if request.repeatable else 0.0
        while True:
            answer = self._connections.exchange(
                request.method, target, content, ends_at=limits.ends_at, idle_at_most=idle_at_most
            )
            if isinstance(answer, NoAnswer) and answer.was_kept and idle_at_most:
                # The server closed a connection that was idle. That says nothing of how it is: no attempt, no pause.
                arrived_before = arrived_before or answer.sent
                idle_at_most = 0.0
                continue
            if backoff.failures + 1 >= limits.attempts or not _is_worth_repeating(request, answer):
                return answer, arrived_before
            wait = backoff.failed(retry_after=answer.retry_after if isinstance(answer, Answer) else None)
            if time.monotonic() + wait >= limits.ends_at:
                return answer, arrived_before
            arrived_before = arrived_before or _may_have_been_carried_out(answer)
            self._pause(wait)


def open_caller(config: Config) -> Caller:
    """Return what makes calls in this process; it connects at the first."""
    server = KnownServer(config.host, QueueDirectory(config.queue_dir) if config.send else None)
    return Caller(config, server, connections_of(config, largest_answer=_LARGEST_ANSWER))


def value_of(call: str, outcome: Outcome, shape: type[T]) -> T:
    """Return the JSON value of a call's answer.

    Raises:
        APIError: the call failed, or its answer is of another shape.
    """
    if outcome.error is not None:
        raise outcome.error
    assert isinstance(outcome.answer, Answer)
    value = exact_value(outcome.answer)
    if not isinstance(value, shape):
        raise UnexpectedAnswer(
            f"{call}: the answer is not a JSON {_JSON_NAMES[shape]} ({excerpt(outcome.answer)})",
            status=outcome.answer.status,
            request_id=outcome.answer.request_id,
            outcome_unknown=outcome.request.changes,
        )
    return value


def _ended(
    call: str, generation: Generation, request: Request, answer: Answer | NoAnswer, *, arrived_before: bool
) -> Outcome:
    error = problem(call, answer, changes=request.changes)
    if error is not None and arrived_before:
        error.outcome_unknown = request.changes
        if isinstance(error, ConnectionFailed):
            error.sent = True
    return Outcome(generation, request, answer, error, arrived_before)


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
