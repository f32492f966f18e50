"""The threads of a flusher beside its work. The heartbeat's ends what hangs; the others sync all segments, and warn."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator

from lotus_durable.clock import monotonic
from lotus_durable.delivery.control import Control
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.rows import sync_rows
from lotus_durable.queue.stats import FlusherKind
from lotus_durable.queue.sync import JournalSync

logger: logging.Logger = logging.getLogger("lotus_durable")

_BEAT_INTERVAL = 0.5
_STOPPED_FOR = 3.0
"""Seconds between two beats after which this process was stopped, or the machine asleep."""
_LINES = 8
"""Of the program that are told of a step that does not end."""


@contextlib.contextmanager
def beating(control: Control, directory: QueueDirectory, kind: FlusherKind) -> Iterator[None]:
    """Write the heartbeat twice a second from a thread of its own, because a request may take as long as its timeout.

    The thread also ends the process when a step takes longer than it can, and when the queue's directory is gone. A
    service goes on without its directory, and ends with an exit code that shows its manager when it was stuck.
    """
    control.beat()
    if kind == "caller":
        yield
        return
    folder = os.open(directory.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    last = monotonic()
    worker = threading.get_ident()

    def beat() -> None:
        nonlocal last
        now = monotonic()
        if now - last > _STOPPED_FOR:
            control.forgive(now - last)
        last = now
        if kind == "auto" and os.fstat(folder).st_nlink == 0:
            os._exit(0)
        if control.is_stuck():
            where = _where_is(worker)
            logger.error("a step takes longer than it can: this flusher ends, and another one goes on (%s)", where)
            os._exit(0 if kind == "auto" else 1)
        control.beat()

    try:
        with every(_BEAT_INTERVAL, beat, "lotus_durable beat"):
            yield
    finally:
        os.close(folder)


def _where_is(thread: int) -> str:
    """Return at which lines a thread is, the innermost first, without reading a file: it may be the disk that hangs."""
    frame = sys._current_frames().get(thread)
    lines: list[str] = []
    while frame is not None and len(lines) < _LINES:
        lines.append(f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}")
        frame = frame.f_back
    return " < ".join(lines)


@contextlib.contextmanager
def every(interval: float, work: Callable[[], None], name: str) -> Iterator[None]:
    """Do ``work`` each ``interval`` seconds, in a thread of this name, until the block ends."""
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(interval):
            try:
                work()
            except Exception:
                # Too many open files, say. The next time may go better.
                logger.exception("the thread %s failed, and goes on", name)

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def sync_all(sync: JournalSync, directory: QueueDirectory) -> None:
    """Make what all have appended survive a power cut, whichever way they append.

    Raises:
        OSError: the disk refuses to sync what went into SQLite.
    """
    sync.run()
    sync_rows(directory.queue_db)
