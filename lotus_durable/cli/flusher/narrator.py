"""The flusher's log and status: that it stands by, how much is delivered; and whether it makes progress."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator

from lotus_durable.cli.wording import count
from lotus_durable.errors import LotusError
from lotus_durable.queue.heartbeat import Heartbeat, read_heartbeat

from .service import Term
from .service_manager import ServiceManager

logger = logging.getLogger("lotus_durable")

_LOOK_INTERVAL = 0.5  # seconds
_REPORT_INTERVAL = 10.0  # seconds between two lines about what was delivered
_MARGIN = 10.0  # seconds


@contextlib.contextmanager
def narrated(narrator: Narrator, manager: ServiceManager) -> Iterator[None]:
    """Look at the candidate now and then, from a thread of its own, and tell what happened."""
    ended = threading.Event()
    interval = min(_LOOK_INTERVAL, (manager.watchdog_timeout or _LOOK_INTERVAL) / 3)

    def look() -> None:
        while not ended.wait(interval):
            narrator.look()

    thread = threading.Thread(target=look, name="lotus_durable narrator", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        narrator.end()


class Narrator:
    """Logs that the candidate stands by, and how much is delivered; the rest the library logs itself.

    Args:
        term: gives what runs now.
        manager: told the same in short, and of progress.
    """

    def __init__(self, term: Callable[[], Term], manager: ServiceManager) -> None:
        self._term = term
        self._manager = manager
        self._stands_by = False
        self._seen = 0
        self._delivered = 0
        self._reported = 0
        self._pending = 0
        self._next_report = time.monotonic() + _REPORT_INTERVAL
        self._count()
        self._delivered = 0

    def look(self) -> None:
        """Tell what is new."""
        if makes_progress(self._term(), time.monotonic()):
            self._manager.alive()
        heartbeat = read_heartbeat(self._term().process.queue.directory)
        another = None if self._term().candidate.leads or _is_ours(heartbeat) else heartbeat
        if another is not None and not self._stands_by:
            logger.info("standing by: process %d on %s uploads", another.pid, another.hostname)
        self._stands_by = another is not None
        self._count()
        self._manager.status(f"{_in_short(heartbeat, another)}; {count(self._pending)} pending")
        if time.monotonic() >= self._next_report:
            self._next_report = time.monotonic() + _REPORT_INTERVAL
            if self._delivered > self._reported:
                logger.info(
                    "delivered %s; %s pending", count(self._delivered - self._reported, "event"), count(self._pending)
                )
                self._reported = self._delivered

    def end(self) -> None:
        """Log what was done in all."""
        self._count()
        logger.info("stopped; %s delivered, %s pending", count(self._delivered, "event"), count(self._pending))

    def _count(self) -> None:
        """Count the queue; what was delivered since the last count is this process's work unless another leads."""
        try:
            census = self._term().process.queue.census()
        except (LotusError, OSError) as error:
            logger.debug("cannot count the queue: %s", error)
            return
        if not self._stands_by:
            self._delivered += census.delivered - self._seen
        self._seen, self._pending = census.delivered, census.pending


def makes_progress(term: Term, now: float) -> bool:
    """Whether the uploading thread has looked up from its work for as long as one request may take, and some more.

    It does so between any two requests and while it waits, so that one that does not hangs: in the file system, or in
    a defect of ours.
    """
    connect, read = term.config.timeout
    return now - term.candidate.looked_at < connect + 2 * read + _MARGIN  # sending has the read timeout too


def _is_ours(heartbeat: Heartbeat | None) -> bool:
    return heartbeat is not None and (heartbeat.pid, heartbeat.hostname) == (os.getpid(), socket.gethostname())


def _in_short(heartbeat: Heartbeat | None, another: Heartbeat | None) -> str:
    if another is not None:
        return f"standing by: process {another.pid} on {another.hostname} uploads"
    if heartbeat is None:
        return "waiting to lead"
    return f"{heartbeat.state}: {heartbeat.reason}" if heartbeat.reason else heartbeat.state
