"""What the elected process does: read, batch, send, settle; retry the parked; carry out what others ask for."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from lotus_durable.config import Config
from lotus_durable.errors import DeliveryBlocked, DiskRefused, EventRefused, LotusError
from lotus_durable.event.record import RecordError, decode_record, event_as_json_object
from lotus_durable.flusher.lock import Leadership
from lotus_durable.flusher.making_way import KeyChange
from lotus_durable.log import counted
from lotus_durable.queue.books import StoredEvent
from lotus_durable.queue.heartbeat import STALE_AFTER
from lotus_durable.queue.protocol import BackgroundSync, Consumer, EventQueue, LeadershipLost, Settlement

from .batch import Batch, Batcher, batches_of_parked
from .desk import Desk, Report
from .sender import Failing, Sender, Stopped
from .transport import Transport
from .verdict import Dead, Delivered, Parked, Verdict

logger = logging.getLogger("lotus_durable")

_DISK_PAUSE = 1.0  # seconds between two tries of a commit that the disk refuses
_PARKED_PAUSE = 0.5  # seconds between two requests with parked events
_DAY = 86_400.0

_Result = list[Verdict | Failing] | BaseException


class Leader:
    """Uploads for as long as it holds the leader lock and nobody stops it. Made for one term in one process."""

    def __init__(
        self,
        queue: EventQueue,
        leadership: Leadership,
        transports: Callable[[], Transport],
        config: Config,
        report: Report,
        *,
        stop: Callable[[], bool],
        wake: threading.Event,
        pace: Callable[[], None],
    ) -> None:
        self._queue = queue
        self._config = config
        connect, read = config.timeout
        # A request is sent twice at the most, and an answer ends within twice the read timeout after the last read.
        longest_request = 2 * (2 * connect + 4 * read)
        self._desk = Desk(
            queue.directory,
            leadership,
            stop=stop,
            wake=wake,
            key=KeyChange(queue.directory, config.api_key or "", config.probe_interval),
            patience=max(STALE_AFTER, longest_request),
        )
        self._report = self._desk.watched(report)
        self._transports = [transports() for _ in range(config.upload_concurrency)]
        self._senders = [
            Sender(transport, self._desk, self._report_error, probe_interval=config.probe_interval)
            for transport in self._transports
        ]
        self._pace = pace
        self._next_parked_retry = 0.0

    def lead(self) -> None:
        """Upload until stopped or no longer the leader; what is unsettled then stays in the queue.

        Raises:
            OSError: the disk refuses to be read.
            QueueDamaged: the queue cannot be read.
        """
        try:
            sync = self._queue.background_sync(self._report_error)
            with self._desk.beating(lambda: self._do_chores(sync), self._config.sync_interval):
                consumer = self._queue.consumer()
                try:
                    self._work(consumer)
                finally:
                    consumer.close()
        except Stopped:
            pass
        except LeadershipLost as error:
            logger.warning("this process leads no more: %s", error)
        finally:
            for transport in self._transports:
                transport.close()

    def _do_chores(self, sync: BackgroundSync) -> None:
        self._queue.write_back()
        sync.run()

    def _work(self, consumer: Consumer) -> None:
        batcher = Batcher(
            consumer,
            max_events=self._config.max_batch_events,
            max_bytes=self._config.max_batch_bytes,
            pace=self._pace,
        )
        while True:
            requests = self._desk.requests()
            parked_before = consumer.last_parked()
            self._pass(consumer, batcher)
            if requests:
                self._retry_all_parked(consumer, parked_before)
            self._desk.enter("idle")
            self._desk.answer(requests)
            self._desk.rest(self._config.flush_interval)

    def _pass(self, consumer: Consumer, batcher: Batcher) -> None:
        """Deliver what is in the queue now; what is appended meanwhile is for the next pass.

        Or a steady stream of events would keep the parked ones, and those who asked for a drain, waiting for ever.
        """
        more = True
        while more:
            batches = self._next_batches(batcher)
            more = bool(batches) and batches[-1].full
            self._pace()  # here too: sending and settling take as long as several bites
            results = self._send(batches)
            for batch, result in zip(batches, results, strict=True):
                self._pace()
                if isinstance(result, BaseException):
                    raise result
                self._settle(consumer, self._settlement(batch, result))
            self._retry_due_parked(consumer)

    def _next_batches(self, batcher: Batcher) -> list[Batch]:
        """Return as many batches as may be in flight at once, fewer at the end of a pass."""
        batches: list[Batch] = []
        while len(batches) < len(self._senders) and (batch := batcher.next()) is not None:
            batches.append(batch)
            if not batch.full:
                break
        return batches

    def _send(self, batches: Sequence[Batch]) -> list[_Result]:
        """Send batches at once, each over a connection of its own; return verdicts, or what prevented them."""
        results: list[_Result] = [Stopped()] * len(batches)

        def send(number: int) -> None:
            try:
                results[number] = self._senders[number].verdicts(batches[number])
            except BaseException as error:  # noqa: BLE001  # raised again in the leader's thread
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

    def _settle(self, consumer: Consumer, settlement: Settlement) -> None:
        """Commit, however long the disk refuses: the verdicts are known, and nothing is sent twice for it."""
        while True:
            try:
                consumer.settle(settlement)
            except OSError as error:
                reason = f"the disk refuses to commit what was delivered: {error}"
                if self._desk.enter("retrying", reason):
                    self._report_error(DiskRefused(reason))
                self._desk.wait(_DISK_PAUSE, interruptible=False)
            else:
                break
        self._desk.settled(delivered=bool(settlement.delivered))
        self._report_dead(settlement.dead)

    def _settlement(self, batch: Batch, verdicts: Sequence[Verdict | Failing]) -> Settlement:
        """Turn verdicts into what is committed."""
        now = time.time()
        delivered = 0
        parked: list[StoredEvent] = []
        dead = list(batch.dead)
        unknown: Counter[str] = Counter()
        for index, verdict in enumerate(verdicts):
            if isinstance(verdict, Delivered):
                delivered += 1
                continue
            before = batch.rows[index] if batch.rows else StoredEvent(batch.records[index], "", 0, now, now)
            event = StoredEvent(before.record, verdict.reason, before.attempts + 1, before.since, now)
            if self._is_for_good(verdict, event, batch.times[index]):
                dead.append(event)
            else:
                parked.append(event)
            if isinstance(verdict, Parked) and verdict.unlisted:
                unknown[verdict.reason] += 1
        for reason, count in unknown.items():
            self._report_error(
                DeliveryBlocked(f"parked for a reason we do not know, {counted(count, 'event')}: {reason}")
            )
        return Settlement(batch.through, delivered, parked, dead, batch.resolved)

    def _is_for_good(self, verdict: Verdict | Failing, event: StoredEvent, time_created: str) -> bool:
        if isinstance(verdict, Dead):
            return True
        if isinstance(verdict, Failing):
            return event.attempts >= self._config.max_event_attempts
        # An event ahead of its time can only be taken once the server's window reaches it, a day before.
        possible_since = max(event.since, _seconds(time_created) - _DAY)
        return event.tried - possible_since > self._config.parked_max_age

    def _retry_due_parked(self, consumer: Consumer) -> None:
        """Try some of the parked events that are due; now and then, so that new events are never far behind."""
        if time.monotonic() < self._next_parked_retry:
            return
        self._next_parked_retry = time.monotonic() + min(_PARKED_PAUSE, self._config.parked_retry_interval)
        now = time.time()
        # They are in the order of their last try: where none of a page is due, none of the next one is.
        page = consumer.parked(0, self._config.max_batch_events)
        self._retry_parked(consumer, [row for row in page if self._is_due(row, now)])

    def _retry_all_parked(self, consumer: Consumer, through: int) -> None:
        """Try each parked event up to row ``through`` once."""
        after = 0
        while page := [row for row in consumer.parked(after, self._config.max_batch_events) if row.id <= through]:
            after = page[-1].id
            self._retry_parked(consumer, page)

    def _retry_parked(self, consumer: Consumer, rows: Sequence[StoredEvent]) -> None:
        for batch in batches_of_parked(rows, max_bytes=self._config.max_batch_bytes):
            [result] = self._send([batch])
            if isinstance(result, BaseException):
                raise result
            self._settle(consumer, self._settlement(batch, result))

    def _is_due(self, row: StoredEvent, now: float) -> bool:
        # A try in the future: the clock was set back, and must not keep the event here until it is there again.
        return not 0 <= now - row.tried < self._config.parked_retry_interval

    def _report_error(self, error: LotusError) -> None:
        logger.warning("%s", error)
        self._report(error, [])

    def _report_dead(self, dead: Sequence[StoredEvent]) -> None:
        for reason in sorted({event.reason for event in dead}):
            refused = [event for event in dead if event.reason == reason]
            error = EventRefused(f"{counted(len(refused), 'dead letter')}: {reason}")
            logger.error("%s", error)
            self._report(error, [_wire_fields(event.record) for event in refused])


def _wire_fields(record: bytes) -> dict[str, Any]:
    try:
        return event_as_json_object(decode_record(record))
    except RecordError:
        return {}


def _seconds(time_created: str) -> float:
    """Return a time in seconds since the epoch, the epoch for what is no time: a record is not trusted to hold one."""
    try:
        return datetime.fromisoformat(time_created).timestamp()
    except (ValueError, OverflowError):
        return 0.0
