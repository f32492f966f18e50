"""The flusher as a service: it waits for its turn, flushes, and reads its configuration again when it is told to.

Its log and the service manager are told how much is delivered, and whether there is progress.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable

from lotus_durable.cli.logs import logger
from lotus_durable.cli.wording import count
from lotus_durable.clock import monotonic
from lotus_durable.config import Config
from lotus_durable.delivery.control import Control
from lotus_durable.delivery.place import Destination
from lotus_durable.errors import ConfigurationError, LotusError
from lotus_durable.flusher.life import Flusher
from lotus_durable.flusher.organisation import may_replace
from lotus_durable.flusher.stats import collect
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.heartbeat import Beat, read_beat
from lotus_durable.queue.identity import ensure_identity
from lotus_durable.queue.requests import ask
from lotus_durable.queue.stats import QueueStats

from .service_manager import ServiceManager

_FIXED = ("queue_dir", "debug")
"""Options that a running flusher cannot change: what it holds, and where it logs, was made of them."""
_STANDBY_INTERVAL = 0.1  # seconds between two tries for the lock
_ASK_INTERVAL = 60.0
"""Seconds after which the same flusher is asked once more: the server may say by now that both keys are one's."""
_COUNT_INTERVAL = 1.0
"""Seconds between two counts of the queue: each looks at every segment, of which there may be many."""
_REPORT_INTERVAL = 10.0
"""Seconds between two lines about what was delivered."""


class Service:
    """One flusher in the foreground: :meth:`run` in the main thread, and :meth:`look` now and then in one of its own.

    Raises:
        ConfigurationError: it cannot flush with this.
        QueueDirectoryError: the directory is unsafe.
        QueueDamaged: a later version made the queue, or which one it is cannot be read.
        OSError: the directory cannot be used.
    """

    def __init__(
        self,
        config: Config,
        load: Callable[[], Config],
        manager: ServiceManager,
        destination: Destination,
    ) -> None:
        self._config = _checked(config)
        self._load = load
        self._manager = manager
        self._reading = threading.Lock()
        self._why: str | None = None
        self._is_end_reported = False
        self._is_to_reload = False
        self._flushes = False
        self._status = ""
        self._reported: QueueStats | None = None
        self._next_count = monotonic()
        self._next_report = monotonic() + _REPORT_INTERVAL
        self.directory: QueueDirectory = QueueDirectory(config.queue_dir)
        self._prepare()
        self._flusher = Flusher(self._current, kind="external", ending=lambda: self._why, destination=destination)

    def run(self) -> str:
        """Flush until told to stop, and return why; wait while another one flushes."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        self._manager.tell("READY=1")
        why = self._why
        while why is None:
            why = self._flushed() if self._acquired() else self._why
        return why

    def look(self) -> None:
        """Tell what is new, and read the configuration again if a signal asked for it."""
        if (why := self._ending()) is not None:
            self.report_end(why)
        elif self._is_to_reload:
            self._is_to_reload = False
            self._reload()
        is_stuck = (control := self._control()) is not None and control.is_stuck()
        if self._manager.watchdog_timeout is not None and not is_stuck:
            self._manager.tell("WATCHDOG=1")
        if monotonic() >= self._next_count:
            self._next_count = monotonic() + _COUNT_INTERVAL
            self._count()

    def report_end(self, why: str) -> None:
        """Tell the log and the service manager, once, that it is about to end."""
        if not self._is_end_reported:
            self._is_end_reported = True
            logger.info("%s: stopping after the request in flight and what can be sent now", why)
            self._manager.tell("STOPPING=1")

    def _reload(self) -> None:
        """Go on with the configuration as it is now; a wrong one changes nothing, and the log says why."""
        self._manager.tell("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")
        try:
            with self._reading:
                before, now = self._config, self._load()
                changed = [name for name in Config._fields if getattr(now, name) != getattr(before, name)]
                if fixed := [name for name in changed if name in _FIXED]:
                    raise ConfigurationError(f"{fixed[0]}: to change it, start the flusher anew")
                self._config = _checked(now)
        except Exception as error:  # noqa: BLE001  # whatever is wrong with it, what runs goes on
            logger.error("SIGHUP: the configuration stays as it was: %s", error)  # a person's mistake
        else:
            logger.info("SIGHUP: the configuration was read again; changed: %s", ", ".join(changed) or "nothing")
            if changed and (control := self._control()) is not None:
                control.renew("the configuration was read again")
        self._manager.tell("READY=1")

    def _current(self) -> Config:
        """Return the configuration, with the key that stands in its file now; all else waits for SIGHUP."""
        with self._reading:
            # A file that is just being written: the server has refused the key, and it is looked at again.
            with contextlib.suppress(LotusError, OSError):
                key = self._load().api_key
                if key is not None:
                    self._config = self._config._replace(api_key=key)
            return self._config

    def _count(self) -> None:
        try:
            stats = collect(self.directory)
        except (LotusError, OSError) as error:
            logger.debug("cannot count the queue: %s", error)
            return
        status = " ".join(f"STATUS={self._in_short(stats)}; {count(stats.pending)} pending".split())
        if status != self._status:
            self._status = status
            self._manager.tell(status)
        before = self._reported = self._reported or stats
        if monotonic() >= self._next_report:
            self._next_report = monotonic() + _REPORT_INTERVAL
            self._reported = stats
            for what, number in (
                ("delivered", stats.delivered - before.delivered),
                ("handed over", stats.handed_over - before.handed_over),
            ):
                if number > 0:
                    logger.info("%s %s; %s pending", what, count(number, "event"), count(stats.pending))

    def _in_short(self, stats: QueueStats) -> str:
        flusher = stats.flusher
        if flusher is None:
            return "waiting for the lock"
        if not self._flushes:
            return f"standing by: process {flusher.pid} on {flusher.hostname} flushes"
        return f"{flusher.state}: {flusher.reason}" if flusher.reason else flusher.state

    def _control(self) -> Control | None:
        """Return what shows and hears how the work goes; None while it stands by."""
        return self._flusher.control if self._flushes else None

    def _ending(self) -> str | None:
        return self._why or (control.ending() if (control := self._control()) is not None else None)

    def _prepare(self) -> None:
        self.directory.prepare()
        ensure_identity(self.directory)  # or no program's key could be compared with ours

    def _flushed(self) -> str | None:
        """Flush; return why it is to end, None where it is to stand by: its lock or its directory was removed, say."""
        self._prepare()
        logger.info("process %d flushes the queue in %s", os.getpid(), self.directory.root)
        self._flushes = True
        try:
            why = self._flusher.run()
            if self._ending() is not None:
                return why
        finally:
            self._flushes = False
        logger.warning("standing by: %s", why)
        return None

    def _acquired(self) -> bool:
        """Take the lock; return False when told to stop before that."""
        known: tuple[int, int] | None = None
        next_ask = 0.0
        while not self._flusher.lock.acquire():
            if self._why is not None:
                return False
            beat = read_beat(self.directory)
            if beat is not None and not beat.is_over():
                is_new = (beat.pid, beat.start_time) != known
                if is_new or monotonic() >= next_ask:
                    known, next_ask = (beat.pid, beat.start_time), monotonic() + _ASK_INTERVAL
                    self._say_who_flushes(beat, is_new=is_new)
            time.sleep(_STANDBY_INTERVAL)
        return True

    def _say_who_flushes(self, beat: Beat, *, is_new: bool) -> None:
        """Say who flushes; one that was started by a program is asked to make way."""
        may_ask = False
        if beat.kind == "auto":
            try:
                may_ask = may_replace(self._config, self.directory)
            except (LotusError, OSError) as error:
                logger.warning("whose key process %d flushes with cannot be told: %s", beat.pid, error)
        if may_ask:
            with contextlib.suppress(OSError):
                ask(self.directory, "make way")
        if is_new:
            how = "it is asked to make way" if may_ask else "this one stands by"
            logger.info("process %d on %s flushes; %s", beat.pid, beat.hostname, how)

    def _on_signal(self, number: int, _: object) -> None:
        if number == signal.SIGHUP:
            self._is_to_reload = True
        elif self._why is not None:
            os._exit(128 + number)
        else:
            self._why = signal.Signals(number).name


def _checked(config: Config) -> Config:
    if not config.can_send():
        raise ConfigurationError("api_key: none is set; set LOTUS_API_KEY or LOTUS_API_KEY_FILE")
    if not config.send:
        raise ConfigurationError("send: it is off (LOTUS_SEND), so nothing can be delivered")
    return config
