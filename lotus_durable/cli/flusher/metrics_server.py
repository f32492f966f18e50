"""Serves the queue's metrics over HTTP. Imported for ``--metrics`` only: it needs prometheus_client."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest, start_http_server

from lotus_durable.cli.logs import logger
from lotus_durable.config import Config
from lotus_durable.errors import ConfigurationError
from lotus_durable.operate.metrics import QueueCollector


@contextlib.contextmanager
def metrics_served(host: str, port: int, config: Config) -> Iterator[None]:
    """Serve them until the block ends: those of the queue, and those of this process as all clients name them.

    Raises:
        ConfigurationError: the address is taken, or none of this machine's.
    """
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
