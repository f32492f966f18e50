"""``lotus-durable repair``: mend what ``check`` finds; without ``--apply`` only say what would be done."""

from __future__ import annotations

import argparse

from lotus_durable.errors import LotusError

from .arguments import WAIT, argument, waiting
from .check import KEYS, as_json, in_words
from .command import Command
from .existing import existing_queue
from .output import ExitCode, report
from .progress import Progress
from .wording import count, size

_DESCRIPTION = f"""\
Say what is damaged and what would be done about it; with --apply do it. Every byte that is taken out of a file is kept
in quarantine/. Events around damage are delivered as ever; damaged events become dead letters without content. A
flusher mends most damage by itself: use this when a queue is to be in order now. A flusher that runs pauses meanwhile.

keys of --json, as it was found, or with --apply as it is afterwards:
{KEYS}
  done           what was done, a list of sentences"""


def _run(arguments: argparse.Namespace) -> ExitCode:
    from lotus_durable.operate.checking import check  # with SQLite
    from lotus_durable.operate.repairing import repair  # and requests, and filelock

    queue = existing_queue(arguments, is_checked=False)
    done: list[str] = []

    def note(error: LotusError) -> None:
        done.append(str(error))

    with Progress("checked", written=size) as progress:
        found = check(queue.directory, progress.show)
        if arguments.apply and found.damaged:
            found = repair(queue.config, report=note, waiting=waiting(arguments), watch=progress.show)
    lines = [*done, *map(in_words, found.findings)]
    if not found.damaged:
        lines.append("nothing is damaged" + (" any more" if done else ""))
    elif not arguments.apply:
        lines.append(f"{count(found.damaged, 'place')} damaged; nothing was changed: --apply does it")
    return report(
        arguments, {**as_json(found), "done": done}, *lines, code=ExitCode.DAMAGED if found.damaged else ExitCode.DONE
    )


COMMAND = Command(
    name="repair",
    summary="mend what is damaged; a plan, or with --apply the work",
    description=_DESCRIPTION,
    run=_run,
    arguments=(argument("--apply", action="store_true", help="do it"), WAIT),
    examples="lotus-durable repair\nlotus-durable repair --apply",
    done="nothing is damaged, or not any more",
    not_complete="the flusher does not let go of the queue",
    damaged="something is damaged; with --apply: still",
)
