"""The program of a flusher that was started by a look: its own session, signals and descriptors, then :mod:`.life`.

It ends with exit status 0 whenever it ends by itself. It may be the child of a server that is process 1 of its
container, and a server judges its children by their exit status: gunicorn takes 3 for a worker that cannot boot.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import resource
import signal
import sys
import time
import types
from collections.abc import Callable, Mapping
from typing import Any

from lotus_durable.clock import monotonic
from lotus_durable.config import Config, Constants
from lotus_durable.descriptors import open_numbers
from lotus_durable.options import OPTIONS
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.heartbeat import read_beat
from lotus_durable.queue.requests import ask

from . import locks
from .destination import AsConfigured
from .life import Flusher
from .organisation import may_replace
from .spawn import LOG_SIZE, START
from .starting import START_LOCK, Starting

logger: logging.Logger = logging.getLogger("lotus_durable")

_STOP = (signal.SIGTERM, signal.SIGINT)
_IGNORED = (signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGUSR1, signal.SIGUSR2)
"""A terminal that closes, a server that hangs up, a limit: each shows up as an error where it matters. A signal that is
sent to all processes of an application is not for this one."""
_HELD_BY_OTHERS = (
    "a process that does not flush holds a lock (flock) on {0} or on {1}: `fuser -v {0} {1}` names it; end that one"
)
_NICE = 5
"""Where all processors are busy it has a third of the time that each of the others has: it must not seem to hang."""
_LOCK_INTERVAL = 0.02
_PATIENCE = 3.0
"""Seconds in which a flusher that is leaving lets go of the lock."""


class _LogFile(logging.FileHandler):
    """A file of one size at the most, and the one before it; ``logging.handlers`` takes 200 KB."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self.stream is not None and self.stream.tell() > LOG_SIZE:
                self.close()  # opened again by the next line
                os.replace(self.baseFilename, f"{self.baseFilename}.1")
        except OSError:
            pass  # it goes on in the same file
        super().emit(record)


def main(settings: Mapping[str, Any]) -> None:
    """Flush.

    Args:
        settings: what :func:`~.spawn.encode_settings` wrote.
    """
    ending = _stand_alone()
    directory = QueueDirectory(os.fsdecode(settings["queue_dir"]))
    _log_to(directory, settings["log_level"])
    flusher = Flusher(
        lambda: configuration_of(settings),
        kind="auto",
        began=settings["began"],
        ending=ending,
        destination=AsConfigured(),
    )
    import_everything()
    gc.freeze()  # without a search for what the imports left: 0.2 MB are not worth a twentieth of the start
    gc.enable()  # what began this has disabled it
    _be_a_quiet_neighbour()
    is_refused = settings["make_way"] and not _asks_to_make_way(flusher, settings["began"])
    if not is_refused and _acquired(flusher, ending, make_way=settings["make_way"]):
        with contextlib.suppress(OSError):
            # By name: a child that the starter forked in that moment keeps a copy of the descriptor.
            locks.let_go(START, START_LOCK)
            os.close(START)
        logger.info("flusher %d of lotus-durable %s begins", os.getpid(), settings["version"])
        why = flusher.run()
        logger.info("flusher %d ends: %s", os.getpid(), why)
    else:
        _give_up(flusher)
    logging.shutdown()
    os._exit(0)


def configuration_of(settings: Mapping[str, Any]) -> Config:
    """Return the configuration in the settings; the key file is read again.

    Raises:
        ConfigurationError: an option is wrong.
    """
    known = {option.name for option in OPTIONS}
    given = {name: value for name, value in settings["options"].items() if name in known and value is not None}
    key_file = settings["api_key_file"]
    if key_file is not None and os.path.exists(key_file):
        given["api_key_file"] = os.fsdecode(key_file)
    config = Config.resolve({**given, "queue_dir": os.fsdecode(settings["queue_dir"])}, environ={})
    constants = {name: value for name, value in settings["constants"].items() if name in Constants._fields}
    return config._replace(constants=Constants(**constants))


def import_everything() -> None:
    """Import and open what will ever be needed: a deploy may replace it on disk under a running flusher."""
    import email.utils
    import encodings.idna
    import sqlite3

    import persistqueue
    import requests

    from lotus_durable.delivery.wire import orjson_dumps
    from lotus_durable.http import failure, routes

    orjson_dumps()
    del email, encodings, sqlite3, persistqueue, requests, failure, routes
    _import_lazy_ones()


def _import_lazy_ones() -> None:
    """Import what a library has asked to have imported when it is first used (3.15; filelock asks for it)."""
    lazy = getattr(types, "LazyImportType", None)
    if lazy is None:
        return
    sys.set_lazy_imports_filter(lambda *_: False)  # type: ignore[attr-defined]  # from now on all are imported at once
    for module in list(sys.modules.values()):
        for name, value in list(getattr(module, "__dict__", {}).items()):
            if type(value) is lazy:
                with contextlib.suppress(ImportError):  # one for another system
                    getattr(module, name)


def _listen() -> Callable[[], str | None]:
    """Take the signals that end this process, ignore others' business; return what names the first that has come."""
    taken: list[str] = []

    def take(number: int, _: object) -> None:
        if taken:
            os._exit(0)  # the second: nothing is lost, the events are sent again with their ids
        taken.append(signal.Signals(number).name)

    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    for number in _STOP:
        signal.signal(number, take)
    return lambda: taken[0] if taken else None


def _stand_alone() -> Callable[[], str | None]:
    """Give up what came from the starter: its signals, session, descriptors, working directory and limits.

    Returns:
        What tells why it is time to end.
    """
    ending = _listen()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    with contextlib.suppress(OSError):
        os.setsid()
    os.umask(0o077)
    os.chdir("/")
    for name in open_numbers():
        if name > START:
            with contextlib.suppress(OSError):
                os.close(name)
    with contextlib.suppress(OSError):  # who started it may be nicer to others; lower than that only root can go
        os.setpriority(os.PRIO_PROCESS, 0, 0)
    with contextlib.suppress(OSError, ValueError):
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return ending


def _be_a_quiet_neighbour() -> None:
    """Let those who track have the processor first; from here on, so that nobody waits longer for a start.

    What is of SCHED_BATCH does not push anybody off a processor when it wakes up, as it does for each answer. Where
    Linux shares processors out by session (sched(7), autogroup), a process's nice value counts within its session only,
    and among others the session's own.
    """
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, _NICE)
    with contextlib.suppress(OSError), open("/proc/self/autogroup", "r+b", buffering=0) as session:
        session.write(b"%d" % _NICE)
    if hasattr(os, "SCHED_BATCH"):
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _log_to(directory: QueueDirectory, level: int) -> None:
    if _is_removed(sys.stderr.fileno()):
        return
    handler = _LogFile(directory.log, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(logging.Formatter("%(asctime)s %(process)d %(levelname)s %(message)s"))
    logging.raiseExceptions = False  # a full disk
    logger.setLevel(min(level, logging.INFO))
    logger.propagate = False
    logger.addHandler(handler)


def _asks_to_make_way(flusher: Flusher, began: float) -> bool:
    """Ask the one that flushes to make way, where our key is known to be the same organisation's.

    Returns:
        Whether to wait for the lock.
    """
    beat = read_beat(flusher.directory)
    if beat is not None:
        if beat.kind != "auto":
            return True  # a service has taken over meanwhile: whoever runs it decides
        if beat.program.began > began and not beat.key_refused and beat.unreachable_since is None:
            return False  # a newer program has, and the beat that the look saw was of the one before
    if not may_replace(flusher.config, flusher.directory):
        logger.warning("not asking the flusher to make way: the server does not say that both keys are one's")
        return False
    with contextlib.suppress(OSError):
        ask(flusher.directory, "make way")
    return True


def _give_up(flusher: Flusher) -> None:
    """Say that this start was none that failed: somebody else flushes."""
    if flusher.lock.refusal is None:
        with Starting(flusher.directory).changing() as notes:
            if notes is not None:
                notes.ended()


def _acquired(flusher: Flusher, ending: Callable[[], str | None], *, make_way: bool) -> bool:
    """Take the lock, waiting for as long as a flusher that leaves may take; the start is shown to go on meanwhile."""
    connect, read = flusher.config.timeout
    patience = _PATIENCE + (2 * connect + 4 * read if make_way else 0.0)
    gives_up_at = monotonic() + patience
    starting, renew_at = Starting(flusher.directory), monotonic() + 1.0
    somebody_flushes = False
    while not (is_removed := _is_removed(START)) and not flusher.lock.acquire():
        somebody_flushes = somebody_flushes or locks.is_held(flusher.directory.flusher_lock) is not False
        if monotonic() > gives_up_at or ending() is not None:
            if not somebody_flushes and ending() is None:
                flusher.lock.refusal = _HELD_BY_OTHERS.format(flusher.directory.root, flusher.directory.flusher_lock)
            if flusher.lock.refusal is not None:
                sys.stderr.write(f"{flusher.lock.refusal}\n")
            return False
        if monotonic() > renew_at:
            renew_at = monotonic() + 1.0
            last = starting.read().start
            starting.note(START, 0 if last is None else last.log_size)
        time.sleep(_LOCK_INTERVAL)
    return not is_removed


def _is_removed(descriptor: int) -> bool:
    """Whether a file is gone: the directory is being removed then, and nothing is to be made in it."""
    return os.fstat(descriptor).st_nlink == 0
