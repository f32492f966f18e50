"""The command: its arguments, its help, its exit codes."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from lotus_durable.cli.command import Command, ExitCode

_DESCRIPTION = """\
Start a Lotus server of its own on loopback and several worker processes that track events, as a web server's would.
Meanwhile SIGKILL workers, SIGKILL whichever process uploads, and let the server fail in every way that is known of
one. Then let it get well, drain, and count: what the workers wrote down as accepted, against what the server has got.
Nothing leaves this machine, no settings of yours are used. Takes about 20 seconds, and never more than 60.

keys of --json:
  ok              whether nothing was lost, and all of it could be shown
  accepted        events for which track_event returned, by the workers' own records
  delivered       of these: stored by the server, by its own list
  parked, dead_lettered, pending
                  of these: kept in the queue (customer unknown; refused for good; not sent in time)
  lost, lost_ids  of these: found nowhere (ids: the first 100)
  unrecorded      events found though their worker was killed before it could record them
  duplicates      events the server got once more and dropped
  kills           {workers, leaders}: SIGKILLs
  recycled        workers that ended in order and were replaced
  takeover_seconds      {slowest, all}: from the kill of a leader to the next one's first heartbeat
  enqueue_microseconds  {p50, p99}: inside track_event
  requests, server_failures
                  requests the server got, and how often it failed, by kind
  workers, seed, seconds
  problems        everything that is not as promised, a sentence each
  books           what the queue says about itself: keys of `status --json`
  directory       where the files are kept, or null"""

_MOST_WORKERS = 64
_MOST_EVENTS = 1_000_000
_MOST_KILLS = 50


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    number = _whole_number
    parser.add_argument("--workers", type=number(1, _MOST_WORKERS), default=4, metavar="N", help="default: 4")
    parser.add_argument("--events", type=number(1, _MOST_EVENTS), default=20_000, metavar="N", help="default: 20000")
    parser.add_argument(
        "--kills", type=number(0, _MOST_KILLS), default=10, metavar="N", help="of workers and leaders; default: 10"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="of what is left to chance; default: a new one each time")
    parser.add_argument("--keep", action="store_true", help="keep the files: the queue, the workers' records and log")


def _whole_number(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if not least <= number <= most:
            raise argparse.ArgumentTypeError(f"a whole number from {least} to {most} is needed (it is {text!r})")
        return number

    return read


def _run(arguments: argparse.Namespace) -> ExitCode:
    from .run import run  # here: the other commands do without all that this imports

    return run(arguments)


COMMAND = Command(
    name="demo",
    summary="see it survive kills and outages: a server that fails, workers that are killed, and nothing lost",
    description=_DESCRIPTION,
    run=_run,
    add_arguments=_add_arguments,
    heeds=(),
    exit_codes={
        ExitCode.DONE: "done: nothing was lost",
        ExitCode.NOT_COMPLETE: "something was lost, or it could not be shown in time that nothing was",
        ExitCode.WRONG_USAGE: "wrong usage",
    },
    queue_dir_help="put the queue there, and keep it, to look at it meanwhile with `status`; must be new or empty",
)
