"""The flusher's work: one candidate after the other, each with the configuration that is valid then."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from lotus_durable.claim import claim_queue
from lotus_durable.config import Config
from lotus_durable.errors import ConfigurationError
from lotus_durable.tracker import Process

from .service_manager import ServiceManager

if TYPE_CHECKING:
    from lotus_durable.delivery.candidate import Candidate
    from lotus_durable.delivery.desk import Report

logger = logging.getLogger("lotus_durable")

_FIXED = ("queue_dir", "backend", "debug")
"""Options that a running flusher cannot change: what it holds, and where it logs, was made of them."""


@dataclass(frozen=True, slots=True)
class Term:
    """What belongs to one configuration."""

    config: Config
    process: Process
    candidate: Candidate

    @classmethod
    def open(cls, config: Config, report: Report) -> Term:
        """Make everything that a configuration is needed for, so that what is wrong with it is said here.

        Raises:
            ConfigurationError: nothing could be delivered with it, or the queue is for another server.
            OSError: the queue directory cannot be used.
        """
        if config.api_key is None:
            raise ConfigurationError("api_key: none is set; set LOTUS_API_KEY or LOTUS_API_KEY_FILE")
        if not config.send:
            raise ConfigurationError("send: it is off (LOTUS_SEND), so nothing can be delivered")
        process = Process(config, report)
        process.queue.prepare()
        claim_queue(config)
        process.open_transport().close()
        return cls(config, process, process.make_candidate(alone=True))


class Service:
    """Uploads until stopped; :meth:`reload` and :meth:`stop` are for other threads.

    Args:
        term: the first one.
        load: reads the configuration again.
        report: told of errors.
        manager: told of what goes on.
    """

    def __init__(self, term: Term, load: Callable[[], Config], report: Report, manager: ServiceManager) -> None:
        self.term = term
        self.stopping = threading.Event()
        self._load = load
        self._report = report
        self._manager = manager
        self._changing = threading.Lock()

    def run(self) -> None:
        """Upload, or stand by while another process uploads, until stopped; the last term is left open."""
        while not self.stopping.is_set():
            term = self.term
            self._manager.ready()
            term.candidate.run()
            if term is not self.term:
                term.process.close(0.0)

    def stop(self, why: str) -> None:
        """End after the request in flight and its commit."""
        with self._changing:
            if not self.stopping.is_set():
                logger.info("%s: stopping after the request in flight", why)
                self._manager.stopping()
                self.stopping.set()
            self.term.candidate.stop(None)

    def reload(self) -> None:
        """Read the configuration again; a wrong one changes nothing, and the log says why."""
        self._manager.reloading()
        try:
            changed = self._replace(self._load())
        except Exception as error:  # noqa: BLE001  # whatever is wrong with it, what runs goes on
            logger.error("SIGHUP: the configuration stays as it was: %s", error)  # noqa: TRY400  # a person's mistake
        else:
            logger.info("SIGHUP: the configuration was read again; changed: %s", ", ".join(changed) or "nothing")
            if changed:
                return  # ready with the next term
        self._manager.ready()

    def _replace(self, config: Config) -> list[str]:
        """Go on with another configuration; return the names of what is different in it."""
        before = self.term.config
        changed = [each.name for each in fields(Config) if getattr(config, each.name) != getattr(before, each.name)]
        fixed = [name for name in changed if name in _FIXED]
        if fixed:
            raise ConfigurationError(f"{fixed[0]}: to change it, start the flusher anew")
        if changed:
            term = Term.open(config, self._report)
            with self._changing:
                old, self.term = self.term, term
                # After the request in flight and its commit; what it did not settle is the next one's.
                old.candidate.stop(None)
                if self.stopping.is_set():
                    term.candidate.stop(None)
        return changed
