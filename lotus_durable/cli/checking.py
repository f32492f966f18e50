"""``lotus-durable check`` and ``repair``: look at every byte of a queue and change none, or mend what is damaged.

Both say what is found in the same words: ``repair`` without ``--apply`` is a plan.
"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

from lotus_durable.errors import LotusError

from .arguments import WAIT, argument, waiting
from .command import Command
from .existing import existing_queue
from .output import ExitCode, report
from .progress import Progress
from .wording import count, size

if TYPE_CHECKING:
    from lotus_durable.operate.checking import Checked, Finding

_KEYS = """\
  damaged        how many places are damaged
  files, bytes, events
                 how much was looked at
  findings       a list of {path, offset, what, lost, remedy}; offset is a byte, the row of a database, or null"""
_CHECK = f"""\
Look at every frame of every segment, at the books and at queue.db, and say what is damaged: where, what is lost by it,
and what can be mended. Changes nothing, and may run at any time. Needs neither key nor host.

keys of --json:
{_KEYS}"""
_REPAIR = f"""\
Say what is damaged and what would be done about it; with --apply do it. Every byte that is taken out of a file is kept
in quarantine/. Events around damage are delivered as ever; damaged events become dead letters without content. A
flusher mends most damage by itself: use this when a queue is to be in order now. A flusher that runs pauses meanwhile.

keys of --json, as it was found, or with --apply as it is afterwards:
{_KEYS}
  done           what was done, a list of sentences"""


def _check(arguments: argparse.Namespace) -> ExitCode:
    from lotus_durable.operate.checking import check  # with SQLite

    directory = existing_queue(arguments, is_checked=False).directory
    began = time.monotonic()
    with Progress("checked", written=size) as progress:
        found = check(directory, progress.show)
    took = max(0.001, time.monotonic() - began)
    looked = f"{count(found.files, 'file')}, {count(found.events, 'event')} and {size(found.bytes)} in {took:.1f} s"
    words = f"{count(found.damaged, 'place')} damaged in {looked}" if found.damaged else f"nothing is damaged: {looked}"
    return report(
        arguments,
        _as_json(found),
        *map(_in_words, found.findings),
        words,
        code=ExitCode.DAMAGED if found.damaged else ExitCode.DONE,
    )


def _repair(arguments: argparse.Namespace) -> ExitCode:
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
    lines = [*done, *map(_in_words, found.findings)]
    if not found.damaged:
        lines.append("nothing is damaged" + (" any more" if done else ""))
    elif not arguments.apply:
        lines.append(f"{count(found.damaged, 'place')} damaged; nothing was changed: --apply does it")
    return report(
        arguments, {**_as_json(found), "done": done}, *lines, code=ExitCode.DAMAGED if found.damaged else ExitCode.DONE
    )


def _as_json(found: Checked) -> dict[str, object]:
    """Return the documented keys."""
    return {**vars(found), "findings": [finding._asdict() for finding in found.findings]}


def _in_words(finding: Finding) -> str:
    """Return a line about it."""
    where = finding.path + (f", byte {finding.offset}" if finding.offset is not None else "")
    lost = f"; lost: {finding.lost}" if finding.lost else "; nothing is lost"
    remedy = f"; {finding.remedy}" if finding.remedy else ""
    return f"{where}: {finding.what}{lost}{remedy}"


CHECK = Command(
    name="check",
    summary="look for damage, and change nothing",
    description=_CHECK,
    run=_check,
    examples="lotus-durable check\nlotus-durable check --queue-dir /mnt/rescued/lotus --json",
    done="nothing is damaged",
    damaged="something is damaged",
)
REPAIR = Command(
    name="repair",
    summary="mend what is damaged; a plan, or with --apply the work",
    description=_REPAIR,
    run=_repair,
    arguments=(argument("--apply", action="store_true", help="do it"), WAIT),
    examples="lotus-durable repair\nlotus-durable repair --apply",
    done="nothing is damaged, or not any more",
    not_complete="the flusher does not let go of the queue",
    damaged="something is damaged; with --apply: still",
)
