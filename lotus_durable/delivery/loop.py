"""What the flusher does: read, batch, send, settle; retry the parked; carry out what others ask for.

It is one file, because the order of these steps is what the promises rest on.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence

from lotus_durable.clock import monotonic, since_boot
from lotus_durable.config import Config
from lotus_durable.errors import DeliveryBlocked, DiskRefused, EventRefused
from lotus_durable.event.record import REFUSED_AT_CALL, RecordError, decode_record
from lotus_durable.log import counted
from lotus_durable.queue.heartbeat import Refusal
from lotus_durable.queue.protocol import Settlement, StoredEvent

from .batch import Batch
from .batching import Batcher, batches_of_parked
from .control import Control, Stopped
from .outcome import Dead, Delivered, Failing, Parked, Verdict
from .parked import ParkedEvents, Tried
from .place import Place, Source

logger: logging.Logger = logging.getLogger("lotus_durable")

_DISK_PAUSE = 1.0  # seconds between two tries of a commit that the disk refuses

_Result = Sequence[Verdict] | BaseException


class Loop:
    """Sends what is in the queue. For one thread, and the holder of the flusher's lock.

    Args:
        source: where the events come from.
        control: between its steps.
        places: where they go, all the same one, as many as batches may be on their way at once.
        config: options.
        may_send: whether events that were tracked under the key with this fingerprint may be sent with ours.

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
        self._held_told_at = float("-inf")
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
            is_asked = self._control.is_asked()
            parked_before = self._source.last_parked()
            began = since_boot()
            self._pass()
            if is_asked:
                for _ in self._parked.try_all(parked_before):
                    self._control.check()
            self._control.enter("idle")
            self._control.show(self._source.progress())
            self._source.retire()
            self._control.answer(asked, self._why_held())
            if not self.left:
                self._control.caught_up(began)
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
        if monotonic() - self._held_told_at >= self._config.constants.report_interval:
            self._held_told_at = monotonic()
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
        while more:
            self._control.check()
            batches = self._next_batches()
            if (since := self._source.in_doubt_since) is not None:
                for place in self._places:
                    place.may_be_in_flight(since)
            more = bool(batches) and batches[-1].full
            results = self._send(batches)
            for batch, result in zip(batches, results, strict=True):
                self._busy_at = monotonic()
                if isinstance(result, BaseException):
                    raise result
                self._decide(result, self._settlement(batch, result))
            self._parked.step()
        self._settle_undecided()
        for _ in self._parked.steps():
            self._control.check()

    def _decide(self, verdicts: Sequence[Verdict], settlement: Settlement) -> None:
        """Settle, but where Lotus has said a word of no event: these are pending until what comes next tells more.

        Something on the way may refuse them all; then nothing is parked for it.
        """
        if verdicts and all(isinstance(each, Failing) or _is_unproven(each) for each in verdicts):
            self._undecided.append(settlement)
        else:
            self._settle_undecided()
            self._settle(settlement)

    def _settle_undecided(self) -> None:
        while self._undecided:
            self._settle(self._undecided.pop(0))

    def _next_batches(self) -> list[Batch]:
        """Return as many batches as may be in flight at once, fewer at the end of a pass."""
        batches: list[Batch] = []
        while len(batches) < len(self._places) and (batch := self._batcher.next()) is not None:
            batches.append(batch)
            if not batch.full:
                break
        return batches

    def _send(self, batches: Sequence[Batch]) -> list[_Result]:
        """Send batches at once, each over a connection of its own; return verdicts, or what prevented them."""
        results: list[_Result] = [Stopped()] * len(batches)

        def send(number: int) -> None:
            try:
                results[number] = self._places[number].deliver(batches[number])
            except BaseException as error:  # noqa: BLE001  # raised again in the loop's thread
                results[number] = error

        others = [
            threading.Thread(target=send, args=(number,), name="lotus_durable upload", daemon=True)
            for number in range(1, len(batches))
        ]
        for other in others:
            other.start()
        if batches:
            send(0)
        for other in others:
            other.join()
        return results

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
        self._control.settled(self._source.progress(), delivered_at=time.time() if settlement.delivered else None)
        if settlement.parked:
            self._parked.has_parked()
        # What was refused at the call was told there, and nobody waits for its verdict.
        dead = [event for event in settlement.dead if not event.record.startswith(REFUSED_AT_CALL)]
        self._report_dead(dead)
        refusals = [
            Refusal(_field(event.record, "idempotency_id"), event.reason, is_final)
            for events, is_final in ((settlement.parked, False), (dead, True))
            for event in events
        ]
        self._control.refused(refusals)
        if not self._places[0].takes_repeats:
            tried = (_field(event.record, "idempotency_id") for event in settlement.tried)
            self._control.does_not_have(
                (*settlement.delivered_ids, *(each.idempotency_id for each in refusals), *tried)
            )

    def _settlement(self, batch: Batch, verdicts: Sequence[Verdict]) -> Settlement:
        """Turn verdicts into what is committed."""
        now, elapsed = time.time(), self._source.elapsed()
        delivered: list[str] = []
        parked = list(batch.unsent)
        dead = list(batch.dead)
        tried: list[StoredEvent] = []
        unknown: Counter[str] = Counter()
        for index, verdict in enumerate(verdicts):
            if isinstance(verdict, Delivered):
                delivered.append(batch.ids[index])
                continue
            before = (
                batch.rows[index] if batch.rows else StoredEvent(batch.records[index], "", 0, now, 0.0, key=batch.key)
            )
            # A try counts against the event only if others were delivered since the one before it.
            is_witnessed = self._delivered_at > before.tried_at or not batch.rows
            counts = is_witnessed or not (isinstance(verdict, Failing) or _is_unproven(verdict))
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
            if isinstance(verdict, Parked) and verdict.unlisted:
                unknown[verdict.reason] += 1
        if delivered or batch.repeats:
            self._delivered_at = elapsed
        for reason, count in unknown.items():
            self._control.report(
                DeliveryBlocked(f"parked for a reason we do not know, {counted(count, 'event')}: {reason}")
            )
        stay = {event.id for event in tried}
        return Settlement(
            batch.through,
            len(delivered) + batch.repeats,
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
        for batch in batches_of_parked(rows, self._places[0]):
            [result] = self._send([batch])
            if isinstance(result, BaseException):
                raise result
            for row, verdict in zip(batch.rows, result, strict=True):
                if isinstance(verdict, Delivered):
                    self._busy_at = monotonic()
                else:
                    reasons[row.id] = verdict.reason
            settlement = self._settlement(batch, result)
            self._settle(settlement)
            gone.update(row.id for row in settlement.resolved)
        return Tried(reasons, gone)

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
    return isinstance(verdict, Parked) and verdict.unproven


def _shown(record: bytes) -> dict[str, str]:
    """Return what of an event is told: enough to find it, and it fits into a heartbeat."""
    return {name: _field(record, name) for name in ("idempotency_id", "customer_id", "event_name")}


def _field(record: bytes, name: str) -> str:
    try:
        return str(getattr(decode_record(record), name))
    except RecordError:
        return ""
