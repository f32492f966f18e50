"""What a worker does for ``flusher="process"``: look whether anybody leads, and if nobody does start a child."""

from __future__ import annotations

import logging
import os
import random
import threading
import time

from lotus_durable.config import Config
from lotus_durable.delivery.desk import Report
from lotus_durable.flusher.hung import LeaderWatch
from lotus_durable.flusher.lock import nobody_leads
from lotus_durable.flusher.making_way import KeyChange
from lotus_durable.queue.protocol import EventQueue

from .messages import LogLine, Ready, Refused, decode, start_message
from .spawn import Child, start_child

logger = logging.getLogger("lotus_durable")

_random = random.Random()  # noqa: S311  # jitter; and of our own, so that a seeded program stays as it is
_LOOK_INTERVAL = 0.5  # seconds
_END_INTERVAL = 0.02
"""Seconds between two looks at a child that was told to end, or that is in the middle of a message."""
_WORDS_KEPT = 50  # lines
_LONGEST_PAUSE = 60.0
"""Seconds between two starts, at the most, while no child comes to lead."""

_left_behind: list[Child] = []
"""Children that were told to end and did not yet, where no thread waits for them."""


class Launcher:
    """Stands in the place of a :class:`~lotus_durable.delivery.candidate.Candidate`; belongs to one process.

    Args:
        queue: the queue.
        config: the configuration, which its child gets too.
        report: told of errors, its child's and its own.
        interpreter: the Python that a child runs.
        has_thread: False where none can run: :meth:`look` must then be called now and then.
    """

    def __init__(
        self, queue: EventQueue, config: Config, report: Report, interpreter: str, *, has_thread: bool = True
    ) -> None:
        self._queue = queue
        self._config = config
        self._report = report
        self._interpreter = interpreter
        self._watch = LeaderWatch(queue.directory, lambda error: report(error, []))
        self._pid = os.getpid()
        self._thread = threading.Thread(target=self._run, name="lotus_durable launcher", daemon=True)
        self.has_thread = has_thread
        self._wake = threading.Event()
        self._stopping = False
        # Never waited for: who finds it taken finds somebody else looking, a signal handler perhaps its own thread.
        self._in_look = threading.Lock()
        # Held while a child is started: who asks whether it leads gets no answer from in between.
        self._changing = threading.RLock()
        self._next_look = 0.0
        self._next_start = 0.0
        self._pause = 0.0
        self._child: Child | None = None
        self._is_ready = False
        self._unread = b""
        self._last_words: list[str] = []
        self._refusal: str | None = None
        self._last_failure = ""
        self._key = KeyChange(queue.directory, config.api_key or "", config.probe_interval)

    def start(self) -> None:
        """Look now, and from then on: in a daemon thread, if it has one.

        Raises:
            RuntimeError: no thread can be started now.
        """
        if self.has_thread:
            self._thread.start()
        else:
            self.look_if_due()

    def stop(self, timeout: float | None) -> bool:
        """Have its child end after the request in flight; return whether that was so within ``timeout`` seconds."""
        self._stopping = True
        self._wake.set()
        child = self._child
        if child is not None:
            child.let_go()
        if self._thread is threading.current_thread():
            return True
        if self._thread.is_alive():
            self._thread.join(timeout)
            return not self._thread.is_alive()
        return self._wait_for_end(timeout)

    def is_running(self) -> bool:
        """Whether it looks, and is not stopping."""
        return not self._stopping and os.getpid() == self._pid and (not self.has_thread or self._thread.is_alive())

    def may_lead(self) -> bool:
        """Whether it sees to the uploading at all: yes."""
        return True

    @property
    def leads(self) -> bool:
        """Whether its child leads, as it does from its first moment on."""
        return self._child is not None

    def is_eligible(self) -> bool:
        """Whether its child leads, or would if it were started now."""
        with self._changing:
            return self.leads or nobody_leads(self._queue.directory) is True

    def refusal(self) -> str | None:
        """Return why its child cannot be started or does not come to lead, if so.

        Who asks that waits for the leader; so it is an occasion to look, where no thread does.
        """
        self.look_if_due()
        return self._refusal

    def has_better_key(self) -> bool:
        """Whether the server may take this process's API key where it refuses the leader's."""
        return self._key.is_better()

    def nudge(self) -> None:
        """Look at once, and start a child if nobody leads, however often that has failed."""
        self._next_start = self._next_look = 0.0
        self._wake.set()
        self.look_if_due()

    def look_if_due(self) -> None:
        """Look, where no thread does, and not more often than that would."""
        if not self.has_thread and time.monotonic() >= self._next_look:
            try:
                self.look()
            except Exception as error:  # noqa: BLE001  # the caller's event is accepted, whatever happens here
                self._tell(error)

    def _tell(self, error: BaseException) -> None:
        if str(error) != self._last_failure:  # twice a second the same would fill the log
            self._last_failure = str(error)
            logger.error("looking after the uploader process failed and is tried again: %s", error, exc_info=error)

    def look(self) -> None:
        """Hear what the child says, and start one if nobody leads; takes a millisecond or two when it starts one."""
        if os.getpid() != self._pid or not self._in_look.acquire(blocking=False):
            return
        try:
            self._next_look = time.monotonic() + _LOOK_INTERVAL * _random.uniform(0.8, 1.0)
            self._look()
        finally:
            self._in_look.release()

    def _look(self) -> None:
        _left_behind[:] = [child for child in _left_behind if not child.has_ended()]
        child = self._child
        self._watch.look()  # also its own child's heartbeat: that can be stopped as any leader can
        if child is not None:
            self._hear(child)
            if not child.has_ended():
                return
            self._child = None
            self._ended(child)
        if not self._stopping and time.monotonic() >= self._next_start and not self._key.gives_way():
            self._start_child()

    def _start_child(self) -> None:
        message = start_message(self._config, logger.getEffectiveLevel())
        try:
            with self._changing:
                child = start_child(self._interpreter, self._queue.directory, message)
                if child is not None:
                    self._is_ready, self._unread, self._last_words = False, b"", []
                self._child = child
        except FileNotFoundError:
            return  # there is no queue yet, or no more: nothing to upload
        except OSError as error:
            self._failed(f"the uploader process cannot be started: {error}")
            return
        if child is None:
            self._pause, self._refusal = 0.0, None
            return
        if self._stopping:
            child.let_go()
        logger.info("started the uploader process %d", child.pid)

    def _hear(self, child: Child) -> None:
        while data := child.read():
            *lines, self._unread = (self._unread + data).split(b"\n")
            for line in lines:
                self._take(child, line)
            if not self.has_thread:
                break  # a request waits

    def _take(self, child: Child, line: bytes) -> None:
        message = decode(line)
        if isinstance(message, Ready):
            self._is_ready, self._pause, self._refusal = True, 0.0, None
        elif isinstance(message, Refused):
            self._last_words = [message.reason]
        elif isinstance(message, LogLine):
            logger.log(message.level, "uploader process %d: %s", child.pid, message.text)
        elif isinstance(message, str):
            self._said(child, message)
        else:
            self._report(message.error, message.events)

    def _said(self, child: Child, text: str) -> None:
        """Take note of what is no message: an interpreter that cannot start writes a traceback."""
        if self._is_ready:
            logger.warning("uploader process %d: %s", child.pid, text)
        else:
            self._last_words = [*self._last_words, text][-_WORDS_KEPT:]

    def _ended(self, child: Child) -> None:
        if self._stopping:
            return
        if self._is_ready:
            logger.info("the uploader process %d has ended", child.pid)
        else:
            said = f": {self._last_words[-1]}" if self._last_words else ""
            self._failed(f"the uploader process ended before it could lead{said}")

    def _failed(self, refusal: str) -> None:
        self._pause = min(self._pause * 2 or _LOOK_INTERVAL, _LONGEST_PAUSE)
        self._next_start = time.monotonic() + self._pause
        if refusal != self._refusal:
            self._refusal = refusal
            said = "".join(f"\n{line}" for line in self._last_words[:-1])
            logger.warning("this process does not upload: %s; its events are kept on disk%s", refusal, said)

    def _run(self) -> None:
        while not self._is_over():
            try:
                self.look()
                self._queue.write_back()
            except (Exception, SystemExit) as error:  # noqa: BLE001  # see the comment
                # Whatever it is, an on_error of the user's too: the next look may go better; a dead thread never does.
                self._tell(error)
            if not self._is_over():
                is_due = self._stopping or self._unread
                self._wake.wait(_END_INTERVAL if is_due else _LOOK_INTERVAL * _random.uniform(0.8, 1.0))
                self._wake.clear()

    def _is_over(self) -> bool:
        # Under gevent this thread is a greenlet, and a forked child has a copy of it that goes on.
        return os.getpid() != self._pid or (self._stopping and self._child is None)

    def _wait_for_end(self, timeout: float | None) -> bool:
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            self.look()
            child = self._child
            if child is None:
                return True
            if deadline is not None and time.monotonic() >= deadline:
                self._child = None
                _left_behind.append(child)
                return False
            time.sleep(_END_INTERVAL)
