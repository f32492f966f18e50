"""``lotus-durable export``: everything that lies in a queue, as JSON Lines."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from lotus_durable.errors import LotusError

from .arguments import OUTPUT, argument, where
from .command import Command
from .events_as_text import KEYS, write_lines
from .existing import existing_queue
from .output import ExitCode, complain, report
from .progress import Progress
from .wording import count

if TYPE_CHECKING:
    from lotus_durable.operate.stored import State

_STATES: tuple[State, ...] = ("pending", "parked", "dead_letter", "quarantined", "kept")
_DESCRIPTION = f"""\
Write events as JSON Lines, an object each, and leave them where they are: what is pending, parked, dead letters, bytes
that cannot be read, and what keep_delivered keeps. It goes for a queue in use, a damaged one, and one that was copied
from elsewhere; what cannot be read is named on standard error. `lotus-durable import` reads such lines. It takes little
memory, whatever is there. Of several filters all must apply.

keys of --json, with --output:
  written        how many events
  damaged        what cannot be read, a list of sentences


{KEYS}"""


def _run(arguments: argparse.Namespace) -> ExitCode:
    from lotus_durable.operate.stored import stored_events  # with SQLite

    directory = existing_queue(arguments, is_checked=False).directory
    damaged: list[str] = []

    def note(error: LotusError) -> None:
        damaged.append(str(error))
        complain(arguments.prog, str(error))

    events = stored_events(directory, arguments.state or _STATES, where(arguments), note)
    with Progress("written") as progress:
        written = write_lines(events, arguments.output, watch=progress.show)
    if arguments.output is not None:
        words = f"{count(written, 'event')} written to {arguments.output}"
        report(arguments, {"written": written, "damaged": damaged}, words)
    return ExitCode.DAMAGED if damaged else ExitCode.DONE


COMMAND = Command(
    name="export",
    summary="write events as JSON Lines: pending, parked, dead letters, damaged, kept",
    description=_DESCRIPTION,
    run=_run,
    arguments=(
        OUTPUT,
        argument(
            "--state",
            action="append",
            choices=_STATES,
            help="only what is in this state; may be repeated (default: all)",
        ),
    ),
    has_filters=True,
    examples="lotus-durable export --output everything.jsonl\n"
    "lotus-durable export --customer c1 --output about-c1.jsonl\n"
    "lotus-durable export --queue-dir /mnt/rescued/lotus --state pending > pending.jsonl",
    done="all of it is written",
    damaged="all that can be read is written; what cannot is on standard error",
)
