"""``lotus-durable backup``: a copy of a queue in use that can be put back."""

from __future__ import annotations

import argparse

from .arguments import argument
from .command import Command
from .existing import existing_queue
from .output import ExitCode, report
from .wording import count, size

_DESCRIPTION = """\
Copy a queue that is in use into a new directory, to be put back later. Nobody waits for it. Plain `cp` is wrong for
that: it copies a database and its log at different moments. To restore, stop everything that uses the queue, put the
copy where the queue was, and start again. What was delivered since the copy was made is then sent again with its ids;
the server counts it once, for as long as it remembers them.

keys of --json:
  files, bytes   what was copied"""


def _run(arguments: argparse.Namespace) -> ExitCode:
    from lotus_durable.operate.backing_up import back_up  # with SQLite

    directory = existing_queue(arguments).directory
    result = back_up(directory, arguments.target)
    words = f"{count(result.files, 'file')}, {size(result.bytes)}, copied to {arguments.target}"
    return report(arguments, result._asdict(), words)


COMMAND = Command(
    name="backup",
    summary="copy a queue that is in use",
    description=_DESCRIPTION,
    run=_run,
    arguments=(argument("target", metavar="DIR", help="where the copy is to be; it must not exist"),),
    examples="lotus-durable backup /var/backups/lotus-2026-01-31",
    done="the copy is there, as a whole",
    wrong_usage="wrong usage or configuration, or the disk refuses: there is no copy",
)
