"""``lotus-durable erase``: everything of one customer leaves the queue."""

from __future__ import annotations

import argparse

from .arguments import WAIT, YES, argument, confirmed, some_text, waiting
from .command import Command
from .existing import existing_queue
from .output import ExitCode, complain, report
from .progress import Progress
from .wording import count

_DESCRIPTION = """\
Erase all events of a customer, after asking: pending and parked ones, dead letters, what keep_delivered keeps, and
files in quarantine/ that hold the customer's id. They count as discarded, and their bytes are overwritten. For
requests to be forgotten; for requests to know, use `lotus-durable export --customer ID`. What was delivered has to be
erased in Lotus. A flusher that runs pauses meanwhile.

keys of --json:
  pending, parked, dead_letters, kept
                 events that are gone
  quarantined    files of damaged bytes that are gone"""


def _run(arguments: argparse.Namespace) -> ExitCode:
    from lotus_durable.operate.erasing import erase_customer  # with requests, filelock and SQLite

    config = existing_queue(arguments).config
    if not confirmed(arguments, f"Erase all events of customer {arguments.customer}, for good?"):
        complain(arguments.prog, "nothing was erased")
        return ExitCode.NOT_COMPLETE
    with Progress("", if_interrupted="what was not reached is still there: run it again"):
        result = erase_customer(
            config,
            arguments.customer,
            report=lambda error: complain(arguments.prog, str(error)),
            waiting=waiting(arguments),
        )
    words = (
        f"erased: {count(result.pending)} pending, {count(result.parked)} parked, "
        f"{count(result.dead_letters, 'dead letter')}, {count(result.kept)} kept, "
        f"{count(result.quarantined, 'damaged file')}"
    )
    return report(arguments, result._asdict(), words)


COMMAND = Command(
    name="erase",
    summary="erase all events of a customer",
    description=_DESCRIPTION,
    run=_run,
    arguments=(
        argument("--customer", type=some_text, metavar="ID", required=True, help="whose events"),
        YES,
        WAIT,
    ),
    examples="lotus-durable export --customer c1 --output about-c1.jsonl\nlotus-durable erase --customer c1",
    done="they are gone, or there were none",
    not_complete="the flusher does not let go of the queue, or nobody confirmed",
)
