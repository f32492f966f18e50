"""``lotus-durable health``: one answer for probes, whether what is tracked is being delivered."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

from lotus_durable.config import Config
from lotus_durable.flusher.starting import Starting
from lotus_durable.operate.overview import counted, words_of_failed_start
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.stats import QueueStats

from .arguments import argument, seconds, whole_number
from .command import Command
from .existing import existing_queue
from .output import ExitCode, report
from .status import flusher_in_words, last_line
from .wording import count, duration

_DESCRIPTION = """\
Tell in one line, and by the exit code, whether events are being delivered: if something is pending, somebody flushes
and shows signs of life, delivery is neither blocked nor in trouble for 30 s, and nothing has been pending for long. For
probes of containers and monitors: it is quick, asks no server and changes nothing. With --live it only looks for the
flusher's signs of life. Use that where a failed probe restarts something: a restart mends neither a wrong key nor a
server that is down.

A flusher that is started by programs ends when there is nothing to do, so nobody needs to flush an empty queue. With
LOTUS_FLUSHER=external somebody does: the service.

keys of --json:
  healthy        whether the exit code is 0
  problems       what is wrong, a list of sentences; empty when healthy
  pending, oldest_age
                 events without a verdict, and seconds since the oldest of them was accepted, or null
  flusher        who flushes, as `lotus-durable status --json` shows it, or null"""

_MAX_AGE = 300.0  # seconds
_START_TAKES = 5.0
"""Seconds that an event may wait for a flusher to begin, on a busy machine."""


def _run(arguments: argparse.Namespace) -> ExitCode:
    queue = existing_queue(arguments)
    stats = counted(queue.directory)
    if arguments.live:
        problems = [*_of_the_flusher(stats, queue.config)]
    else:
        problems = problems_of(stats, queue.config, arguments.max_age, arguments.max_pending)
    result: dict[str, object] = {"healthy": not problems, "problems": problems}
    result |= {name: stats.as_json()[name] for name in ("pending", "oldest_age", "flusher")}
    words = f"healthy: {count(stats.pending, 'event')} pending; {flusher_in_words(stats.flusher)}"
    return report(
        arguments, result, "; ".join(problems) or words, code=ExitCode.NOT_COMPLETE if problems else ExitCode.DONE
    )


def problems_of(
    stats: QueueStats, config: Config, max_age: float = _MAX_AGE, max_pending: int | None = None
) -> list[str]:
    """Return what is wrong, in sentences; nothing where events are being delivered."""
    return [*_of_the_flusher(stats, config), *_of_delivery(stats, config, max_age, max_pending)]


def _of_the_flusher(stats: QueueStats, config: Config) -> Iterator[str]:
    directory = QueueDirectory(config.queue_dir)
    if stats.flusher is not None:
        if not stats.flusher.alive:
            yield flusher_in_words(stats.flusher)
    elif config.flusher == "external":
        yield "nobody flushes this queue"
    elif stats.pending and (stats.oldest_age or 0.0) > _START_TAKES and not Starting(directory).is_starting():
        failed_start = words_of_failed_start(directory)
        why = "" if failed_start is None else f"; the last start of a flusher failed: {last_line(failed_start)}"
        yield f"nobody flushes this queue, and {count(stats.pending, 'event')} pending{why}"


def _of_delivery(stats: QueueStats, config: Config, max_age: float, max_pending: int | None) -> Iterator[str]:
    flusher = stats.flusher
    if flusher is not None and flusher.alive:
        lasts = time.time() - flusher.since
        if flusher.state == "blocked":
            yield f"delivery is blocked: {flusher.reason}"
        elif flusher.state == "retrying" and lasts > config.constants.report_after:
            yield f"nothing is delivered for {duration(lasts)}: {flusher.reason}"
    if stats.oldest_age is not None and stats.oldest_age > max_age:
        yield f"the oldest pending event was accepted {duration(stats.oldest_age)} ago"
    if max_pending is not None and stats.pending > max_pending:
        yield f"{count(stats.pending, 'event')} pending"


COMMAND = Command(
    name="health",
    summary="tell by the exit code whether events are being delivered, for probes",
    description=_DESCRIPTION,
    run=_run,
    arguments=(
        argument(
            "--max-age",
            type=seconds,
            default=_MAX_AGE,
            metavar="SECONDS",
            help=f"how long the oldest pending event may have waited (default: {_MAX_AGE:g})",
        ),
        argument(
            "--max-pending", type=whole_number(), metavar="N", help="how many may be pending (default: any number)"
        ),
        argument("--live", action="store_true", help="only whether the flusher shows signs of life"),
    ),
    examples="lotus-durable health --max-age 300\nlotus-durable health --live",
    options=("queue_dir", "flusher"),
    done="healthy",
    not_complete="not healthy: what is wrong is on standard output",
)
