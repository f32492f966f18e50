"""``lotus-durable relay``: deliver what hosts have handed over to a broker."""

from __future__ import annotations

import argparse

from lotus_durable.config import Config
from lotus_durable.errors import ConfigurationError

from .command import Command
from .flusher import METRICS, OPTIONS
from .output import ExitCode

_FLUSH_INTERVAL = 0.05
"""Seconds, at the most: the hosts have collected their events already."""
_DESCRIPTION = """\
Deliver to Lotus what the hosts of a fleet have handed over to a RabbitMQ cluster (relay_url; docs/fleets.md), in the
foreground, until told to stop. Any number of relays may run for one queue: the broker has one of them active, and
another one takes over when that ends, hangs or is cut off.

Each relay has a queue directory of its own, on a disk that outlives it: parked events and dead letters are there, and
every other command works on it. It logs and stops as `lotus-durable flusher` does."""


def _run(arguments: argparse.Namespace) -> ExitCode:
    from lotus_durable.flusher.destination import AsConfigured
    from lotus_durable.relay.receiving import Receiving

    from .flusher.run import run

    return run(arguments, adapted=_adapted, destination=Receiving(AsConfigured()))


def _adapted(config: Config) -> Config:
    if config.relay_url is None:
        raise ConfigurationError("relay_url: none is set; set LOTUS_RELAY_URL")
    if config.api_key is None:
        raise ConfigurationError("api_key: none is set; set LOTUS_API_KEY or LOTUS_API_KEY_FILE")
    return config._replace(flush_interval=min(config.flush_interval, _FLUSH_INTERVAL))


COMMAND = Command(
    name="relay",
    summary="deliver what a fleet's hosts have handed over to a broker, as a service",
    description=_DESCRIPTION,
    run=_run,
    arguments=(METRICS,),
    examples="lotus-durable relay --queue-dir /var/lib/lotus-relay --env-file /etc/lotus-relay.env",
    options=OPTIONS,
    done="stopped in order; what is not delivered is in the broker's queue",
    not_complete="ended by itself, because a step took longer than it can",
    wrong_usage="wrong usage or configuration; the directory is unsafe or cannot be used",
    damaged="the queue directory is damaged, or of a later version",
    reports=False,
)
