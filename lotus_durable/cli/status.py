"""``lotus-durable status``: what is in the queue, and how its uploader is doing."""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import asdict

from lotus_durable.flusher.stats import FlusherStats, QueueStats, collect

from .command import Command, ExitCode, configuration
from .existing import existing_queue
from .output import aligned, say, say_json
from .wording import count, duration, size

_DESCRIPTION = """\
Show what is in the queue, for all processes that share it, and how its uploader is doing. Changes nothing.
At any quiescent moment accepted = delivered + pending + parked + dead-lettered + discarded.

keys of --json:
  queue_dir      the directory
  accepted, delivered, pending, parked, dead_lettered, discarded
                 numbers of events
  pending_bytes  bytes of the pending events on disk
  oldest_age     seconds since the oldest pending event was accepted, or null
  flusher        null when nobody uploads, else an object:
    pid, hostname   who
    state           idle, sending, retrying or blocked
    reason          why it is retrying or blocked, or null
    since           when it came into this state, seconds since the epoch
    beat_age        seconds since its last heartbeat
    alive           false: no heartbeat for 5 s, so it hangs, is stopped, or was killed and not replaced
    hung            true: it is not alive and holds the leader lock, so nobody can take over: it is stopped or stuck
    last_delivery   when the server last took events from it, seconds since the epoch, or null"""


def _run(arguments: argparse.Namespace) -> ExitCode:
    config = configuration(arguments)
    stats = collect(existing_queue(config))
    if arguments.json:
        say_json({"queue_dir": os.fspath(config.queue_dir), **stats_as_json(stats)})
    else:
        say(f"queue in {config.queue_dir}\n\n{aligned(_rows(stats))}\n\nuploader: {flusher_in_words(stats.flusher)}")
    return ExitCode.DONE


def stats_as_json(stats: QueueStats) -> dict[str, object]:
    """Return the documented keys: those of QueueStats but ``in_memory``, which is about the asking process only."""
    fields = asdict(stats)
    del fields["in_memory"]
    return fields


def flusher_in_words(flusher: FlusherStats | None) -> str:
    """Say who uploads, what it is doing and since when."""
    if flusher is None:
        return "none; nobody flushes this queue now"
    who = f"process {flusher.pid} on {flusher.hostname}"
    if not flusher.alive:
        return (
            f"{who} has shown no sign of life for {duration(flusher.beat_age)} and holds the flusher's lock: it is "
            "stopped or stuck; the next process that tracks ends it"
        )
    now = time.time()
    doing = f"{who}, {flusher.state} for {duration(now - flusher.since)}"
    if flusher.reason is not None:
        doing += f": {flusher.reason}"
    if flusher.last_delivery is not None:
        doing += f" (last delivery {duration(now - flusher.last_delivery)} ago)"
    return doing


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
    summary="show what is in the queue and how its uploader is doing",
    description=_DESCRIPTION,
    run=_run,
    heeds=("queue_dir",),
    exit_codes={
        ExitCode.DONE: "done, whatever is in the queue",
        ExitCode.WRONG_USAGE: "wrong usage or configuration; there is no queue in the directory, or it is unsafe",
        ExitCode.DAMAGED: "the queue is damaged",
    },
)
