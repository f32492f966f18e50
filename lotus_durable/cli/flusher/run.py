"""Runs the service: with its log, and with metrics for Prometheus if they are asked for."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
from collections.abc import Callable, Iterator

from lotus_durable.cli.existing import configured
from lotus_durable.cli.logs import logged, logger
from lotus_durable.cli.output import ExitCode
from lotus_durable.cli.wording import count
from lotus_durable.config import Config
from lotus_durable.delivery.place import Destination
from lotus_durable.errors import ConfigurationError, LotusError
from lotus_durable.flusher.background import every
from lotus_durable.flusher.program import import_everything
from lotus_durable.flusher.stats import collect
from lotus_durable.log import warn_if_unencrypted

from .service import Service
from .service_manager import ServiceManager

_LOOK_INTERVAL = 0.2  # seconds


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
        with every(interval, service.look, "lotus_durable report"), _metrics_served(arguments.metrics, config):
            why = service.run()
        service.report_end(why)
        logger.info("stopped (%s); %s pending", why, count(_pending(service)))
    return ExitCode.DONE


@contextlib.contextmanager
def _metrics_served(address: tuple[str, int] | None, config: Config) -> Iterator[None]:
    """Serve those of the queue, and those of this process as all clients name them, until the block ends."""
    if address is None:
        yield
        return
    try:
        from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest, start_http_server

        from lotus_durable.operate.metrics import QueueCollector
    except ImportError:
        raise ConfigurationError("--metrics needs prometheus_client: pip install 'lotus-durable[prometheus]'") from None
    host, port = address
    registry = CollectorRegistry()
    registry.register(QueueCollector(lambda: config))
    ProcessCollector(registry=registry)
    generate_latest(registry)  # imports what it needs before a deploy replaces it
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        raise ConfigurationError(f"--metrics {host}:{port}: {error.strerror or error}") from None
    shown = f"[{host}]" if ":" in host else host
    logger.info("metrics are served at http://%s:%d/metrics", shown, server.server_port)
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _pending(service: Service) -> int:
    try:
        return collect(service.directory).pending
    except (LotusError, OSError) as error:
        logger.warning("cannot count what is pending: %s", error)
        return 0
