"""``lotus-durable check``: look at every byte of a queue, and change none."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

from .command import Command
from .existing import existing_queue
from .output import ExitCode, report
from .progress import Progress
from .wording import count, size

if TYPE_CHECKING:
    from lotus_durable.operate.checking import Checked, Finding

KEYS = """\
  damaged        how many places are damaged
  files, bytes, events
                 how much was looked at
  findings       a list of {path, offset, what, lost, remedy}; offset is a byte, the row of a database, or null"""
"""What :func:`as_json` gives, for the help of commands."""
_DESCRIPTION = f"""\
Look at every frame of every segment, at the books and at queue.db, and say what is damaged: where, what is lost by it,
and what can be mended. Changes nothing, and may run at any time. Needs neither key nor host.

keys of --json:
{KEYS}"""


def _run(arguments: argparse.Namespace) -> ExitCode:
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
        as_json(found),
        *map(in_words, found.findings),
        words,
        code=ExitCode.DAMAGED if found.damaged else ExitCode.DONE,
    )


def as_json(found: Checked) -> dict[str, object]:
    """Return the documented keys."""
    return {**vars(found), "findings": [finding._asdict() for finding in found.findings]}


def in_words(finding: Finding) -> str:
    """Return a line about it."""
    where = finding.path + (f", byte {finding.offset}" if finding.offset is not None else "")
    lost = f"; lost: {finding.lost}" if finding.lost else "; nothing is lost"
    remedy = f"; {finding.remedy}" if finding.remedy else ""
    return f"{where}: {finding.what}{lost}{remedy}"


COMMAND = Command(
    name="check",
    summary="look for damage, and change nothing",
    description=_DESCRIPTION,
    run=_run,
    examples="lotus-durable check\nlotus-durable check --queue-dir /mnt/rescued/lotus --json",
    done="nothing is damaged",
    damaged="something is damaged",
)
