"""``lotus-durable import``: events from JSON Lines into the queue."""

from __future__ import annotations

import argparse
import os
import sys
from typing import BinaryIO

from .arguments import argument
from .command import Command
from .existing import configured
from .output import ExitCode, complain, report
from .progress import Progress
from .wording import count, size

_DESCRIPTION = """\
Put events into the queue, from a file of JSON Lines (or - for standard input): a month of history, or what `export`
wrote. A line is an object with customer_id and event_name, and idempotency_id, time_created and properties as far as
they are there. Ids and times are kept. All of a file is taken or nothing of it, also when this is killed. The same file
is not taken a second time by mistake, nor are events that an export gives the state kept: they are delivered. Whoever
flushes sends the events: `lotus-durable drain` waits. The server of 2024 takes none older than 30 days.

keys of --json:
  events         that are in the queue now
  skipped        lines that are no events
  problems       what is wrong with the first of them, a list of sentences
  delivered      events that were left out because they are delivered: those in the state kept
  already        true: the same file was imported before, and nothing was done"""


def _run(arguments: argparse.Namespace) -> ExitCode:
    if arguments.file == "-":
        return _import(arguments, sys.stdin.buffer, 0)
    with open(arguments.file, "rb") as file:
        return _import(arguments, file, os.fstat(file.fileno()).st_size)


def _import(arguments: argparse.Namespace, file: BinaryIO, total: int) -> ExitCode:
    from lotus_durable.operate.importing import import_events  # with SQLite

    config = configured(arguments).config
    with Progress("read", written=size, if_interrupted="nothing was imported") as progress:
        result = import_events(
            config,
            file,
            skip_invalid=arguments.skip_invalid,
            again=arguments.again,
            watch=lambda read: progress.show(read, total),
        )
    for problem in result.problems:
        complain(arguments.prog, problem)
    skipped = f"; {count(result.skipped, 'line')} skipped" if result.skipped else ""
    left_out = f"; {count(result.delivered, 'event')} left out: delivered before" if result.delivered else ""
    words = f"{count(result.events, 'event')} imported into {config.queue_dir}{skipped}{left_out}"
    if result.already:
        words = "this file was imported before; nothing was done (--again imports it once more)"
    return report(arguments, result._asdict(), words)


COMMAND = Command(
    name="import",
    summary="put events from a file of JSON Lines into the queue",
    description=_DESCRIPTION,
    run=_run,
    arguments=(
        argument("file", metavar="FILE", help="JSON Lines; - for standard input"),
        argument("--skip-invalid", action="store_true", help="take the other lines where some are no events"),
        argument("--again", action="store_true", help="also what was imported or delivered before"),
    ),
    options=("queue_dir", "api_key", "api_key_file", "max_event_bytes", "max_queue_bytes", "api_version"),
    examples="lotus-durable import history.jsonl\nlotus-durable export --queue-dir OLD | lotus-durable import -",
    done="it is in the queue, now or since before",
    wrong_usage="wrong usage or configuration, lines that are no events, no room: nothing was imported",
)
