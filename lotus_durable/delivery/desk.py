"""The leader's desk: where it waits, shows what it does, and learns that somebody asks or that it must stop."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from lotus_durable.errors import LotusError
from lotus_durable.flusher.lock import Leadership
from lotus_durable.flusher.making_way import KeyChange
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.heartbeat import FlusherState, Heartbeat, clear_heartbeat, write_heartbeat
from lotus_durable.queue.requests import answer, asked

from .sender import Stopped

logger = logging.getLogger("lotus_durable")

_LOOK_INTERVAL = 0.1
"""Seconds between two looks for requests and for the word to stop, while waiting."""
_BEAT_INTERVAL = 1.0

_IN_REPORT = "on_error, which the uploading thread has called, has not returned yet"

Report = Callable[[LotusError, Sequence[dict[str, Any]]], None]


class Desk:
    """Implements :class:`~.sender.Room`. The uploading threads use it; the heartbeat's thread reads it.

    Args:
        key: our part where processes have different API keys.
        patience: seconds after which work that gives no sign of life counts as stuck: then the heart stops too.
    """

    def __init__(
        self,
        directory: QueueDirectory,
        leadership: Leadership,
        *,
        stop: Callable[[], bool],
        wake: threading.Event,
        key: KeyChange,
        patience: float,
    ) -> None:
        self._directory = directory
        self._leadership = leadership
        self._stop = stop
        self._wake = wake
        self._pid = os.getpid()
        self._taken: set[str] = set()
        self._hurried: set[str] = set()
        self._state: FlusherState = "idle"
        self._reason: str | None = None
        self._since = time.time()
        self._last_delivery: float | None = None
        self._key = key
        self._refused_key: str | None = None
        self._patience = patience
        self._worked_at = time.monotonic()
        self._in_report = False
        self._is_report_shown = False
        self._lock = threading.RLock()

    def requests(self) -> set[str]:
        """Take the requests that are open now, to be answered at the end of this round."""
        self._taken = self.asked()
        self._hurried = set(self._taken)
        return set(self._taken)

    def enter(self, state: FlusherState, reason: str | None = None) -> bool:
        """Tell what is going on now; see :class:`~.sender.Room`."""
        self._check()
        with self._lock:
            is_news = (state, reason) != (self._state, self._reason)
            if state == "sending" and self._reason is not None:
                is_news = False
            if is_news:
                self._enter(state, reason)
        return is_news

    def key_is_refused(self) -> None:
        """Show that the server refuses the key; see :class:`~.sender.Room`."""
        with self._lock:
            self._refused_key = self._key.refused()
        self.beat()
        self._check()

    def asked(self) -> set[str]:
        """Return the requests for a drain that are open now."""
        return asked(self._directory)

    def answer(self, requests: AbstractSet[str], reason: str | None = None) -> None:
        """Tell those who asked that it is done, or why it cannot be."""
        for request in requests:
            answer(self._directory, request, reason)

    def wait(self, seconds: float, *, interruptible: bool = True) -> None:
        """Wait in the middle of a round; see :class:`~.sender.Room`."""
        for _ in self._ticks(seconds):
            if interruptible and (new := self.asked() - self._hurried):
                self._hurried |= new  # one request shortens one wait
                return

    def rest(self, seconds: float) -> None:
        """Wait between two rounds, less long when somebody asks for a drain.

        Raises:
            Stopped: it is time to end.
        """
        for _ in self._ticks(seconds):
            if self.asked() - self._taken:
                return

    def _ticks(self, seconds: float) -> Iterator[None]:
        """Wait, and yield now and then."""
        ends = time.monotonic() + seconds
        while (left := ends - time.monotonic()) > 0:
            self._check()
            yield
            if self._wake.wait(min(left, _LOOK_INTERVAL)):
                self._wake.clear()
        self._check()

    def watched(self, report: Report) -> Report:
        """Return ``report`` such that the heart stops while it does not return: what it calls is the user's code."""

        def call(error: LotusError, events: Sequence[dict[str, Any]]) -> None:
            self._in_report = True
            try:
                report(error, events)
            finally:
                self._in_report = False
                self._worked_at = time.monotonic()

        return call

    def settled(self, *, delivered: bool) -> None:
        """Note that events were settled: whatever the trouble was, it is over."""
        self._worked_at = time.monotonic()
        with self._lock:
            if delivered:
                self._last_delivery = time.time()
            self._key.taken()
            self._refused_key = None
            if self._reason is not None:
                self._enter("sending", None)

    def _enter(self, state: FlusherState, reason: str | None) -> None:
        if state != self._state:
            self._state, self._since = state, time.time()
        if reason != self._reason:
            self._reason = reason
            self.beat()

    @contextlib.contextmanager
    def beating(self, chores: Callable[[], None], interval: float) -> Iterator[None]:
        """Beat, and do chores, in a thread of its own, because a request may take as long as its timeout."""
        ended = threading.Event()

        def housekeeping() -> None:
            next_beat = 0.0
            last_failure = ""
            # Under gevent a forked child has a copy of this one, as of the leader's own.
            while not ended.wait(min(interval, _BEAT_INTERVAL)) and os.getpid() == self._pid:
                try:
                    chores()
                except Exception as error:
                    # Too many open files, say. The next time may go better, and the heart must go on beating.
                    if str(error) != last_failure:
                        last_failure = str(error)
                        logger.exception("background work failed and is tried again")
                if time.monotonic() >= next_beat:
                    next_beat = time.monotonic() + _BEAT_INTERVAL
                    self._beat_while_it_works()

        self.beat()
        thread = threading.Thread(target=housekeeping, name="lotus_durable housekeeping", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            if os.getpid() == self._pid:
                with contextlib.suppress(OSError):
                    clear_heartbeat(self._directory)

    def _beat_while_it_works(self) -> None:
        """Beat, but not for a thread that is stuck: then nobody uploads, and that must be seen."""
        if self._in_report:
            if not self._is_report_shown:
                self._is_report_shown = True
                self.beat(_IN_REPORT)
            return
        self._is_report_shown = False
        if time.monotonic() - self._worked_at < self._patience:
            self.beat()

    def beat(self, reason: str | None = None) -> None:
        """Show the state to others, and ``reason`` in the place of why it is so."""
        with self._lock:
            heartbeat = Heartbeat(
                pid=os.getpid(),
                hostname=socket.gethostname(),
                state=self._state,
                reason=reason or self._reason,
                since=self._since,
                beat=time.time(),
                last_delivery=self._last_delivery,
                beat_uptime=time.monotonic(),
                refused_key=self._refused_key,
            )
            try:
                write_heartbeat(self._directory, heartbeat)
            except OSError as error:
                logger.debug("cannot write the heartbeat: %s", error)

    def _check(self) -> None:
        self._worked_at = time.monotonic()
        if self._stop():
            raise Stopped("asked to stop")
        if self._key.must_step_down():
            logger.warning("stepping down for a process with another API key: the server refuses this one's")
            raise Stopped("another key may do better")
        if not self._leadership.is_held():
            logger.warning("the leader lock in %s was deleted or replaced; stepping down", self._directory.root)
            raise Stopped("leads no more")
