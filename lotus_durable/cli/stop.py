"""``lotus-durable stop``: end the flusher after its request, and wait for that."""

from __future__ import annotations

import argparse
import time

from lotus_durable.clock import monotonic
from lotus_durable.flusher import locks
from lotus_durable.queue.heartbeat import read_beat
from lotus_durable.queue.requests import ask

from .arguments import seconds
from .command import Command, ExitCode, configuration
from .existing import existing_queue
from .output import complain, say, say_json

_DESCRIPTION = """\
End the flusher of a queue after its request in flight and what it can send within exit_timeout, and wait for that:
before the directory is unmounted, the package uninstalled, a test's directory removed. The next event of a program
that tracks starts another one, so stop those first.

keys of --json:
  stopped        whether nobody flushes any more
  pid            of the flusher that ended, or null where nobody flushed"""

_TIMEOUT = 60.0  # seconds; more than a request takes
_LOOK_INTERVAL = 0.02


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--timeout",
        type=seconds,
        default=_TIMEOUT,
        metavar="SECONDS",
        help=f"give up waiting after so long (default: {_TIMEOUT:g})",
    )


def _run(arguments: argparse.Namespace) -> ExitCode:
    directory = existing_queue(configuration(arguments))
    was_held = locks.is_held(directory.flusher_lock)
    beat = read_beat(directory)
    ends_at = monotonic() + arguments.timeout
    if was_held:
        ask(directory, "stop")
        while locks.is_held(directory.flusher_lock) and monotonic() < ends_at:
            time.sleep(_LOOK_INTERVAL)
    stopped = not locks.is_held(directory.flusher_lock)
    pid = beat.pid if was_held and beat is not None else None
    if arguments.json:
        say_json({"stopped": stopped, "pid": pid})
    elif stopped:
        say("nobody flushed" if not was_held else f"the flusher, process {pid}, has ended")
    if not stopped:
        complain("lotus-durable stop", f"process {pid} still flushes after {arguments.timeout:g} s")
    return ExitCode.DONE if stopped else ExitCode.NOT_COMPLETE


COMMAND = Command(
    name="stop",
    summary="end the flusher after its request, and wait for it",
    description=_DESCRIPTION,
    run=_run,
    add_arguments=_add_arguments,
    exit_codes={
        ExitCode.DONE: "nobody flushes",
        ExitCode.NOT_COMPLETE: "it still flushes",
        ExitCode.WRONG_USAGE: "wrong usage or configuration; there is no queue in the directory, or it is unsafe",
    },
)
