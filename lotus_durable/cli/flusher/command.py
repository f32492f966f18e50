"""What is typed: ``lotus-durable flusher``."""

from __future__ import annotations

import argparse
import logging
import os
from functools import partial
from typing import TYPE_CHECKING

from lotus_durable.cli.arguments import seconds
from lotus_durable.cli.command import Command, ExitCode, configuration
from lotus_durable.cli.logs import Log, logger
from lotus_durable.errors import ConfigurationError
from lotus_durable.log import warn_if_unencrypted

from .narrator import Narrator, narrated
from .once import Once
from .service import Service, Term
from .service_manager import ServiceManager
from .signals import blocked, listen, stop_at_end_of_input
from .single import FlusherLock

if TYPE_CHECKING:
    from lotus_durable.delivery.desk import Report

_DESCRIPTION = """\
Upload what is in the queue, in the foreground, until told to stop: for a service manager, beside programs that are
set to flusher="external" or that should not spend their own time on it. While one of those uploads, this one stands
by and takes over within a second when that one is gone. A second flusher for the same queue is refused. Logs to
standard error, and tells systemd how it goes (Type=notify or notify-reload; WatchdogSec= is heeded).

SIGTERM and SIGINT (Ctrl-C) let the request in flight end, commit what the server said, and exit with 0; a second one
ends it at once, which loses nothing either: the events are sent again and the server counts them once.

SIGHUP reads the configuration again: the environment file and the key file, for the environment of a running process
cannot be changed. Delivery goes on with what is new after the request in flight. What is wrong is logged and changes
nothing. The queue directory, the backend and debug stay what they were at the start."""

_STANDBY_INTERVAL = 0.5  # seconds between two attempts at the lock of a flusher that runs


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--once", action="store_true", help="upload what is there, then exit: 0 complete, 1 not")
    parser.add_argument(
        "--timeout", type=seconds, metavar="SECONDS", help="with --once: give up after so long (default: never)"
    )
    parser.add_argument(
        "--drain",
        type=seconds,
        metavar="SECONDS",
        help="when told to stop, first upload what is there, for so long at the most (default: end at once); "
        "exit code 1: events remain",
    )
    parser.add_argument(
        "--standby", action="store_true", help="where a flusher runs already, wait for its end, and take over"
    )
    parser.add_argument(
        "--until-eof",
        action="store_true",
        help="end, as at SIGTERM, when standard input ends: for a starter that holds the other end of a pipe",
    )


def _run(arguments: argparse.Namespace) -> ExitCode:
    if arguments.timeout is not None and not arguments.once:
        raise ConfigurationError("--timeout: it belongs to --once")
    config = configuration(arguments)
    with blocked(), Log(logging.INFO, "%(asctime)s %(levelname)s %(message)s", debug=config.debug) as log:
        warn_if_unencrypted(config.host)
        manager = ServiceManager(os.environ)
        term = Term.open(config, log.report)
        service = Service(term, partial(configuration, arguments), log.report, manager)
        told = Once(term) if arguments.once else service
        listen(told)
        if arguments.until_eof:
            stop_at_end_of_input(told)
        lock = FlusherLock(term.process.queue.directory)
        try:
            if not _acquire(lock, told, standby=arguments.standby):
                return ExitCode.DONE
            logger.info("started as process %d for the queue in %s", os.getpid(), config.queue_dir)
            with narrated(Narrator(lambda: service.term, manager), manager):
                if isinstance(told, Once):
                    return told.run(arguments.timeout)
                service.run()
                if arguments.drain:
                    return _drain(service.term, arguments.drain, log.report)
        finally:
            service.term.process.close(0.0)
            lock.release()
    return ExitCode.DONE


def _drain(last: Term, timeout: float, report: Report) -> ExitCode:
    """Upload what is there, for a disk that ends with this process's container; a further signal ends that too."""
    term = Term.open(last.config, report)
    try:
        return Once(term).run(timeout)
    finally:
        term.process.close(0.0)


def _acquire(lock: FlusherLock, told: Service | Once, *, standby: bool) -> bool:
    """Take the lock; return False when told to stop before that.

    Raises:
        ConfigurationError: another flusher has it, and this one is not to wait for it.
    """
    if lock.acquire():
        return True
    if not standby:
        raise lock.refuse()
    logger.info("waiting for another flusher of this queue to end: %s", lock.holder())
    while not told.stopping.wait(_STANDBY_INTERVAL):
        if lock.acquire():
            return True
    return False


COMMAND = Command(
    name="flusher",
    summary="upload in the foreground, as a process of its own",
    description=_DESCRIPTION,
    run=_run,
    add_arguments=_add_arguments,
    heeds=(
        "queue_dir",
        "api_key",
        "api_key_file",
        "host",
        "backend",
        "flush_interval",
        "max_batch_events",
        "max_batch_bytes",
        "upload_concurrency",
        "timeout",
        "sync_interval",
        "parked_max_age",
        "parked_retry_interval",
        "probe_interval",
        "max_event_attempts",
        "send",
        "debug",
    ),
    exit_codes={
        ExitCode.DONE: "done: stopped in order, after its request in flight; with --once: all is settled",
        ExitCode.NOT_COMPLETE: "with --once or --drain: events remain; the reason is on standard error",
        ExitCode.WRONG_USAGE: "wrong usage or configuration; the directory is unsafe or cannot be used; a flusher runs",
    },
    reports=False,
)
