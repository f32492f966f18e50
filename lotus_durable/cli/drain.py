"""``lotus-durable drain``: have everything that is pending delivered, and wait for it."""

from __future__ import annotations

import argparse
import contextlib
import logging
import time

from lotus_durable.client import Client
from lotus_durable.errors import ConfigurationError, LotusError
from lotus_durable.flusher.drain import NO_KEY, DrainReport
from lotus_durable.flusher.stats import collect
from lotus_durable.queue.stats import QueueStats

from .arguments import argument, timeout
from .command import Command
from .existing import existing_queue
from .logs import logged
from .output import ExitCode, complain, report
from .progress import Progress
from .wording import count

_DESCRIPTION = """\
Have everything that is pending now delivered, and wait for it; parked events get one more try. For deploy hooks. If
another process flushes, this asks it; if none does, this one flushes. Returns early, with the reason, when delivery is
blocked (a wrong key, a wrong URL). Whatever remains stays in the queue.

keys of --json:
  complete       whether all that was pending is settled
  delivered, handed_over, dead_lettered
                 events that became so meanwhile, through whichever process
  parked, remaining
                 events that are parked, or pending, now
  elapsed        seconds
  reason         why it is not complete, in one sentence, or null"""

_LOOK_INTERVAL = 0.2  # seconds; each look counts the queue


def _run(arguments: argparse.Namespace) -> ExitCode:
    result = drained(arguments, is_quiet=arguments.quiet, through=arguments.through)
    if arguments.json or not arguments.quiet:
        report(arguments, result._asdict(), _in_words(result))
    return ended(result)


def drained(arguments: argparse.Namespace, *, is_quiet: bool, through: bool = False) -> DrainReport:
    """Drain, and return what came of it.

    Raises:
        LotusError: the configuration is wrong, or the queue cannot be used.
        OSError: nor can it.
    """
    queue = existing_queue(arguments)
    if not queue.config.send:
        raise ConfigurationError("send: it is off (LOTUS_SEND), so nothing can be delivered")
    # What this was called with is a person's or a hook's, who may lack the application's proxy: never start a flusher
    # with it, nor have the application's make way.
    config = queue.config._replace(flusher="external")
    done_before = _done(collect(queue.directory))
    next_look = 0.0

    def watch() -> None:
        nonlocal next_look
        if time.monotonic() >= next_look:
            next_look = time.monotonic() + _LOOK_INTERVAL
            # To watch is not worth failing for: the drain itself reports what is wrong with the queue.
            with contextlib.suppress(LotusError, OSError):
                stats = collect(queue.directory)
                done = _done(stats) - done_before
                progress.show(done, done + stats.pending)

    with (
        Progress("delivered", if_interrupted="what is pending stays in the queue", is_quiet=is_quiet) as progress,
        logged(logging.ERROR, "lotus-durable drain: %(message)s", debug=config.debug) as log,
    ):
        client = Client.from_config(config._replace(on_error=log.report))
        try:
            return client.watched_drain(arguments.timeout, watch, through=through)
        finally:
            client.release()


def ended(result: DrainReport) -> ExitCode:
    """Return the exit code; what is not complete is said."""
    if result.complete:
        return ExitCode.DONE
    complain("lotus-durable drain", f"not complete, {count(result.remaining, 'event')} pending: {result.reason}")
    # The queue is as it was: it is the configuration that an operator has to look at.
    return ExitCode.WRONG_USAGE if result.reason == NO_KEY else ExitCode.NOT_COMPLETE


def _done(stats: QueueStats) -> int:
    return stats.delivered + stats.handed_over


def _in_words(result: DrainReport) -> str:
    parts = [f"{count(result.delivered)} delivered", f"{count(result.remaining)} pending"]
    if result.handed_over:
        parts.insert(1, f"{count(result.handed_over)} handed over")
    if result.parked:
        parts.append(f"{count(result.parked)} parked")
    if result.dead_lettered:
        parts.append(f"{count(result.dead_lettered)} dead-lettered")
    return f"{', '.join(parts)} in {result.elapsed:.1f} s"


COMMAND = Command(
    name="drain",
    summary="have everything that is pending delivered, and wait for it",
    description=_DESCRIPTION,
    run=_run,
    arguments=(
        argument("--quiet", action="store_true", help="show no progress, and no result but a failure"),
        argument(
            "--through",
            action="store_true",
            help="with relay_url: wait until a relay has delivered it, not only until the broker has it",
        ),
        timeout(),
    ),
    examples="lotus-durable drain --timeout 30\nlotus-durable drain --quiet || echo 'events remain'",
    options=(
        "queue_dir",
        "api_key",
        "api_key_file",
        "host",
        "relay_url",
        "timeout",
        "max_batch_events",
        "upload_concurrency",
        "api_version",
        "send",
        "debug",
    ),
    done="done: all that was pending is settled",
    not_complete="not complete, events remain; the reason is on standard error",
    damaged="the queue is damaged, or of a later version; nothing was changed",
)
