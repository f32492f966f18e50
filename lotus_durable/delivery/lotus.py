"""Lotus over HTTP, as a place to send to: one batch until each event has a verdict; retry, split, probe, wait.

It is one file, because each of these decides when one of the others is right.
"""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from lotus_durable.clock import since_boot
from lotus_durable.config import Config
from lotus_durable.event.encoder import longest_event_name
from lotus_durable.http.answer import Answer, NoAnswer
from lotus_durable.http.backoff import Backoff
from lotus_durable.http.connection import Connection, Exchange
from lotus_durable.http.steps import result_of

from .batch import Batch, Encode
from .control import Control, Renewed
from .outcome import Blocked, Failing, Parked, Retry, RetryBatch, Settled, Split, Verdict
from .pace import Pace
from .verdict import generation_in, is_in_doubt, outcome_of, outcome_of_probe
from .wire import encode_events

logger: logging.Logger = logging.getLogger("lotus_durable")

PATH: Final = "/api/track/"
EMPTY_BATCH: Final = Batch().body()
"""A probe: a working server with a good key answers 400, ``none``, no failed events."""
_BESIDE_THE_EVENTS: Final = 256 * 1024
_FOR_EACH_EVENT: Final = 4 * 1024
"""Bytes of the largest answer. An event that is refused takes about 400 of them; with the longest id, of 255 characters
that JSON escapes as 12 bytes each, 3.5 KB."""
_RETRY_ROUNDS = 5
"""How often events that the server cannot take now (its broker fails) are sent again before they are parked, so that
the events behind them go on."""
_SUSPECT = 4
"""From which on a probe tells whether a batch is the cause of its failures: after two in a row (500, no answer),
or four that mostly are an outage or a limit (429, 502, 503)."""
_LONG_WAIT = 120.0
"""Seconds that the server asks to be left alone, from which on it is told until when."""
_INSERTED_AT_ONCE = 1_000
"""Events that the server of 2022 keeps in memory before it inserts them; one request is never more."""
_IDLE_AT_MOST = 1.0
"""Seconds for which a connection to the server of 2022, or to one that is not known, is used again."""
_REFUSED_IN_A_ROW = 3
"""Single events refused while a probe passes, with no word of Lotus about any event between them, nor about another one
of their batch: it is the way."""


_NONE_YET: Final = Retry("not sent")


@dataclass(slots=True)
class _Part:
    """Some of a batch's events, by index, and how often they failed together."""

    indices: Sequence[int]
    suspicion: int = 0
    rounds: int = 0


class Lotus:
    """Sends batches one after the other over one connection. For one thread.

    The server of 2022 loses events to a second request, and to an id that comes again. So nothing is sent to it, or to
    one that is not known, no probe either, while it may be at work on a request whose fate is not known. And that there
    are few of these, a connection that it may be closing is not used again.

    ``is_another`` is called when an answer is that of another generation than is known.
    """

    def __init__(
        self,
        connection: Connection,
        control: Control,
        config: Config,
        *,
        generation: str | None,
        is_another: Callable[[], None],
        pace: Pace | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        constants, is_2024 = config.constants, generation == "2024"
        self.encode: Encode = partial(encode_events, longest_name=longest_event_name(generation))
        self._generation = generation
        self._is_another = is_another
        self._connection = connection
        self._idle_at_most = math.inf if is_2024 else _IDLE_AT_MOST
        self._pace = pace
        self._control = control
        self._probe_interval = constants.probe_interval
        self.max_events: int = sys.maxsize if is_2024 else _INSERTED_AT_ONCE
        self.max_bytes: int = constants.max_batch_bytes
        self.takes_repeats: bool = is_2024
        self._in_flight_limit = 0.0 if is_2024 else config.timeout[1] + constants.grace
        self._free_at = 0.0
        self._last_request = since_boot()  # who was here before may have sent one in this moment
        self._grace = constants.grace
        self._asked = 0  # the last drain that was asked for when the request at hand began
        self._refused_in_a_row = 0
        self._is_through = False  # Lotus has said a word about an event of the batch at hand
        self._backoff = backoff or Backoff(base=constants.first_pause, cap=constants.longest_pause)

    def deliver(self, batch: Batch) -> Generator[None, None, Sequence[Verdict]]:
        """Return each event's verdict (see :class:`.place.Place`): delivered by the server's word for that event."""
        if self._pace is not None:
            self._pace.take(len(batch))
        self._is_through = False
        found: list[Verdict] = [_NONE_YET] * len(batch)
        parts = [_Part(range(len(batch)))] if len(batch) else []
        while parts:
            part = parts.pop(self._next_of(parts, batch))
            # Reversed: the first part that comes back is sent first.
            parts.extend(reversed((yield from self._send(batch, part, found))))
        return found

    def may_be_in_flight(self, since: float) -> None:
        """Send nothing before a request that began then, seconds since boot, must be over; whoever comes next neither.

        It may be the last one, whose fate nobody knows; or that of a flusher that was killed, which leaves its request
        running for as long as the server takes.
        """
        free_at = since + self._in_flight_limit
        if free_at > max(since_boot(), self._free_at):
            self._free_at = free_at
            self._control.in_doubt(since)

    def posting(self, body: bytes) -> Exchange:
        """Send one request, once, and return what came back; yields when it is written.

        Also where the server closed a connection that was idle: it may be at work on the request.
        """
        return self._connection.exchanging("POST", PATH, body, idle_at_most=self._idle_at_most)

    def close(self) -> None:
        self._connection.close()

    def _next_of(self, parts: Sequence[_Part], batch: Batch) -> int:
        """Return which part to send: the next one; or the one that tells the way from the events, if one does.

        That is the one with the most events, and of single ones the smallest: a proxy may take nothing larger.
        """
        if self._refused_in_a_row < _REFUSED_IN_A_ROW - 1:
            return -1
        indices = [part.indices for part in parts]
        return max(range(len(parts)), key=lambda number: (len(indices[number]), -batch.size_of(indices[number][0])))

    def _send(self, batch: Batch, part: _Part, found: list[Verdict]) -> Generator[None, None, list[_Part]]:
        """Send a part once; note what has a verdict now, and return what is still to be sent."""
        self._control.enter("sending")
        selected = batch if len(part.indices) == len(batch) else batch.part(part.indices)
        new = self._noted(selected.ids, may_repeat=batch.may_repeat)
        answer = yield from self._exchanged(self.posting(selected.body()))
        if generation_in(answer) not in (None, self._generation):
            self._is_another()
        date = answer.date if isinstance(answer, Answer) else None
        outcome = outcome_of(answer, selected.ids, selected.times, now=time.time() if date is None else date)
        if new and not isinstance(outcome, Settled) and not is_in_doubt(answer):
            self._control.does_not_have(new)
        logger.debug("sent %d events: %s", len(selected), type(outcome).__name__)
        match outcome:
            case Settled():
                return self._settle(part, outcome.verdicts, found)
            case Split():
                logger.info("sending %d events in two parts: %s", len(part.indices), outcome.reason)
                return _halves(part)
            case Blocked(like_probe=True):
                self._wait_until_unblocked(outcome)
            case RetryBatch():
                if self._is_the_cause(part, outcome, answer):
                    return self._refused(part, outcome, found, is_new=not batch.rows)
            case _:
                if self._probe_passes():
                    return self._refused(part, outcome, found, is_new=not batch.rows)
        return [part]

    def _refused(
        self, part: _Part, outcome: Blocked | RetryBatch, found: list[Verdict], *, is_new: bool
    ) -> list[_Part]:
        """Look by halves for what makes this part be refused while a probe passes.

        Of events that were parked before (not ``is_new``) any number may be refused in a row.

        Raises:
            Renewed: it is not the events.
        """
        if len(part.indices) > 1:
            logger.warning(
                "a batch of %d events is refused, looking for the cause: %s", len(part.indices), outcome.reason
            )
            return _halves(part, suspect=True)
        is_failing = isinstance(outcome, RetryBatch) and outcome.suspect
        found[part.indices[0]] = (
            Failing(outcome.reason) if is_failing else Parked(outcome.reason, unlisted=True, unproven=True)
        )
        self._refused_in_a_row += is_new and not self._is_through
        if self._refused_in_a_row == _REFUSED_IN_A_ROW:
            self._wait_until_it_gets_through(outcome.reason)
        return []

    def _settle(self, part: _Part, verdicts: Sequence[Verdict], found: list[Verdict]) -> list[_Part]:
        again: list[int] = []
        if isinstance(part.indices, range) and Retry not in set(map(type, verdicts)):  # as nearly always
            found[part.indices.start : part.indices.stop] = verdicts
        else:
            for index, verdict in zip(part.indices, verdicts, strict=True):
                if isinstance(verdict, Retry) and part.rounds < _RETRY_ROUNDS:
                    again.append(index)
                else:
                    found[index] = verdict
        self._refused_in_a_row, self._is_through = 0, True
        if len(again) < len(part.indices):
            self._backoff.reset()
        if not again:
            return []
        self._retry_later(_reasons(verdicts))
        return [_Part(again, rounds=part.rounds + 1)]

    def _is_the_cause(self, part: _Part, outcome: RetryBatch, answer: Answer | NoAnswer) -> bool:
        """Whether this part is refused again and again while a probe passes; if not, wait before it is sent again."""
        arrived = isinstance(answer, Answer) or answer.sent
        if arrived:
            # What else an answer says mostly is an outage or a limit, and seldom about what was sent.
            is_mild = isinstance(answer, Answer) and not (outcome.suspect or outcome.after_timeout)
            part.suspicion += 1 if is_mild else 2
        is_suspect = arrived and part.suspicion >= _SUSPECT
        # Where the server answers others nothing is gained by waiting, unless it may be at work or asked for it.
        if not is_suspect or outcome.after_timeout or outcome.retry_after is not None:
            self._retry_batch(outcome)
        return is_suspect and self._probe_passes()

    def _retry_batch(self, outcome: RetryBatch) -> None:
        if outcome.needs_person:
            self._control.answer(self._asked, outcome.reason)
        self._retry_later(outcome.reason, retry_after=outcome.retry_after, after_timeout=outcome.after_timeout)

    def _retry_later(self, reason: str, *, retry_after: float | None = None, after_timeout: bool = False) -> None:
        seconds = self._backoff.failed(at_least=max(retry_after or 0.0, self._grace if after_timeout else 0.0))
        logger.info("trying again in %.1f s: %s", seconds, reason)
        if retry_after is not None and seconds >= _LONG_WAIT:
            # Whoever asked for a drain is told until when, instead of waiting for so long.
            until = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(time.time() + seconds))
            reason = f"{reason}; the server asks to be left alone, the next try is at {until}"
            self._control.answer(self._asked, reason)
        self._control.enter("retrying", reason)
        # A wait the server asked for, or needs to finish what it may be working on, is not ours to cut short.
        self._control.wait(seconds, asked=self._asked if retry_after is None and not after_timeout else None)

    def _probe_passes(self) -> bool:
        """Whether an empty batch gets the right answer; when not, wait as its own outcome says."""
        self._control.enter("sending")
        outcome = self._probed()
        if isinstance(outcome, Blocked):
            self._wait_until_unblocked(outcome)
        elif isinstance(outcome, RetryBatch):
            self._retry_batch(outcome)
        else:
            self._backoff.reset()  # the server works, whatever it does with the events
        return isinstance(outcome, Settled)

    def _wait_until_it_gets_through(self, reason: str) -> None:
        """Hold everything: not the events are refused, but something on the way refuses whatever is no empty request.

        Raises:
            Renewed: it may be over. All that has no verdict of Lotus yet is pending, and tried from the beginning.
        """
        reason = (
            f"{_REFUSED_IN_A_ROW} events one after the other are refused while an empty request passes ({reason}); "
            "check any proxy or firewall in between"
        )
        self._control.reached(server=False)
        self._control.hold(reason, self._probe_interval, asked=self._asked)
        raise Renewed("events may pass now")

    def _wait_until_unblocked(self, outcome: Settled | RetryBatch | Blocked) -> None:
        """Hold everything and probe at the slow pace for as long as the server says that nothing can be sent."""
        while isinstance(outcome, Blocked):
            if outcome.by_key:
                self._control.key_is_refused()
            else:
                self._control.reached(server=False)  # a proxy, say, that other surroundings do not have
            self._control.hold(outcome.reason, self._probe_interval, asked=self._asked)
            outcome = self._probed()

    def _probed(self) -> Settled | RetryBatch | Blocked:
        return outcome_of_probe(result_of(self._exchanged(self.posting(EMPTY_BATCH))))

    def _exchanged(self, exchange: Exchange) -> Exchange:
        self._wait_until(self._free_at, "the server may be at work on an earlier request")
        self._free_at = 0.0
        self._asked = self._control.asked()
        began = since_boot()
        with self._control.request():
            answer = yield from exchange
        self._last_request = since_boot()
        if is_in_doubt(answer):
            self.may_be_in_flight(began)
        self._control.reached(server=isinstance(answer, Answer) or answer.sent)
        return answer

    def _noted(self, ids: Sequence[str], *, may_repeat: bool) -> list[str]:
        """Note ids where the server loses events to a repeat, see :mod:`.unsettled`; return those not noted before."""
        if self.takes_repeats:
            return []
        new, is_repeat = self._control.sends(ids)
        if is_repeat or may_repeat:
            self._wait_until(self._last_request + self._grace, "the server may have some of these events")
        return new

    def _wait_until(self, moment: float, why: str) -> None:
        left = moment - since_boot()
        if left > 0:
            self._control.enter("retrying", f"{why}: {left:.0f} s to wait")
            self._control.wait(left)


def _halves(part: _Part, *, suspect: bool = False) -> list[_Part]:
    middle = (len(part.indices) + 1) // 2
    halves = (part.indices[:middle], part.indices[middle:])
    # A half of a suspect is one failure away from being halved again; a single event gets its full number of tries,
    # because a server that fails now and then must not have the innocent parked.
    return [_Part(half, _SUSPECT - 1 if suspect and len(half) > 1 else 0) for half in halves]


def _reasons(verdicts: Sequence[Verdict]) -> str:
    return "; ".join(sorted({verdict.reason for verdict in verdicts if isinstance(verdict, Retry)}))


def largest_answer(max_batch_events: int) -> int:
    """Return the bytes of the largest answer that a batch of so many events needs; no more of one is read."""
    return _BESIDE_THE_EVENTS + max_batch_events * _FOR_EACH_EVENT
