"""Runs the service, and tells its log and the service manager how much is delivered, and whether there is progress."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
from collections.abc import Callable

from lotus_durable.cli.existing import configured
from lotus_durable.cli.logs import logged, logger
from lotus_durable.cli.output import ExitCode
from lotus_durable.cli.wording import count
from lotus_durable.clock import monotonic
from lotus_durable.config import Config
from lotus_durable.delivery.place import Destination
from lotus_durable.errors import ConfigurationError, LotusError
from lotus_durable.flusher.background import every
from lotus_durable.flusher.program import import_everything
from lotus_durable.flusher.stats import collect
from lotus_durable.log import warn_if_unencrypted
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.stats import QueueStats

from .service import Service
from .service_manager import ServiceManager

_LOOK_INTERVAL = 0.2  # seconds
_COUNT_INTERVAL = 1.0
"""Seconds between two counts of the queue: each looks at every segment, of which there may be many."""
_REPORT_INTERVAL = 10.0
"""Seconds between two lines about what was delivered."""


def run(
    arguments: argparse.Namespace,
    *,
    adapted: Callable[[Config], Config] = lambda config: config,
    destination: Destination,
) -> ExitCode:
    """Flush until told to stop.

    Args:
        arguments: of the command.
        adapted: returns a configuration as the command takes it.
        destination: where the events go.

    Raises:
        LotusError: the configuration is wrong, the directory cannot be used, or the queue is damaged.
        OSError: the disk refuses.
    """

    def load() -> Config:
        return adapted(configured(arguments).config)

    config = load()
    with logged(logging.INFO, "%(asctime)s %(levelname)s %(message)s", debug=config.debug):
        warn_if_unencrypted(config.host)
        import_everything()
        manager = ServiceManager(os.environ)
        service = Service(config, load, manager, destination)
        interval = min(_LOOK_INTERVAL, (manager.watchdog_timeout or _LOOK_INTERVAL) / 3)
        look = Report(service, manager).look  # now and then, from a thread of its own
        with every(interval, look, "lotus_durable report"), _served(arguments.metrics, config):
            why = service.run()
        logger.info("stopped (%s); %s pending", why, count(_pending(service.directory)))
    return ExitCode.DONE


def _served(address: tuple[str, int] | None, config: Config) -> contextlib.AbstractContextManager[None]:
    if address is None:
        return contextlib.nullcontext()
    try:
        from .metrics_server import metrics_served
    except ImportError:
        raise ConfigurationError("--metrics needs prometheus_client: pip install 'lotus-durable[prometheus]'") from None
    return metrics_served(*address, config)


def _pending(directory: QueueDirectory) -> int:
    try:
        return collect(directory).pending
    except (LotusError, OSError) as error:
        logger.warning("cannot count what is pending: %s", error)
        return 0


class Report:
    """Tells the service manager and the log."""

    def __init__(self, service: Service, manager: ServiceManager) -> None:
        self._service = service
        self._manager = manager
        self._before: QueueStats | None = None
        self._next_count = monotonic()
        self._next_report = monotonic() + _REPORT_INTERVAL

    def look(self) -> None:
        """Tell what is new."""
        if not self._service.report_if_ending():
            self._service.reload_if_asked()
        if not self._service.is_stuck():
            self._manager.alive()
        if monotonic() >= self._next_count:
            self._next_count = monotonic() + _COUNT_INTERVAL
            self._count()

    def _count(self) -> None:
        try:
            stats = collect(self._service.directory)
        except (LotusError, OSError) as error:
            logger.debug("cannot count the queue: %s", error)
            return
        self._manager.status(f"{self._in_short(stats)}; {count(stats.pending)} pending")
        before = self._before = self._before or stats
        if monotonic() >= self._next_report:
            self._next_report = monotonic() + _REPORT_INTERVAL
            self._before = stats
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
        if not self._service.flushes:
            return f"standing by: process {flusher.pid} on {flusher.hostname} flushes"
        return f"{flusher.state}: {flusher.reason}" if flusher.reason else flusher.state
