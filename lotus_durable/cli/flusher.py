"""``lotus-durable flusher``: a process of its own that only uploads."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from lotus_durable.errors import ConfigurationError, LotusError
from lotus_durable.logs import warn_if_unencrypted
from lotus_durable.process import Process
from lotus_durable.queue.heartbeat import read_heartbeat

from .command import Command, ExitCode, configuration
from .logs import Log, logger
from .wording import count

if TYPE_CHECKING:
    from lotus_durable.delivery.candidate import Candidate
    from lotus_durable.queue.protocol import EventQueue

_DESCRIPTION = """\
Upload what is in the queue, in the foreground, until told to stop: for a service manager, beside programs that are
set to flusher="external" or that should not spend their own time on it. While another process uploads, this one stands
by and takes over within a second when that one is gone. Logs to standard error.

SIGTERM and SIGINT (Ctrl-C) let the request in flight end, commit what the server said, and exit with 0; a second one
ends it at once, which loses nothing either: the events are sent again and the server counts them once."""

_LOOK_INTERVAL = 0.5  # seconds
_REPORT_INTERVAL = 10.0  # seconds between two lines about what was delivered
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def _run(arguments: argparse.Namespace) -> ExitCode:
    config = configuration(arguments)
    if config.api_key is None:
        raise ConfigurationError("api_key: none is set; set LOTUS_API_KEY")
    if not config.send:
        raise ConfigurationError("send: it is off (LOTUS_SEND), so nothing can be delivered")
    with Log(logging.INFO, "%(asctime)s %(levelname)s %(message)s", debug=config.debug) as log:
        warn_if_unencrypted(config.host)
        process = Process(config, log.report)
        process.queue.directory.prepare()
        process.open_transport().close()  # a key or a host that no request can be made with is said now
        candidate = process.make_candidate(alone=True)
        logger.info("started as process %d for the queue in %s", os.getpid(), config.queue_dir)
        with _stopped_by_signals(candidate), _narrated(_Narrator(candidate, process.queue)):
            candidate.run()
        process.close(0.0)
    return ExitCode.DONE


@contextlib.contextmanager
def _stopped_by_signals(candidate: Candidate) -> Iterator[None]:
    """Stop the candidate at the first signal, the process at the second.

    The signals are blocked and a thread of its own waits for them: a handler would run in the main thread in the
    middle of anything, also while that holds the lock that stopping it needs.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)

    def wait() -> None:
        number = signal.sigwait(_STOP_SIGNALS)
        logger.info("%s: stopping after the request in flight", signal.Signals(number).name)
        candidate.stop(None)
        os._exit(128 + signal.sigwait(_STOP_SIGNALS))

    threading.Thread(target=wait, name="lotus_durable signals", daemon=True).start()
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _narrated(narrator: _Narrator) -> Iterator[None]:
    """Look at the candidate now and then, from a thread of its own, and log what happened."""
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(_LOOK_INTERVAL):
            narrator.look()

    thread = threading.Thread(target=look, name="lotus_durable narrator", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        narrator.end()


class _Narrator:
    """Logs that the candidate stands by, and how much is delivered; the rest the library logs itself."""

    def __init__(self, candidate: Candidate, queue: EventQueue) -> None:
        self._candidate = candidate
        self._queue = queue
        self._led: bool | None = None
        self._stands_by = False
        self._seen = 0
        self._delivered = 0
        self._reported = 0
        self._pending = 0
        self._next_report = time.monotonic() + _REPORT_INTERVAL
        self._count(leads=False)

    def look(self) -> None:
        """Log what is new."""
        leads = self._candidate.leads
        self._count(leads=leads)
        self._led = leads
        self._tell_standby(leads=leads)
        if time.monotonic() >= self._next_report:
            self._next_report = time.monotonic() + _REPORT_INTERVAL
            if self._delivered > self._reported:
                logger.info(
                    "delivered %s; %s pending", count(self._delivered - self._reported, "event"), count(self._pending)
                )
                self._reported = self._delivered

    def end(self) -> None:
        """Log what was done in all."""
        self._count(leads=self._led is not False)  # None: it was too short for a look
        logger.info("stopped; %s delivered, %s pending", count(self._delivered, "event"), count(self._pending))

    def _tell_standby(self, *, leads: bool) -> None:
        leader = None if leads else read_heartbeat(self._queue.directory)
        if leader is not None and not self._stands_by:
            logger.info("standing by: process %d on %s uploads", leader.pid, leader.hostname)
        self._stands_by = leader is not None

    def _count(self, *, leads: bool) -> None:
        """Count the queue; what was delivered since the last count is this process's work if it leads."""
        try:
            census = self._queue.census()
        except (LotusError, OSError) as error:
            logger.debug("cannot count the queue: %s", error)
            return
        if leads:
            self._delivered += census.delivered - self._seen
        self._seen, self._pending = census.delivered, census.pending


COMMAND = Command(
    name="flusher",
    summary="upload in the foreground, as a process of its own",
    description=_DESCRIPTION,
    run=_run,
    heeds=(
        "queue_dir",
        "api_key",
        "host",
        "backend",
        "flush_interval",
        "max_batch_events",
        "max_batch_bytes",
        "upload_concurrency",
        "timeout",
        "sync_interval",
        "parked_max_age",
        "parked_retry_interval",
        "probe_interval",
        "max_event_attempts",
        "send",
        "debug",
    ),
    exit_codes={
        ExitCode.DONE: "done: stopped by a signal, after its request in flight",
        ExitCode.WRONG_USAGE: "wrong usage or configuration; the directory is unsafe or cannot be used",
    },
    reports=False,
)
