"""Reporting trouble in a process that tracks, whose log somebody reads: by one process of the host, once a minute."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lotus_durable import errors
from lotus_durable.clock import since_boot
from lotus_durable.config import Constants
from lotus_durable.disk import DiskErrorsSuppressed
from lotus_durable.errors import DeliveryBlocked, LotusError
from lotus_durable.log import DEBUG, INFO, WARNING, counted, logger
from lotus_durable.queue.counting import count
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.heartbeat import Beat
from lotus_durable.queue.stats import QueueStats

from .starting import Starting

_MOST_COUNTED = 500
"""Segments, of 20 µs each, that a call which reports trouble may take the time to look at."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias


Report: TypeAlias = "Callable[[LotusError, Sequence[dict[str, Any]]], None]"


class TroubleReporter:
    """Reports what the heartbeat and the looks of one process find, unless another process has, as the notes say."""

    def __init__(self, directory: QueueDirectory, starting: Starting, constants: Constants, report: Report) -> None:
        self._directory = directory
        self._starting = starting
        self._constants = constants
        self._report = report
        self._next_report = 0.0
        self._notices_known = 0
        self._said: set[str] = set()

    def report_trouble(self, beat: Beat) -> None:
        """Report that a queue is not delivered: at once what a person must mend, the rest when it lasts."""
        assert beat.trouble_since is not None
        lasts = since_boot() - beat.trouble_since
        if beat.state != "blocked" and lasts < self._constants.report_after:
            return
        reason = beat.reason or "the server does not take them"
        since = f" for {lasts:.0f} s" if lasts >= 1 else ""
        self.report_blocked(reason, since)

    def report_blocked(self, reason: str, since: str = "", *, what: str = "nothing is delivered") -> None:
        """Report why nothing is delivered (or what else there is): one process of the host does, once a minute."""
        if since_boot() < self._next_report:
            return
        now = since_boot()
        interval = self._constants.report_interval
        with self._starting.changing() as notes:
            if notes is None:
                return
            self._next_report = max(now + interval / 10, notes.reported_at + interval)
            if now - notes.reported_at < interval:
                return
            notes.reported_at = now
        self._next_report = now + interval
        error = DeliveryBlocked(f"{what}{since}, {self._what_waits()}: {reason}")
        logger.warning("%s", error)
        self._report(error, [])

    def _what_waits(self) -> str:
        waits = self.waiting()
        if waits is None:
            return "events are kept"
        age = f", the oldest for {waits.oldest_age:.0f} s" if waits.oldest_age is not None else ""
        return f"{counted(waits.pending, 'event')} {'is' if waits.pending == 1 else 'are'} kept{age}"

    def waiting(self) -> QueueStats | None:
        """Count what is in the queue; None where that takes too long for an application's call, or cannot be done."""
        with DiskErrorsSuppressed():
            if len(self._directory.segments()) <= _MOST_COUNTED:
                return count(self._directory)
        return None

    def report_notices(self, beat: Beat) -> None:
        """Report what happened once, if nobody did."""
        if not beat.notices or beat.notices[-1].serial <= self._notices_known:
            return
        with self._starting.changing() as notes:
            if notes is None:
                return
            notices = [each for each in beat.notices if each.serial > notes.reported_notices]
            self._notices_known = notes.reported_notices = max(notes.reported_notices, beat.notices[-1].serial)
            if any(each.kind == "DeliveryResumed" for each in notices):
                notes.reported_at = float("-inf")
        for each in notices:
            kind = getattr(errors, each.kind, DeliveryBlocked)
            level = INFO if each.kind == "DeliveryResumed" else WARNING
            logger.log(level, "%s", each.text)
            self._report(kind(each.text), [dict(event) for event in each.events])

    def warn_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            logger.warning("%s", text, exc_info=logger.isEnabledFor(DEBUG))
