"""What is typed: ``lotus-durable flusher``."""

from __future__ import annotations

import argparse
import logging
import os
from functools import partial

from lotus_durable.cli.command import Command, ExitCode, configuration
from lotus_durable.cli.logs import Log, logger
from lotus_durable.cli.wording import count
from lotus_durable.errors import LotusError
from lotus_durable.flusher.stats import collect
from lotus_durable.log import warn_if_unencrypted

from .report import reported
from .service import Service
from .service_manager import ServiceManager

_DESCRIPTION = """\
Flush the queue in the foreground, until told to stop: for a service manager, beside programs that are set to
flusher="external". It is the same flusher that other programs start by themselves; one that was started so makes way
for it. A second one for the same queue waits until the first one ends, and says so. Logs to standard error, and tells
systemd how it goes (Type=notify or notify-reload; WatchdogSec= is heeded).

SIGTERM and SIGINT (Ctrl-C) let the request in flight end, send what can be sent within exit_timeout, and exit; a second
one ends it at once, which loses nothing either: the events are sent again and the server counts them once.

SIGHUP reads the configuration again: the environment file and the key file, for the environment of a running process
cannot be changed. Delivery goes on with what is new after the request in flight. What is wrong is logged and changes
nothing. The queue directory and debug stay what they were at the start. A refused API key is read again by itself."""


def _run(arguments: argparse.Namespace) -> ExitCode:
    config = configuration(arguments)
    with Log(logging.INFO, "%(asctime)s %(levelname)s %(message)s", debug=config.debug) as log:
        warn_if_unencrypted(config.host)
        manager = ServiceManager(os.environ)
        service = Service(config, partial(configuration, arguments), manager)
        with reported(service, manager):
            why = service.run()
        del log
        pending = _pending(service)
        logger.info("stopped (%s); %s pending", why, count(pending))
    return ExitCode.NOT_COMPLETE if pending else ExitCode.DONE


def _pending(service: Service) -> int:
    try:
        return collect(service.flusher.directory).pending
    except (LotusError, OSError):
        return 0


COMMAND = Command(
    name="flusher",
    summary="flush in the foreground, as a service",
    description=_DESCRIPTION,
    run=_run,
    heeds=(
        "queue_dir",
        "api_key",
        "api_key_file",
        "host",
        "flush_interval",
        "max_batch_events",
        "upload_concurrency",
        "timeout",
        "sync_interval",
        "exit_timeout",
        "api_version",
        "send",
        "debug",
    ),
    exit_codes={
        ExitCode.DONE: "stopped in order, and nothing is pending",
        ExitCode.NOT_COMPLETE: "stopped in order, and events are pending: they are kept on disk",
        ExitCode.WRONG_USAGE: "wrong usage or configuration; the directory is unsafe or cannot be used",
    },
    reports=False,
)
