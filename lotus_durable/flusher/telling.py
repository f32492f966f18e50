"""Telling trouble in a process that tracks, where somebody reads it: one process of the host does, once a minute."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

from lotus_durable import errors
from lotus_durable.clock import since_boot
from lotus_durable.config import Constants
from lotus_durable.errors import DeliveryBlocked, LotusError
from lotus_durable.log import DEBUG, INFO, WARNING, counted, logger
from lotus_durable.queue.counting import count
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.heartbeat import Beat

from .starting import Starting

_MOST_COUNTED = 500
"""Segments, of 20 µs each, that a call which tells trouble may take the time to look at."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias


Report: TypeAlias = "Callable[[LotusError, Sequence[dict[str, Any]]], None]"


class Teller:
    """Tells what the heartbeat and the looks of one process find.

    Args:
        directory: of the queue.
        starting: has the notes of what was told already, by whichever process.
        constants: intervals.
        report: told, with the events it is about.
    """

    def __init__(self, directory: QueueDirectory, starting: Starting, constants: Constants, report: Report) -> None:
        self._directory = directory
        self._starting = starting
        self._constants = constants
        self._report = report
        self._next_telling = 0.0
        self._news_known = 0
        self._said: set[str] = set()

    def tell_trouble(self, beat: Beat) -> None:
        """Tell that a queue is not delivered: at once what a person must mend, the rest when it lasts."""
        assert beat.trouble_since is not None
        lasts = since_boot() - beat.trouble_since
        if beat.state != "blocked" and lasts < self._constants.told_after:
            return
        reason = beat.reason or "the server does not take them"
        since = f" for {lasts:.0f} s" if lasts >= 1 else ""
        self.tell_blocked(reason, since)

    def tell_blocked(self, reason: str, since: str = "") -> None:
        """Tell why nothing is delivered: one process of the host does, once a minute.

        Args:
            reason: one sentence.
            since: for how long.
        """
        if since_boot() < self._next_telling:
            return
        now = since_boot()
        interval = self._constants.told_interval
        with self._starting.changing() as notes:
            if notes is None:
                return
            self._next_telling = max(now + interval / 10, notes.told_at + interval)
            if now - notes.told_at < interval:
                return
            notes.told_at = now
        error = DeliveryBlocked(f"nothing is delivered{since}, {self._what_waits()}: {reason}")
        logger.warning("%s", error)
        self._report(error, [])

    def _what_waits(self) -> str:
        with contextlib.suppress(OSError):
            if len(self._directory.segments()) <= _MOST_COUNTED:
                waits = count(self._directory)
                age = f", the oldest for {waits.oldest_age:.0f} s" if waits.oldest_age is not None else ""
                return f"{counted(waits.pending, 'event')} {'is' if waits.pending == 1 else 'are'} kept{age}"
        return "events are kept"

    def tell_news(self, beat: Beat) -> None:
        """Tell what happened once, if nobody did."""
        if not beat.news or beat.news[-1].serial <= self._news_known:
            return
        with self._starting.changing() as notes:
            if notes is None:
                return
            news = [each for each in beat.news if each.serial > notes.told_news]
            self._news_known = notes.told_news = max(notes.told_news, beat.news[-1].serial)
            if any(each.kind == "DeliveryResumed" for each in news):
                notes.told_at = float("-inf")
        for each in news:
            kind = getattr(errors, each.kind, DeliveryBlocked)
            level = INFO if each.kind == "DeliveryResumed" else WARNING
            logger.log(level, "%s", each.text)
            self._report(kind(each.text), [dict(event) for event in each.events])

    def say_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            logger.warning("%s", text, exc_info=logger.isEnabledFor(DEBUG))
