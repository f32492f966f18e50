"""The thread by which a process stands for election, and uploads while it leads."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import threading
import time
from collections.abc import Callable

from lotus_durable.config import Config
from lotus_durable.flusher.hung import LeaderWatch
from lotus_durable.flusher.lock import Leadership, nobody_leads
from lotus_durable.flusher.making_way import KeyChange
from lotus_durable.imports import import_for_delivery
from lotus_durable.queue.destination import claim_destination, normalised, other_destination
from lotus_durable.queue.heartbeat import clear_heartbeat
from lotus_durable.queue.protocol import EventQueue
from lotus_durable.queue.requests import answer, asked

from .desk import Report
from .loop import Leader
from .pace import Pace, at_full_speed
from .transport import Transport

logger = logging.getLogger("lotus_durable")

_random = random.Random()  # noqa: S311  # jitter; and of our own, so that a seeded program stays as it is
_POLL_INTERVAL = 0.5
"""Seconds between two attempts at the lock, at the most: a dead leader is replaced within this time."""


class Candidate:
    """Tries to lead, twice a second, and leads when elected; belongs to one process.

    Args:
        transports: makes a connection to the server; None when this process cannot lead, and only writes back what
            waits in its memory for the disk.
        alone: this process does nothing else, so uploading need not be considerate.
        inherited_lock: a descriptor of the leader lock, if this process was started as the leader.
    """

    def __init__(
        self,
        queue: EventQueue,
        config: Config,
        report: Report,
        transports: Callable[[], Transport] | None,
        *,
        alone: bool = False,
        inherited_lock: int | None = None,
    ) -> None:
        self._queue = queue
        self._config = config
        self._report = report
        self._transports = transports
        self._alone = alone
        self._leadership = Leadership(queue.directory.leader_lock, inherited=inherited_lock)
        self._watch = LeaderWatch(queue.directory, lambda error: report(error, []))
        self._wake = threading.Event()
        self._stopping = False
        self._pid = os.getpid()
        self._thread: threading.Thread | None = None
        self._key = KeyChange(queue.directory, config.api_key or "", config.probe_interval)
        self._has_first_try = inherited_lock is not None
        self._last_failure: str | None = None
        self._refusal: str | None = None
        # Held while it becomes or ceases to be the leader: whoever asks about that gets no answer from in between.
        self._changing = threading.RLock()
        self.leads = False
        self.looked_at = time.monotonic()
        """When its thread last looked whether to stop: it does so all the time, unless it hangs."""

    def start(self) -> None:
        """Stand for election in a daemon thread: it must not keep a process alive that wants to end.

        Raises:
            RuntimeError: no thread can be started now.
        """
        self._thread = threading.Thread(target=self.run, name="lotus_durable flusher", daemon=True)
        self._thread.start()

    def stop(self, timeout: float | None) -> bool:
        """Stop after the request in flight and its commit; return whether that was so within ``timeout`` seconds."""
        self._stopping = True
        self._wake.set()
        if self._thread is None or not self._thread.is_alive() or self._thread is threading.current_thread():
            return True
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def is_running(self) -> bool:
        """Whether its thread runs and is not stopping."""
        return self._thread is not None and self._thread.is_alive() and not self._stopping

    def may_lead(self) -> bool:
        """Whether it stands for election at all."""
        return self._transports is not None

    def is_eligible(self) -> bool:
        """Whether it leads, or would if it tried now."""
        with self._changing:
            return self.may_lead() and (self.leads or nobody_leads(self._queue.directory) is True)

    def refusal(self) -> str | None:
        """Return why it cannot even try to lead, if the lock file cannot be used."""
        return self._refusal or self._leadership.refusal

    def has_better_key(self) -> bool:
        """Whether the server may take this process's API key where it refuses the leader's."""
        return self.may_lead() and self._key.is_better()

    def nudge(self) -> None:
        """Look at once whether there is something to do."""
        self._wake.set()

    def run(self) -> None:
        """Stand for election until stopped."""
        while not self._is_over():
            waiting: set[str] = set()
            try:
                waiting = asked(self._queue.directory)
                self._queue.write_back()
                if self._transports is not None and self._stands() and self._elected():
                    self._watch.rest()
                    self._lead(self._transports)
                    self._last_failure = None
                self._watch.look()
            except (Exception, SystemExit) as error:  # noqa: BLE001  # see the comment
                # Whatever it is, the events are on disk and the next attempt may go better; a dead thread never does.
                # SystemExit: an on_error of the user's may raise it, in the belief that it ends the process.
                self._failed(error, waiting)
            if not self._is_over():
                self._wake.wait(_POLL_INTERVAL * _random.uniform(0.8, 1.0))
                self._wake.clear()

    def _is_over(self) -> bool:
        self.looked_at = time.monotonic()
        # Under gevent this thread is a greenlet, and a forked child has a copy of it that goes on: it must not lead.
        return self._stopping or os.getpid() != self._pid

    def _stands(self) -> bool:
        has_first_try, self._has_first_try = self._has_first_try, False
        return self._is_for_our_server() and (has_first_try or not self._key.gives_way())

    def _elected(self) -> bool:
        with self._changing:
            self.leads = self._leadership.acquire()
            # Again: it can only be given to another server by the holder of the lock, and that is us now.
            if self.leads and not self._is_for_our_server():
                self.leads = False
                self._leadership.release()
        return self.leads

    def _is_for_our_server(self) -> bool:
        """Whether what is in the queue is for the server that this process is set to."""
        try:
            found = claim_destination(self._queue.directory, self._config.host)
        except OSError as error:
            # A full disk, say: to deliver is what makes room.
            logger.debug("cannot look at whose events these are: %s", error)
            return True
        if found == normalised(self._config.host):
            self._refusal = None
        elif self._refusal is None:
            self._refusal = other_destination(self._queue.directory, found, self._config.host)
            logger.warning("this process does not upload: %s", self._refusal)
        return self._refusal is None

    def _lead(self, transports: Callable[[], Transport]) -> None:
        logger.info("this process is the leader now, and uploads")
        try:
            # The last beat may be that of one who was killed. Until the first of ours, after the imports, it would look
            # to others as if that one held the lock and hung.
            with contextlib.suppress(OSError):
                clear_heartbeat(self._queue.directory)
            import_for_delivery()
            Leader(
                self._queue,
                self._leadership,
                transports,
                self._config,
                self._report,
                stop=self._is_over,
                wake=self._wake,
                pace=at_full_speed if self._alone else Pace(),
            ).lead()
        finally:
            with self._changing:
                self.leads = False
                self._leadership.release()

    def _failed(self, error: BaseException, waiting: set[str]) -> None:
        failure = f"the uploader failed and tries again: {type(error).__name__}: {error}"
        if failure != self._last_failure:  # twice a second the same would fill the log
            self._last_failure = failure
            logger.error("%s", failure, exc_info=error)
        # Whoever asked for a drain before this attempt hears of it, instead of waiting for a person to look at the log.
        for request in waiting:
            answer(self._queue.directory, request, failure)
