"""What a server's own hooks call when its processes end in order. Nothing depends on it."""

from __future__ import annotations

import logging

from lotus_durable.client import started_clients
from lotus_durable.errors import LotusError
from lotus_durable.settings import client as default_client

logger = logging.getLogger("lotus_durable")


def release_all() -> None:
    """Let go of every queue that this process tracks to, without sending what is pending: other processes do that.

    A request in flight has the client's ``exit_timeout`` to end.
    """
    for client in started_clients():
        client.release(client.config.exit_timeout)


def drain_default() -> None:
    """Drain the default client's queue for ``exit_timeout`` at the most; what stays on disk is logged."""
    try:
        client = default_client()
        report = client.drain(client.config.exit_timeout)
    except LotusError as error:
        logger.warning("the queue was not drained: %s", error)
    else:
        if not report.complete:
            logger.warning("%d events stay on disk (%s)", report.remaining, report.reason)
