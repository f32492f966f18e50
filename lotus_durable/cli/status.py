"""``lotus-durable status``: what is in the queue, and how its flusher is doing."""

from __future__ import annotations

import argparse
import os
import time

from lotus_durable.flusher.starting import Starting
from lotus_durable.flusher.stats import collect
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.stats import FlusherStats, QueueStats

from .command import Command, ExitCode, configuration
from .existing import existing_queue
from .output import aligned, say, say_json
from .wording import count, duration, size

_DESCRIPTION = """\
Show what is in the queue, for all processes that share it, and how its flusher is doing. Changes nothing.
At any quiescent moment accepted = delivered + pending + parked + dead-lettered + discarded.

keys of --json:
  queue_dir      the directory
  accepted, delivered, pending, parked, dead_lettered, discarded
                 numbers of events
  pending_bytes  bytes of the pending events on disk
  oldest_age     seconds since the oldest pending event was accepted, or null
  flusher        null when nobody flushes, else an object:
    pid, hostname   which process
    kind            auto (started by a program that tracks), external (a service) or caller (a program that drains)
    version         of lotus-durable
    state           starting, idle, sending, retrying, blocked, leaving or ended
    reason          why it is retrying or blocked, or null
    since           when it came into this state, seconds since the epoch
    waits_until     until when it waits before it tries again, seconds since the epoch, or null
    beat_age        seconds since its last heartbeat
    alive           false: no heartbeat for 5 s while it holds the lock, so it hangs or is stopped
    last_delivery   when the server last took events from it, seconds since the epoch, or null
  failed_start   what the last start of a flusher had to say if it failed, or null"""


def _run(arguments: argparse.Namespace) -> ExitCode:
    config = configuration(arguments)
    directory = existing_queue(config)
    stats = collect(directory)
    failed_start = None if stats.flusher is not None else words_of_failed_start(directory)
    if arguments.json:
        say_json({"queue_dir": os.fspath(config.queue_dir), **stats.as_json(), "failed_start": failed_start})
    else:
        who = flusher_in_words(stats.flusher)
        if failed_start is not None:
            who += f"; the last start of one failed: {last_line(failed_start)}"
        say(f"queue in {config.queue_dir}\n\n{aligned(_rows(stats))}\n\nflusher: {who}")
    return ExitCode.DONE


def words_of_failed_start(directory: QueueDirectory) -> str | None:
    """Return what the last start of a flusher had to say; None where it did not fail."""
    notes = Starting(directory).read()
    return (notes.words or "it said nothing") if notes.failures else None


def last_line(text: str) -> str:
    """Return the last line of a text: of a traceback, the one that says what it is."""
    return text.strip().rpartition("\n")[2]


def flusher_in_words(flusher: FlusherStats | None) -> str:
    """Say who flushes, what it is doing and since when."""
    if flusher is None:
        return "nobody flushes this queue now"
    who = f"process {flusher.pid} on {flusher.hostname}"
    if not flusher.alive:
        return (
            f"{who} has shown no sign of life for {duration(flusher.beat_age)} and holds the flusher's lock: it is "
            f"stopped or stuck{_what_ends_it(flusher)}"
        )
    now = time.time()
    doing = f"{who}, {flusher.state} for {duration(now - flusher.since)}"
    if flusher.reason is not None:
        doing += f": {flusher.reason}"
    if flusher.last_delivery is not None:
        doing += f" (last delivery {duration(now - flusher.last_delivery)} ago)"
    return doing


def _what_ends_it(flusher: FlusherStats) -> str:
    if flusher.kind == "caller":
        return ", or waits for the server in its own drain(); nobody ends it but you"
    return "; the next process that tracks ends it"


def _rows(stats: QueueStats) -> list[tuple[str, str, str]]:
    pending = ""
    if stats.pending:
        pending = size(stats.pending_bytes)
        if stats.oldest_age is not None:
            pending += f", the oldest accepted {duration(stats.oldest_age)} ago"
    return [
        ("accepted", count(stats.accepted), ""),
        ("delivered", count(stats.delivered), ""),
        ("pending", count(stats.pending), pending),
        ("parked", count(stats.parked), "refused for now, retried slowly" if stats.parked else ""),
        ("dead-lettered", count(stats.dead_lettered), "refused for good, kept" if stats.dead_lettered else ""),
        ("discarded", count(stats.discarded), ""),
    ]


COMMAND = Command(
    name="status",
    summary="show what is in the queue and how its flusher is doing",
    description=_DESCRIPTION,
    run=_run,
    exit_codes={
        ExitCode.DONE: "done, whatever is in the queue",
        ExitCode.WRONG_USAGE: "wrong usage or configuration; there is no queue in the directory, or it is unsafe",
        ExitCode.DAMAGED: "the queue is damaged, or of a later version",
    },
)
