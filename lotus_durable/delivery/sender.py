"""Sending one batch until each of its events has a verdict: retrying, splitting, probing, waiting."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from lotus_durable.config import Constants
from lotus_durable.errors import DeliveryBlocked, LotusError
from lotus_durable.http.answer import Answer, NoAnswer
from lotus_durable.http.backoff import Backoff
from lotus_durable.queue.heartbeat import FlusherState
from lotus_durable.values import NamedTuple

from .batch import Batch
from .transport import Transport
from .verdict import Blocked, Dead, Parked, Retry, RetryBatch, Settled, Split, Verdict, judge, judge_probe

logger = logging.getLogger("lotus_durable")

_RETRY_ROUNDS = 5
"""How often events that the server cannot take now (its broker fails) are sent again before they are parked, so that
the events behind them go on."""
_SUSPECT_AFTER = 2
"""Failures of one batch in a row (500, no answer in time) after which a probe tells whether the batch is the cause."""


class Failing(NamedTuple):
    """The server fails on this one event while it serves others: park it, and count its attempts."""

    reason: str


class Steps(Protocol):
    """What happens between two steps of the sender; :class:`~.control.Control` says more of each."""

    def enter(self, state: FlusherState, reason: str | None = None) -> bool:
        """Tell what is going on now, and why; return whether that is news."""

    def request(self) -> AbstractContextManager[None]:
        """Name the request in flight before it is sent."""

    def reached(self, *, server: bool) -> None:
        """Note whether a connection could be made."""

    def key_is_refused(self) -> None:
        """Note that the server refuses the API key."""

    def asked(self) -> int:
        """Return the number of the last drain that was asked for."""

    def answer(self, number: int, reason: str | None = None) -> None:
        """Say that everything asked for up to ``number`` was carried out, or why it cannot be now."""

    def wait(self, seconds: float, *, asked: int | None = None) -> None:
        """Wait, less long when a drain is asked for after number ``asked``; None: not for that."""

    def tell(self, error: LotusError) -> None:
        """Have something that happened once told."""


class _Part:
    """Some of a batch's events, by index, and how often they failed together."""

    __slots__ = ("failures", "indices", "rounds")

    def __init__(self, indices: Sequence[int], failures: int = 0, rounds: int = 0) -> None:
        self.indices = indices
        self.failures = failures
        self.rounds = rounds


class Sender:
    """Sends batches one after the other over one transport. For one thread."""

    def __init__(
        self,
        transport: Transport,
        steps: Steps,
        constants: Constants,
        *,
        backoff: Backoff | None = None,
    ) -> None:
        self._transport = transport
        self._steps = steps
        self._probe_interval = constants.probe_interval
        self._asked = 0  # the last drain that was asked for when the request at hand began
        self._backoff = backoff or Backoff(
            base=constants.first_pause, cap=constants.longest_pause, grace=constants.grace
        )

    def verdicts(self, batch: Batch) -> list[Verdict | Failing]:
        """Return the verdict of each event, in their order. Delivered means the server said so for that event.

        Raises:
            Stopped: before all have one.
        """
        found: dict[int, Verdict | Failing] = {}
        parts = [_Part(range(len(batch)))] if len(batch) else []
        while parts:
            part = parts.pop()
            # Reversed: the first part that comes back is sent first.
            parts.extend(reversed(self._send(batch, part, found)))
        return [found[index] for index in range(len(batch))]

    def _send(self, batch: Batch, part: _Part, found: dict[int, Verdict | Failing]) -> list[_Part]:
        """Send a part once; note what has a verdict now, and return what is still to be sent."""
        self._steps.enter("sending")
        selected = batch if len(part.indices) == len(batch) else batch.part(part.indices)
        answer = self._exchanged(lambda: self._transport.post_batch(selected.body()))
        outcome = judge(answer, selected.ids, selected.times, now=time.time())
        logger.debug("sent %d events: %s", len(selected), type(outcome).__name__)
        match outcome:
            case Settled():
                return self._settle(part, outcome.verdicts, found)
            case Split():
                logger.info("sending %d events in two parts: %s", len(part.indices), outcome.reason)
                return _halves(part)
            case Blocked():
                self._wait_until_unblocked(outcome)
                return [part]
            case RetryBatch():
                return self._retry(part, outcome, found)

    def _settle(self, part: _Part, verdicts: Sequence[Verdict], found: dict[int, Verdict | Failing]) -> list[_Part]:
        again: list[int] = []
        for index, verdict in zip(part.indices, verdicts, strict=True):
            may_be_taken_later = isinstance(verdict, Retry) and part.rounds < _RETRY_ROUNDS
            is_not_about_it = isinstance(verdict, Dead) and verdict.probe_first and not self._probe_passes()
            if may_be_taken_later or is_not_about_it:
                again.append(index)
            else:
                found[index] = verdict
        if len(again) < len(part.indices):
            self._backoff.reset()
        if not again:
            return []
        self._retry_later(_reasons(verdicts))
        return [_Part(again, 0, part.rounds + 1)]

    def _retry(self, part: _Part, outcome: RetryBatch, found: dict[int, Verdict | Failing]) -> list[_Part]:
        if outcome.unlisted:
            if self._steps.enter("retrying", outcome.reason):
                self._steps.tell(DeliveryBlocked(f"{outcome.reason}; trying again every {self._probe_interval:g} s"))
            pause = max(self._probe_interval, outcome.retry_after or 0.0)
            self._steps.wait(pause, asked=self._asked if outcome.retry_after is None else None)
            return [part]
        part.failures += outcome.suspect or outcome.after_timeout
        is_suspect = (outcome.suspect or outcome.after_timeout) and part.failures >= _SUSPECT_AFTER
        if outcome.after_timeout or not is_suspect:
            self._retry_later(outcome.reason, retry_after=outcome.retry_after, after_timeout=outcome.after_timeout)
        if not is_suspect or not self._probe_passes():
            return [part]
        # The server answers others: something in this part makes it fail. Nothing is gained by waiting then.
        if len(part.indices) > 1:
            logger.warning(
                "the server fails on a batch of %d events, looking for the cause: %s", len(part.indices), outcome.reason
            )
            return _halves(part, suspect=True)
        # Without an answer nobody knows what the server did: such an event is never given up by its attempts.
        found[part.indices[0]] = Parked(outcome.reason) if outcome.after_timeout else Failing(outcome.reason)
        return []

    def _retry_later(self, reason: str, *, retry_after: float | None = None, after_timeout: bool = False) -> None:
        seconds = self._backoff.failed(retry_after=retry_after, after_timeout=after_timeout)
        logger.info("trying again in %.1f s: %s", seconds, reason)
        self._steps.enter("retrying", reason)
        # A wait the server asked for, or needs to finish what it may be working on, is not ours to cut short.
        self._steps.wait(seconds, asked=self._asked if retry_after is None and not after_timeout else None)

    def _probe_passes(self) -> bool:
        """Whether an empty batch gets the right answer; when not, wait as its own outcome says."""
        self._steps.enter("sending")
        outcome = judge_probe(self._exchanged(self._transport.probe))
        if isinstance(outcome, Blocked):
            self._wait_until_unblocked(outcome)
        elif isinstance(outcome, RetryBatch):
            self._retry_later(outcome.reason, retry_after=outcome.retry_after, after_timeout=outcome.after_timeout)
        return isinstance(outcome, Settled)

    def _wait_until_unblocked(self, outcome: Settled | RetryBatch | Blocked) -> None:
        """Hold everything and probe at the slow pace for as long as the server says that nothing can be sent.

        Whoever asked for a drain before the request was sent that came back so, gets the reason at once instead of
        waiting for a person; for those who asked later, perhaps after the person came, there is another probe at once.
        """
        while isinstance(outcome, Blocked):
            if self._steps.enter("blocked", outcome.reason):
                logger.warning("delivery is blocked, events are kept: %s", outcome.reason)
            if outcome.by_key:
                self._steps.key_is_refused()
            else:
                self._steps.reached(server=False)  # a proxy, say, that other surroundings do not have
            self._steps.answer(self._asked, outcome.reason)
            self._steps.wait(self._probe_interval, asked=self._asked)
            outcome = judge_probe(self._exchanged(self._transport.probe))

    def _exchanged(self, exchange: Callable[[], Answer | NoAnswer]) -> Answer | NoAnswer:
        self._asked = self._steps.asked()
        with self._steps.request():
            answer = exchange()
        self._steps.reached(server=isinstance(answer, Answer) or answer.sent)
        return answer


def _halves(part: _Part, *, suspect: bool = False) -> list[_Part]:
    middle = (len(part.indices) + 1) // 2
    halves = (part.indices[:middle], part.indices[middle:])
    # A half of a suspect is one failure away from being halved again; a single event gets its full number of tries,
    # because a server that fails now and then must not have the innocent parked.
    return [_Part(half, _SUSPECT_AFTER - 1 if suspect and len(half) > 1 else 0) for half in halves]


def _reasons(verdicts: Sequence[Verdict]) -> str:
    reasons = {verdict.reason for verdict in verdicts if isinstance(verdict, Retry | Dead)}
    return "; ".join(sorted(reasons))
