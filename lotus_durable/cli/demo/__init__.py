"""``lotus-durable demo``: kills processes at work, and counts what the server has in the end.

Here is what is typed, ``run`` is what happens, and ``worker`` one of those who track. The serious test of all this is
the chaos harness of the source's tests.
"""

from __future__ import annotations

import argparse

from lotus_durable.cli.arguments import argument, whole_number
from lotus_durable.cli.command import Command
from lotus_durable.cli.output import ExitCode

_DESCRIPTION = """\
Start a Lotus server of its own on loopback and four worker processes that track events together. SIGKILL the flusher
and workers again and again, and take the server away once. Then drain, and count: what the workers wrote down as
accepted, against what the server has. Nothing leaves this machine, and no settings of yours are used. Takes about
15 seconds; leaves no process and no file behind.

keys of --json:
  ok              whether nothing was lost, nothing was made up, and all of it could be shown
  tracked         events for which track_event returned, by the workers' own records
  at_server       events in the server's database
  lost, lost_ids  tracked, and not at the server
  never_tracked, never_tracked_ids
                  at the server, and tracked by nobody
  duplicates, duplicate_ids
                  sent more than once after a kill; the server counted them once
  kills           {workers, flushers}: SIGKILLs
  new_flusher_after
                  for each kill of a flusher, the seconds until the next one flushed
  seconds         how long it took
  problems        everything else that is not as promised, a sentence each
  directory       where the files are kept, or null
Of each list of ids the first 100 are shown."""


def _run(arguments: argparse.Namespace) -> ExitCode:
    from .run import run  # here: the other commands do without all that this imports

    return run(arguments)


COMMAND = Command(
    name="demo",
    summary="see that nothing is lost while processes are killed",
    description=_DESCRIPTION,
    run=_run,
    arguments=(
        argument("--events", type=whole_number(100, 1_000_000), default=20_000, metavar="N", help="default: 20000"),
        argument("--kills", type=whole_number(0, 100), default=10, metavar="N", help="default: 10"),
    ),
    examples="lotus-durable demo\nlotus-durable demo --events 100000 --kills 30 --queue-dir /tmp/demo",
    options=(),
    done="nothing was lost",
    not_complete="something was lost, or it could not be shown that nothing was",
    wrong_usage="wrong usage",
    damaged="",
    queue_dir_help="put the queue and the records there, and keep them; must be new or empty",
)
