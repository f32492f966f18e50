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

from .arguments import Argument, timeout
from .command import Command
from .existing import existing_queue
from .logs import Log
from .output import ExitCode, complain, say, say_json
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
    return run(arguments, as_json=arguments.json, through=arguments.through)


def run(arguments: argparse.Namespace, *, as_json: bool | None = None, through: bool = False) -> ExitCode:
    """Drain, and say what came of it; ``as_json`` None: nothing about what was achieved, only what was not.

    Raises:
        LotusError: the configuration is wrong, or the queue cannot be used.
        OSError: nor can it.
    """
    found = existing_queue(arguments)
    config = found.config
    if not config.send:
        raise ConfigurationError("send: it is off (LOTUS_SEND), so nothing can be delivered")
    done_before = _done(collect(found.directory))
    # What this was called with is a person's or a hook's, who may lack the application's proxy: never start a flusher
    # with it, nor have the application's make way.
    config = config._replace(flusher="external")
    with Progress(is_quiet=as_json is None or arguments.quiet) as progress:
        log = Log(logging.ERROR, "lotus-durable drain: %(message)s", debug=config.debug)
        with log:
            client = Client.from_config(config._replace(on_error=log.report))
            watch = _Watch(client, progress, done_before)
            try:
                report = client.watched_drain(arguments.timeout, watch, through=through)
            except KeyboardInterrupt:
                raise KeyboardInterrupt(watch.so_far()) from None
            finally:
                client.release()
    if as_json:
        say_json(report._asdict())
    elif as_json is not None and not arguments.quiet:
        say(_in_words(report))
    if report.complete:
        return ExitCode.DONE
    complain("lotus-durable drain", f"not complete, {count(report.remaining, 'event')} pending: {report.reason}")
    # The queue is as it was: it is the configuration that an operator has to look at.
    return ExitCode.WRONG_USAGE if report.reason == NO_KEY else ExitCode.NOT_COMPLETE


class _Watch:
    """Shows how far the drain is."""

    def __init__(self, client: Client, progress: Progress, done_before: int) -> None:
        self._client = client
        self._progress = progress
        self._next = 0.0
        self._done_before = done_before

    def so_far(self) -> str:
        """Say what was done, for who interrupts it."""
        with contextlib.suppress(LotusError):
            stats = self._client.stats()
            done = count(_done(stats) - self._done_before)
            return f": {done} delivered, {count(stats.pending, 'event')} pending; what is pending stays in the queue"
        return ""

    def __call__(self) -> None:
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _LOOK_INTERVAL
        # To watch is not worth failing for: the drain itself reports what is wrong with the queue.
        with contextlib.suppress(LotusError):
            stats = self._client.stats()
            delivered = _done(stats) - self._done_before
            self._progress.show("delivered", delivered, delivered + stats.pending)


def _done(stats: QueueStats) -> int:
    return stats.delivered + stats.handed_over


def _in_words(report: DrainReport) -> str:
    parts = [f"{count(report.delivered)} delivered", f"{count(report.remaining)} pending"]
    if report.handed_over:
        parts.insert(1, f"{count(report.handed_over)} handed over")
    if report.parked:
        parts.append(f"{count(report.parked)} parked")
    if report.dead_lettered:
        parts.append(f"{count(report.dead_lettered)} dead-lettered")
    return f"{', '.join(parts)} in {report.elapsed:.1f} s"


COMMAND = Command(
    name="drain",
    summary="have everything that is pending delivered, and wait for it",
    description=_DESCRIPTION,
    run=_run,
    arguments=(
        Argument("--quiet", action="store_true", help="show no progress, and no result but a failure"),
        Argument(
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
