"""Prometheus: what is in the queue, in the metrics that an application shows. Needs ``lotus-durable[prometheus]``.

::

    from prometheus_client import REGISTRY
    from lotus_durable.contrib.prometheus import QueueCollector

    REGISTRY.register(QueueCollector())

In a multi-process server any worker that is scraped answers for the whole queue; with the multi-process mode of
prometheus_client it is registered beside its ``MultiProcessCollector``. All metrics are in docs/monitoring.md.
``lotus-durable flusher --metrics`` serves the same ones.
"""

from __future__ import annotations

from functools import partial

from lotus_durable import settings
from lotus_durable.client import Client
from lotus_durable.operate import metrics

__all__ = ["QueueCollector"]


class QueueCollector(metrics.QueueCollector):
    """Reads the queue at each scrape, and makes or changes nothing. Importing it imports SQLite.

    Args:
        clients: whose queues; that of the module's settings if none is given.
    """

    def __init__(self, *clients: Client) -> None:
        super().__init__(*(partial(getattr, each, "config") for each in clients) if clients else (settings.resolved,))
