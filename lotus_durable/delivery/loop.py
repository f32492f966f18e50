"""What the flusher does: read, batch, send, settle; retry the parked; carry out what others ask for.

It is one file, because the order of these steps is what the promises rest on.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Sequence

from lotus_durable.clock import monotonic, since_boot
from lotus_durable.config import Config
from lotus_durable.errors import AttentionNeeded, DeliveryBlocked, DiskRefused, EventRefused
from lotus_durable.event.record import REFUSED_AT_CALL, RecordError, decode_record
from lotus_durable.http.steps import result_of
from lotus_durable.log import counted
from lotus_durable.queue.heartbeat import Refusal
from lotus_durable.queue.protocol import Settlement, StoredEvent

from .batch import Batch
from .batching import Batcher, batches_of_parked
from .control import Control
from .outcome import Dead, Delivered, Failing, HandedOver, Parked, Verdict
from .parked import ParkedEvents, Tried
from .place import Place, Source

logger: logging.Logger = logging.getLogger("lotus_durable")

_DISK_PAUSE = 1.0  # seconds between two tries of a commit that the disk refuses

_LONG_WAIT = 0.005
"""Seconds of waiting for an answer, while there is nothing else to do, from which on one more request is worth it."""


class _Sent:
    """A batch on its way."""

    def __init__(self, batch: Batch, place: Place, steps: Generator[None, None, Sequence[Verdict]]) -> None:
        self.batch = batch
        self.place = place
        self._steps = steps
        self.verdicts: Sequence[Verdict] | None = None  # until it has them

    def step(self) -> None:
        """Go on to where there is something to wait for: at first for the answer, and then it is waited for."""
        try:
            next(self._steps)
        except StopIteration as end:
            self.verdicts = end.value


class Loop:
    """Sends what is in the queue. For one thread, and the holder of the flusher's lock.

    Attributes:
        left: events that the last pass has met and left where they are: they cannot be read, or are another key's.
    """

    def __init__(
        self,
        source: Source,
        control: Control,
        places: Sequence[Place],
        config: Config,
        *,
        may_send: Callable[[bytes], bool] = lambda _: True,
    ) -> None:
        self._may_send = may_send
        self._held_reported_at = float("-inf")
        self.left: int = 0
        self._source = source
        self._control = control
        self._places = places
        self._config = config
        self._batcher = Batcher(source, places[0], max_events=config.max_batch_events, may_send=may_send)
        most = min(config.max_batch_events, places[0].max_events)
        self._parked = ParkedEvents(
            source, config.constants, most, may_send=may_send, try_again=self._try_again, give_up=self._give_up
        )
        self._free = [*places]
        self._on_their_way: deque[_Sent] = deque()
        self._at_once = 1 if config.upload_concurrency == "auto" else len(places)
        self._busy_at = monotonic()
        self._delivered_at = float("-inf")  # by the source's clock
        self._undecided: list[Settlement] = []

    def run(self, is_done: Callable[[], bool]) -> None:
        """Make pass after pass over the queue, until ``is_done`` after one of them.

        Raises:
            Stopped: it was time to end before.
            OSError: the disk refuses to be read.
            QueueDamaged: the queue cannot be read.
        """
        while True:
            asked = self._control.asked()
            is_asked = not self._control.is_answered(asked)
            parked_before = self._source.last_parked()
            began = since_boot()
            self._pass()
            while self._source.is_short:  # who asked is not told that all is done before it is
                self._pass()
            if is_asked:
                for _ in self._parked.try_all(parked_before):
                    self._control.check()
            self._control.enter("idle")
            self._control.show(self._source.progress())
            self._source.retire()
            why_held = self._why_held()
            self._control.answer(asked, why_held)
            if why_held is None:
                self._control.caught_up(began)
                self._source.caught_up()
            if is_done():
                return
            self._control.rest(self._config.flush_interval)

    def _why_held(self) -> str | None:
        """Say, if so, that events wait for another key or cannot be read; tell the first for as long as they do."""
        held = self._batcher.held
        self.left, unread = self._source.left_alone()
        self.left += held
        if not held:
            return unread
        reason = (
            f"{counted(held, 'event')} tracked under another API key {'waits' if held == 1 else 'wait'}: for a flusher "
            "with that key, or for `lotus-durable adopt`, where the key was rotated"
        )
        if monotonic() - self._held_reported_at >= self._config.constants.report_interval:
            self._held_reported_at = monotonic()
            self._control.report(DeliveryBlocked(reason))
        return reason

    def idle_for(self) -> float:
        """Return for how many seconds nothing came."""
        return monotonic() - self._busy_at

    def _pass(self) -> None:
        """Deliver what is in the queue now; what is appended meanwhile is for the next pass.

        Or a steady stream of events would keep the parked ones, and those who asked for a drain, waiting for ever.
        """
        more = True
        try:
            while True:
                self._control.check()
                while more and len(self._on_their_way) < self._at_once:
                    batch = self._batcher.next()
                    more = batch is not None and batch.full  # or the next one would begin another pass
                    if batch is not None:
                        self._start(batch)
                if not self._on_their_way:
                    break
                if more:
                    self._batcher.read_ahead()
                self._finish_first()
                self._parked.step()
        except BaseException:
            # The lock is let go of next, and no request may be in flight then.
            while self._on_their_way:
                self._finish_first()
            raise
        self._settle_undecided()
        self.try_parked()

    def try_parked(self) -> None:
        """Send the parked events that are due; :meth:`run` does that, too."""
        for _ in self._parked.steps():
            self._control.check()

    def _start(self, batch: Batch) -> None:
        """Send a batch, and do not wait for the answer."""
        place = self._free.pop()
        sent = _Sent(batch, place, self._delivering(batch, place))
        sent.step()
        self._on_their_way.append(sent)

    def _delivering(self, batch: Batch, place: Place) -> Generator[None, None, Sequence[Verdict]]:
        if (since := self._source.in_doubt_since) is not None:
            for each in self._places:
                each.may_be_in_flight(since)
        batch.may_repeat = self._source.may_repeat
        return place.deliver(batch)

    def _finish_first(self) -> None:
        """Wait until the batch that was sent first has its verdicts, and settle it: a cursor has all before it settled.

        Where that fails the others are waited for, and stay in the queue.
        """
        sent = self._on_their_way.popleft()
        try:
            waits_since, steps = monotonic(), 0
            while sent.verdicts is None:
                steps += 1
                sent.step()
            self._choose_how_many(monotonic() - waits_since, is_in_trouble=steps > 1, is_backlog=sent.batch.full)
            self._free.append(sent.place)
            self._busy_at = monotonic()
            self._decide(sent.verdicts, self._settlement(sent.batch, sent.verdicts))
        except BaseException:
            while self._on_their_way:
                other = self._on_their_way.popleft()
                with contextlib.suppress(BaseException):
                    while other.verdicts is None:
                        other.step()
            raise

    def _choose_how_many(self, waited: float, *, is_in_trouble: bool, is_backlog: bool) -> None:
        """Have one more batch on its way while there is a backlog and the time goes by with waiting; one in trouble."""
        if self._config.upload_concurrency == "auto":
            if is_in_trouble or not is_backlog:
                self._at_once = 1
            elif waited > _LONG_WAIT:
                self._at_once = min(self._at_once + 1, len(self._places))

    def _decide(self, verdicts: Sequence[Verdict], settlement: Settlement) -> None:
        """Settle, but where Lotus has said a word of no event: these are pending until what comes next tells more.

        Something on the way may refuse them all; then nothing is parked for it.
        """
        if verdicts and all(map(_is_unproven, verdicts)):
            self._undecided.append(settlement)
        else:
            self._settle_undecided()
            self._settle(settlement)

    def _settle_undecided(self) -> None:
        while self._undecided:
            self._settle(self._undecided.pop(0))

    def _settle(self, settlement: Settlement) -> None:
        """Commit, however long the disk refuses: the verdicts are known, and nothing is sent twice for it."""
        while True:
            try:
                self._source.settle(settlement)
            except OSError as error:
                reason = f"the disk refuses to commit what was delivered: {error}"
                if self._control.enter("retrying", reason):
                    self._control.report(DiskRefused(reason))
                self._control.wait(_DISK_PAUSE)
            else:
                break
        # What was refused at the call was told there, and nobody waits for its verdict.
        dead = [event for event in settlement.dead if not event.record.startswith(REFUSED_AT_CALL)]
        refusals = [
            Refusal(_field(event.record, "idempotency_id"), event.reason, is_final)
            for events, is_final in ((settlement.parked, False), (dead, True))
            for event in events
        ]
        self._control.settled(
            self._source.progress(),
            refusals,
            delivered_at=time.time() if settlement.delivered or settlement.handed_over else None,
        )
        if settlement.parked:
            self._parked.has_parked()
        self._report_dead(dead)
        if not self._places[0].takes_repeats:
            tried = (_field(event.record, "idempotency_id") for event in settlement.tried)
            self._control.does_not_have(
                (*settlement.delivered_ids, *(each.idempotency_id for each in refusals), *tried)
            )

    def _settlement(self, batch: Batch, verdicts: Sequence[Verdict]) -> Settlement:
        """Turn verdicts into what is committed."""
        now, elapsed = time.time(), self._source.elapsed()
        delivered = [each for each, verdict in zip(batch.ids, verdicts, strict=True) if type(verdict) is Delivered]
        handed_over = 0 if delivered else sum(type(verdict) is HandedOver for verdict in verdicts)
        parked = list(batch.unsent)
        dead = list(batch.dead)
        tried: list[StoredEvent] = []
        unknown: Counter[str] = Counter()
        ahead = 0
        for index, verdict in enumerate(verdicts if len(delivered) + handed_over < len(verdicts) else ()):
            if isinstance(verdict, Delivered | HandedOver):
                continue
            before = (
                batch.rows[index] if batch.rows else StoredEvent(batch.records[index], "", 0, now, 0.0, key=batch.key)
            )
            # A try counts against the event only if others were delivered since the one before it.
            is_witnessed = self._delivered_at > before.tried_at or not batch.rows
            counts = is_witnessed or not _is_unproven(verdict)
            event = before._replace(
                reason=verdict.reason,
                attempts=before.attempts + counts,
                tried=now,
                parked_at=before.parked_at or elapsed,
                tried_at=elapsed,
            )
            if counts and self._is_for_good(verdict, event):
                dead.append(event._replace(id=0))
            elif batch.rows:
                tried.append(event)
            else:
                parked.append(event)
            if isinstance(verdict, Parked):
                unknown[verdict.reason] += verdict.unlisted
                ahead += verdict.is_ahead and not batch.rows
        if delivered or batch.repeats:
            self._delivered_at = elapsed
        for reason, count in (+unknown).items():
            self._control.report(
                DeliveryBlocked(f"parked for a reason we do not know, {counted(count, 'event')}: {reason}")
            )
        if ahead:
            parked_ahead = f"{counted(ahead, 'event')} parked for the future: is a clock, or a time zone, wrong?"
            self._control.report(AttentionNeeded(parked_ahead, "future"))
        stay = {event.id for event in tried}
        return Settlement(
            batch.through,
            len(delivered) + batch.repeats,
            handed_over,
            parked,
            dead,
            [row for row in batch.resolved if row.id not in stay],
            tried,
            () if self._places[0].takes_repeats else delivered,
        )

    def _is_for_good(self, verdict: Verdict, event: StoredEvent) -> bool:
        """Whether it is given up: on the server's word, or after many tries and a long time that nobody has set."""
        if isinstance(verdict, Dead):
            return True
        if isinstance(verdict, Parked) and verdict.is_ahead:
            return False
        constants = self._config.constants
        age = constants.failing_min_age if isinstance(verdict, Failing) else constants.parked_max_age
        return event.attempts >= constants.max_event_attempts and event.tried_at - event.parked_at >= age

    def _try_again(self, rows: Sequence[StoredEvent]) -> Tried:
        """Send parked events, and settle what comes of it."""
        reasons: dict[int, str] = {}
        gone: set[int] = set()
        is_proven = True
        for batch in batches_of_parked(rows, self._places[0], self._source.was_delivered):
            verdicts = result_of(self._delivering(batch, self._free[-1]))
            for row, verdict in zip(batch.rows, verdicts, strict=True):
                if isinstance(verdict, Delivered | HandedOver):
                    self._busy_at = monotonic()
                else:
                    reasons[row.id] = verdict.reason
            is_proven = is_proven and not any(map(_is_unproven, verdicts))
            settlement = self._settlement(batch, verdicts)
            self._settle(settlement)
            gone.update(row.id for row in settlement.resolved)
        return Tried(reasons, gone, is_proven)

    def _give_up(self, rows: Sequence[StoredEvent]) -> None:
        self._settle(Settlement(dead=[row._replace(id=0) for row in rows], resolved=rows))

    def _report_dead(self, dead: Sequence[StoredEvent]) -> None:
        for reason in sorted({event.reason for event in dead}):
            refused = [event for event in dead if event.reason == reason]
            self._control.report(
                EventRefused(f"{counted(len(refused), 'dead letter')}: {reason}"),
                [_shown(event.record) for event in refused],
            )


def _is_unproven(verdict: Verdict) -> bool:
    """Whether it is not Lotus' word about this event."""
    return isinstance(verdict, Failing) or (isinstance(verdict, Parked) and verdict.unproven)


def _shown(record: bytes) -> dict[str, str]:
    """Return what of an event is told: enough to find it, and it fits into a heartbeat."""
    return {name: _field(record, name) for name in ("idempotency_id", "customer_id", "event_name")}


def _field(record: bytes, name: str) -> str:
    try:
        return str(getattr(decode_record(record), name))
    except RecordError:
        return ""
