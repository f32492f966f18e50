"""Runs the service, and says how it ended."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
from collections.abc import Callable

from lotus_durable.cli.command import ExitCode, configuration
from lotus_durable.cli.logs import Log, logger
from lotus_durable.cli.wording import count
from lotus_durable.config import Config
from lotus_durable.delivery.place import Destination
from lotus_durable.errors import ConfigurationError, LotusError
from lotus_durable.flusher.program import import_everything
from lotus_durable.flusher.stats import collect
from lotus_durable.log import warn_if_unencrypted
from lotus_durable.queue.directory import QueueDirectory

from .report import reported
from .service import Service
from .service_manager import ServiceManager


def run(
    arguments: argparse.Namespace,
    *,
    adapted: Callable[[Config], Config] = lambda config: config,
    destination: Destination | None = None,
) -> ExitCode:
    """Flush until told to stop.

    Args:
        arguments: of the command.
        adapted: returns a configuration as the command takes it.
        destination: where the events go; as the configuration says if not given.

    Raises:
        LotusError: the configuration is wrong, the directory cannot be used, or the queue is damaged.
        OSError: the disk refuses.
    """

    def load() -> Config:
        return adapted(configuration(arguments))

    config = load()
    with Log(logging.INFO, "%(asctime)s %(levelname)s %(message)s", debug=config.debug):
        warn_if_unencrypted(config.host)
        import_everything()
        manager = ServiceManager(os.environ)
        service = Service(config, load, manager, destination)
        with reported(service, manager), _served(arguments.metrics, config):
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
