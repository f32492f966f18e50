"""The flusher as a service: it waits for its turn, flushes, and reads its configuration again when it is told to."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable
from dataclasses import fields

from lotus_durable.config import Config
from lotus_durable.errors import ConfigurationError
from lotus_durable.flusher.life import Flusher
from lotus_durable.flusher.organisation import may_replace
from lotus_durable.queue.heartbeat import read_beat
from lotus_durable.queue.requests import ask

from .service_manager import ServiceManager

logger = logging.getLogger("lotus_durable")

_FIXED = ("queue_dir", "debug")
"""Options that a running flusher cannot change: what it holds, and where it logs, was made of them."""
_STANDBY_INTERVAL = 0.1  # seconds between two tries for the lock


class Service:
    """One flusher in the foreground.

    Args:
        config: the first configuration.
        load: reads the configuration again.
        manager: told of what goes on.
    """

    def __init__(self, config: Config, load: Callable[[], Config], manager: ServiceManager) -> None:
        self._config = _checked(config)
        self._load = load
        self._manager = manager
        self._why: str | None = None
        self._is_to_reload = False
        self.flusher = Flusher(self._current, kind="external", ending=lambda: self._why)
        self.flusher.directory.prepare()

    def run(self) -> str:
        """Flush until told to stop, and return why; waits while another one flushes."""
        before = {
            number: signal.signal(number, self._take) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        }
        try:
            self._manager.ready()
            if not self._acquired():
                return self._why or "told to stop"
            logger.info("started as process %d for the queue in %s", os.getpid(), self._config.queue_dir)
            return self.flusher.run()
        finally:
            self._manager.stopping()
            for number, handler in before.items():
                signal.signal(number, handler)

    def reload_if_asked(self) -> None:
        """Read the configuration again if a signal asked for it; a wrong one changes nothing, and the log says why."""
        if not self._is_to_reload:
            return
        self._is_to_reload = False
        self._manager.reloading()
        try:
            changed = self._replace(self._load())
        except Exception as error:  # noqa: BLE001  # whatever is wrong with it, what runs goes on
            logger.error("SIGHUP: the configuration stays as it was: %s", error)  # noqa: TRY400  # a person's mistake
        else:
            logger.info("SIGHUP: the configuration was read again; changed: %s", ", ".join(changed) or "nothing")
            control = self.flusher.control
            if changed and control is not None:
                control.renew("the configuration was read again")
        self._manager.ready()

    def _current(self) -> Config:
        """Return the configuration, with what its key file holds now."""
        if self._config.api_key_file is not None:
            with contextlib.suppress(Exception):
                self._replace(self._load())
        return self._config

    def _replace(self, config: Config) -> list[str]:
        """Go on with another configuration; return the names of what is different in it."""
        before = self._config
        changed = [each.name for each in fields(Config) if getattr(config, each.name) != getattr(before, each.name)]
        fixed = [name for name in changed if name in _FIXED]
        if fixed:
            raise ConfigurationError(f"{fixed[0]}: to change it, start the flusher anew")
        self._config = _checked(config)
        return changed

    def _acquired(self) -> bool:
        """Take the lock; return False when told to stop before that."""
        has_waited = False
        while not self.flusher.lock.acquire():
            if self._why is not None:
                return False
            if not has_waited:
                has_waited = True
                self._wait_for_another()
            time.sleep(_STANDBY_INTERVAL)
        return True

    def _wait_for_another(self) -> None:
        directory = self.flusher.directory
        beat = read_beat(directory)
        if beat is None:
            logger.info("standing by: another process flushes")
            return
        if beat.kind == "auto" and may_replace(self._config, directory):
            logger.info("process %d on %s flushes; it is asked to make way", beat.pid, beat.hostname)
            with contextlib.suppress(OSError):
                ask(directory, "make way")
        else:
            logger.info("standing by: process %d on %s flushes", beat.pid, beat.hostname)

    def _take(self, number: int, _: object) -> None:
        if number == signal.SIGHUP:
            self._is_to_reload = True
        elif self._why is not None:
            os._exit(128 + number)
        else:
            self._why = signal.Signals(number).name


def _checked(config: Config) -> Config:
    if config.api_key is None:
        raise ConfigurationError("api_key: none is set; set LOTUS_API_KEY or LOTUS_API_KEY_FILE")
    if not config.send:
        raise ConfigurationError("send: it is off (LOTUS_SEND), so nothing can be delivered")
    return config
