"""Access in the path of web requests: the cache, and what to answer when Lotus cannot be asked."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from lotus_durable.config import Config
from lotus_durable.errors import (
    APIError,
    ConfigurationError,
    ConnectionFailed,
    RateLimited,
    ServerError,
    UnexpectedAnswer,
)
from lotus_durable.http.answer import Answer, excerpt

from .access_answer import Access, Question, read
from .money import exact_value

if TYPE_CHECKING:
    from .caller import Caller, Outcome
    from .request import Plan

logger = logging.getLogger("lotus_durable")

CALL: Final = "get_customer_access"

_MOST_ANSWERS = 10_000
_ATTEMPTS_BEFORE_FALLBACK: Final = 2
"""One more than one, or a single broken connection would close a gate for everybody."""
_ASK_AGAIN_AFTER = 5.0
"""Seconds for which the fallback answers at once after Lotus could not be asked."""
_CANNOT_BE_ASKED = (ConnectionFailed, ServerError, RateLimited, UnexpectedAnswer)


class Gate:
    """Remembers answers for one process; for any number of threads at once, without a lock.

    When Lotus cannot be asked and there is a fallback, the fallback also answers the questions of the next seconds at
    once: a web request that waits for every timeout is not gated, it is stopped.
    """

    def __init__(self, config: Config, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._ttl = config.access_cache_ttl
        self._fallback = config.access_fallback
        self._clock = clock
        self._answers: dict[Question, tuple[float, Access]] = {}
        self._trouble: tuple[float, APIError] | None = None
        """When to ask again, and why Lotus could not be asked the last time."""

    def answer(self, caller: Caller, question: Question, plan: Plan, *, timeout: float | None = None) -> Access:
        """Answer from the cache, the server or the fallback.

        Raises:
            APIError: Lotus cannot be asked and there is no fallback, or it refuses the question.
            ConfigurationError: ``send=False``, and there is no fallback.
        """
        if not caller.config.send:
            caller.check(plan)
            return self._unsent()
        remembered = self._remembered(question)
        if remembered is not None:
            return remembered
        if self._fallback == "none":
            return self._asked(question, lambda: caller.outcome(CALL, plan, timeout=timeout))
        trouble = self._trouble
        if trouble is not None:
            asks_again_at, error = trouble
            if self._clock() < asks_again_at:
                return self._instead(error)
            self._trouble = self._from_now(error)  # this one tries; the others need not wait for it
        try:
            answer = self._asked(
                question, lambda: caller.outcome(CALL, plan, timeout=timeout, attempts=_ATTEMPTS_BEFORE_FALLBACK)
            )
        except _CANNOT_BE_ASKED as error:
            if trouble is None:
                logger.warning("access is answered by the fallback (%s): %s", self._fallback, error)
            error.with_traceback(None)  # or the frames of this call would be kept alive
            self._trouble = self._from_now(error)
            return self._instead(error)
        except APIError:
            self._trouble = None  # it could be asked
            raise
        self._trouble = None
        return answer

    def _from_now(self, error: APIError) -> tuple[float, APIError]:
        return self._clock() + _ASK_AGAIN_AFTER, error

    def _asked(self, question: Question, ask: Callable[[], Outcome]) -> Access:
        asked_at = self._clock()
        access = _read(question, ask())
        if self._ttl > 0:
            self._remember(question, asked_at + self._ttl, access)
        return access

    def _remembered(self, question: Question) -> Access | None:
        found = self._answers.get(question)
        if found is None or self._clock() >= found[0]:
            return None
        return dataclasses.replace(found[1], source="cache")

    def _remember(self, question: Question, ends_at: float, access: Access) -> None:
        self._answers.pop(question, None)  # so that it goes to the end
        self._answers[question] = (ends_at, access)
        while len(self._answers) > _MOST_ANSWERS:
            try:
                self._answers.pop(next(iter(self._answers)), None)
            except (RuntimeError, StopIteration):  # another thread does it
                return

    def _instead(self, error: APIError | None) -> Access:
        return Access(access=self._fallback == "open", source="fallback", error=error)

    def _unsent(self) -> Access:
        if self._fallback == "none":
            raise ConfigurationError("access_fallback: with send=False nothing else can answer get_customer_access")
        return self._instead(None)


def _read(question: Question, outcome: Outcome) -> Access:
    if outcome.error is not None:
        if outcome.generation == "2022" and isinstance(outcome.error, ServerError):
            outcome.error.add_note("The server of 2022 also fails on a customer who has a limit and no usage yet.")
        raise outcome.error
    answer = outcome.answer
    assert isinstance(answer, Answer)
    access = read(outcome.generation, question.kind, exact_value(answer))
    if access is None:
        raise UnexpectedAnswer(
            f"{CALL}: the answer does not say whether there is access ({excerpt(answer)})",
            status=answer.status,
            request_id=answer.request_id,
        )
    return access
