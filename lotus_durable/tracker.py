"""What of a client belongs to one process, and is never carried into another; and what happens to it at a fork."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from lotus_durable import under_uwsgi
from lotus_durable.config import Config
from lotus_durable.errors import ConfigurationError, LotusError
from lotus_durable.event.record import EventEncoder
from lotus_durable.flusher import spawn as child
from lotus_durable.flusher.interpreter import find_interpreter
from lotus_durable.imports import WAS_CUT, uncut, was_cut
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.journal import JournalQueue
from lotus_durable.queue.protocol import EventQueue

if TYPE_CHECKING:
    from lotus_durable.calls.caller import Caller
    from lotus_durable.delivery.at_once import Refusal
    from lotus_durable.delivery.candidate import Candidate
    from lotus_durable.delivery.desk import Report
    from lotus_durable.delivery.transport import Transport
    from lotus_durable.flusher.look import Launcher

logger = logging.getLogger("lotus_durable")

_STOP_TIMEOUT = 0.2  # seconds

_living: list[weakref.ref[Process]] = []
"""Every Process that still exists, also those that only end a last request. Oldest first, so that two threads that
fork at once take their locks in the same order."""
_forking: dict[int, list[list[EventQueue]]] = {}
"""The queues that wait for the end of a fork, by the thread that forks. A list of lists: a signal handler may fork in
the middle of that."""


class Process:
    """Queue, encoders, connections and thread of one client in one process; made again after a fork.

    Args:
        config: the configuration.
        report: told of errors.
        may_start: False where it should only append: its events are for others to upload.
    """

    has_inherited_store = False
    """Whether this process was forked while an ancestor had the SQLite database open. SQLite cannot be carried
    across a fork (measured: acknowledged puts lost in silence), so such a process, and its children, must not lead."""

    def __init__(self, config: Config, report: Report, *, may_start: bool = True) -> None:
        self.pid = os.getpid()
        self.queue: EventQueue = open_queue(config, lambda error: report(error, []))
        # Taken out for one call and put back: no lock, and a signal handler in mid-call finds another one.
        self.encoders: list[EventEncoder] = []
        self.candidate: Candidate | Launcher | None = None
        self.is_started = False
        self.tended: Launcher | None = None
        """What must be asked to look at each event whether anybody uploads, because no thread can."""
        self._config = config
        self._report = report
        self._idle: list[Transport] = []
        self._opened: weakref.WeakSet[Transport] = weakref.WeakSet()
        self._callers: dict[int, Caller] = {}
        self._claims: list[object] = []
        self._is_closed = not may_start
        _living.append(weakref.ref(self, _living.remove))

    def start(self) -> None:
        """Start this process's candidate; it does not stand for election where this process cannot upload.

        Raises:
            RuntimeError: no thread can be started now.
        """
        if under_uwsgi.will_fork():
            return  # with the next event: a process without a master becomes a worker itself
        claim = object()
        try:
            self._claims.append(claim)
            # Of threads that come here at once one is the first; the others have nothing to wait for.
            if self._claims[0] is claim and not self.is_started and not self._is_closed:
                self._start()
        finally:
            self._claims.remove(claim)
        if self._is_closed:
            self.queue.close()  # what another thread closed while this one tracked

    def _start(self) -> None:
        is_external = self._config.flusher == "external"
        if self._config.flusher == "process" and find_interpreter() is None:
            logger.warning(
                "no Python interpreter is found to run the uploader (sys.executable is %s): a thread of this process "
                "uploads instead of a process of its own",
                sys.executable,
            )
        reason = self.reason_not_to_lead()
        if reason is not None and not is_external:
            logger.warning("this process does not upload: %s; its events are kept on disk", reason)
        try:
            # Where threads do not run not even an idle one: it would wait for the interpreter lock.
            if reason is None and self._launches():
                self.candidate = launcher = self._make_launcher()
                self.tended = None if launcher.has_thread else launcher
                launcher.start()
            elif not (under_uwsgi.runs_without_threads() or was_cut()):
                self.candidate = self.make_candidate(stands=not is_external)
                self.candidate.start()
            self.is_started = not self._is_closed and self.tended is None
        except BaseException:
            # A signal handler may have raised when the thread was running already: two of them must not be.
            candidate, self.candidate, self.tended = self.candidate, None, None
            if candidate is not None:
                candidate.stop(0.0)
            raise

    def make_candidate(
        self, *, alone: bool = False, stands: bool = True, inherited_lock: int | None = None
    ) -> Candidate:
        """Return a candidate of this process that is not started yet.

        Args:
            alone: it need not be considerate of other threads.
            stands: False for one that never leads.
            inherited_lock: see :class:`~lotus_durable.delivery.candidate.Candidate`.
        """
        with uncut():
            from lotus_durable.delivery.candidate import Candidate

        can_lead = stands and self.reason_not_to_lead() is None
        return Candidate(
            self.queue,
            self._config,
            self._report,
            self.open_transport if can_lead else None,
            alone=alone,
            inherited_lock=inherited_lock,
        )

    def _launches(self) -> bool:
        """Whether it is a child process that uploads."""
        return self._config.flusher == "process" and not was_cut() and find_interpreter() is not None

    def _make_launcher(self) -> Launcher:
        with uncut():
            from lotus_durable.flusher.look import Launcher

        interpreter = find_interpreter()
        assert interpreter is not None
        has_thread = not under_uwsgi.runs_without_threads()
        return Launcher(self.queue, self._config, self._report, interpreter, has_thread=has_thread)

    def reason_not_to_lead(self) -> str | None:
        """Return why this process cannot upload, or see to it that a child does; None where it can."""
        if self._config.api_key is None:
            return "no API key is set (lotus_durable.api_key or LOTUS_API_KEY)"
        if was_cut():
            return f"it {WAS_CUT}"
        if self._launches():
            return None
        if Process.has_inherited_store:
            return "it was forked while its parent had the queue's SQLite database open"
        if under_uwsgi.runs_without_threads():
            return (
                "uWSGI runs without threads: start it with --enable-threads, or run `lotus-durable flusher` beside it, "
                'or set flusher="process"'
            )
        return None

    @contextlib.contextmanager
    def drain_candidate(self) -> Iterator[tuple[Candidate | Launcher, Callable[[], None]]]:
        """Give the candidate of this process, or one for the time being; and what has it begin.

        To be called when the drain is asked for: what it parked before would have a try more than needed.
        """
        candidate = self.candidate
        can_lead = self.reason_not_to_lead() is None
        if candidate is not None and candidate.is_running() and (candidate.may_lead() or not can_lead):
            yield candidate, candidate.nudge
            return
        candidate = self._make_launcher() if self._launches() and can_lead else self.make_candidate(alone=True)
        try:
            yield candidate, candidate.start if can_lead else candidate.nudge
        finally:
            # It ends by itself after its request in flight; whoever drains with a timeout does not wait for that.
            candidate.stop(_STOP_TIMEOUT)

    def send_at_once(self, record: bytes) -> Refusal | None:
        """Send one event and wait for its verdict (``sync_mode``); return None when the server has it."""
        from lotus_durable.delivery.at_once import Refusal, send_at_once

        if self._config.api_key is None:
            return Refusal("no API key is set (lotus_durable.api_key or LOTUS_API_KEY)", is_final=False)
        try:
            transport = self._idle.pop()
        except IndexError:
            transport = self.open_transport()
        try:
            return send_at_once(transport, record)
        finally:
            self._idle.append(transport)

    def open_transport(self) -> Transport:
        """Return a connection to the server, opened when it is first used.

        Raises:
            ConfigurationError: there is no API key.
        """
        from lotus_durable.delivery.transport import HttpTransport

        if self._config.api_key is None:
            raise ConfigurationError("api_key: none is set (lotus_durable.api_key or LOTUS_API_KEY)")
        connect, read = self._config.timeout
        transport = HttpTransport(self._config.host, self._config.api_key, connect_timeout=connect, read_timeout=read)
        self._opened.add(transport)
        return transport

    def caller(self) -> Caller:
        """Return what makes the calls that answer; without an API key it can only check them."""
        caller = self._callers.get(self.pid)
        if caller is None:
            with uncut():
                from lotus_durable.calls.caller import open_caller

            # Of two threads that come here at once, both get the same one.
            caller = self._callers.setdefault(self.pid, open_caller(self._config))
        return caller

    def close(self, timeout: float) -> None:
        """Stop uploading, within ``timeout`` seconds if a request is in flight, and let go of everything."""
        self._is_closed = True
        self.is_started = False
        self.tended = None
        if self.candidate is not None:
            self.candidate.stop(timeout)
        while self._idle:
            self._idle.pop().close()
        for caller in self._callers.values():
            caller.close()
        self.queue.close()

    def abandon(self) -> None:
        """Drop what was inherited, in a forked child: everything here is still the parent's."""
        self.pid = 0  # no process has it: also not one that is forked into a namespace where it has its parent's number
        for transport in list(self._opened):
            transport.abandon()
        for caller in self._callers.values():
            caller.abandon()
        if not self.queue.abandon():
            Process.has_inherited_store = True


def abandon_inherited() -> None:
    """Drop what this process inherited from its parent, if the fork ran no hooks (uWSGI's does not)."""
    pid = os.getpid()
    for process in _all_living():
        if process.pid not in (pid, 0):
            process.abandon()
    child.abandon_inherited()


def open_queue(config: Config, report: Callable[[LotusError], None]) -> EventQueue:
    """Return the queue that ``config`` describes; nothing is created before the first event."""
    directory = QueueDirectory(config.queue_dir, config.host if config.api_key is not None else None)
    if config.backend == "sqlite":
        from lotus_durable.queue.sqlite.queue import SqliteQueue

        return SqliteQueue(
            directory,
            segment_bytes=config.segment_bytes,
            max_queue_bytes=config.max_queue_bytes,
            power=config.durability == "power",
            report=report,
            stays_open=not under_uwsgi.will_fork(),
        )
    return JournalQueue(
        directory,
        segment_bytes=config.segment_bytes,
        max_queue_bytes=config.max_queue_bytes,
        power=config.durability == "power",
        sync_interval=config.sync_interval,
        report=report,
    )


def _all_living() -> list[Process]:
    return [process for reference in list(_living) if (process := reference()) is not None]


def _before_fork() -> None:
    """Wait until no SQLite connection is open: one must never be carried across a fork."""
    pid = os.getpid()
    waiting: list[EventQueue] = []
    _forking.setdefault(threading.get_ident(), []).append(waiting)
    for process in _all_living():
        if process.pid == pid:
            process.queue.before_fork()
            waiting.append(process.queue)


def _after_fork_in_parent() -> None:
    forks = _forking.get(threading.get_ident())
    for queue in forks.pop() if forks else ():
        queue.after_fork_in_parent()
    if not forks:
        _forking.pop(threading.get_ident(), None)


def _after_fork_in_child() -> None:
    """Drop the parent's descriptors at once, so that its segments do not look alive for longer than it is."""
    _forking.clear()
    for process in _all_living():
        if process.pid:
            process.abandon()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
