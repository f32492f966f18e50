"""``lotus-durable stop``: end the flusher after its request, and wait for that."""

from __future__ import annotations

import argparse
import time

from lotus_durable.clock import boot_id, monotonic
from lotus_durable.flusher import locks
from lotus_durable.flusher.starting import Starting
from lotus_durable.flusher.surroundings import pid_namespace, process_status
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.heartbeat import Beat, read_beat
from lotus_durable.queue.requests import ask
from lotus_durable.values import NamedTuple

from .arguments import timeout
from .command import Command
from .existing import existing_queue
from .output import ExitCode, complain, report

_DESCRIPTION = """\
End the flusher of a queue after its request in flight and what it can send within exit_timeout, and wait until its
process is gone. Use it before the directory is unmounted, the package uninstalled, or a test's directory removed. The
next event starts another flusher, so stop the programs that track first. A service manager starts a service again: stop
the service there.

keys of --json:
  stopped        whether nobody flushes any more
  pid            of the flusher that ended, or still flushes; null where nobody flushed"""

_TIMEOUT = 60.0  # seconds; more than a request takes
_LOOK_INTERVAL = 0.02
_ASK_INTERVAL = 1.0
"""Seconds after which it is asked once more: one that was just starting may not have heard it."""


class Stopped(NamedTuple):
    """What became of the flusher."""

    stopped: bool
    """Nobody flushes any more."""
    pid: int | None
    """Of the last one; None where nobody flushed."""


def stop_flusher(directory: QueueDirectory, timeout: float) -> Stopped:
    """Ask whoever flushes to stop, and wait until that process is gone; also one that is just being started."""
    starting = Starting(directory)
    ends_at = monotonic() + timeout
    next_ask = 0.0
    last: Beat | None = None
    while True:
        is_held = locks.is_held(directory.flusher_lock)
        beat = read_beat(directory)
        is_there = beat is not None and still_runs(beat)
        if is_held or is_there:
            last = beat
        if is_held and monotonic() >= next_ask:
            next_ask = monotonic() + _ASK_INTERVAL
            ask(directory, "stop")
        # One that has let go of the lock looks once more whether something came, and ends a moment later.
        is_over = not is_held and not is_there and not starting.is_starting()
        if is_over or monotonic() >= ends_at:
            return Stopped(is_over, None if last is None else last.pid)
        time.sleep(_LOOK_INTERVAL)


def still_runs(beat: Beat) -> bool:
    """Whether the process that flushed is still there."""
    if beat.kind == "caller" or beat.boot != boot_id() or beat.pid_namespace != pid_namespace():
        return False  # a program that goes on after its drain(), or one that cannot be looked for from here
    status = process_status(beat.pid)
    return status is not None and status.start_time == beat.start_time and status.state != "Z"


def _run(arguments: argparse.Namespace) -> ExitCode:
    directory = existing_queue(arguments).directory
    result = stop_flusher(directory, arguments.timeout)
    words = "nobody flushed" if result.pid is None else f"the flusher, process {result.pid}, has ended"
    shown = [words] if result.stopped else []
    report(arguments, result._asdict(), *shown)
    if not result.stopped:
        who = "a flusher that is just starting" if result.pid is None else f"process {result.pid}"
        complain("lotus-durable stop", f"{who} still flushes after {arguments.timeout:g} s")
    return ExitCode.DONE if result.stopped else ExitCode.NOT_COMPLETE


COMMAND = Command(
    name="stop",
    summary="end the flusher after its request, and wait for it",
    description=_DESCRIPTION,
    run=_run,
    arguments=(timeout(_TIMEOUT),),
    examples="lotus-durable stop --timeout 90",
    done="nobody flushes",
    not_complete="it still flushes",
)
