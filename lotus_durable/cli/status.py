"""``lotus-durable status``: what is in the queue, and how its uploader is doing."""

from __future__ import annotations

import argparse
import contextlib
import os
import time
from dataclasses import asdict

from lotus_durable.queue.stats import FlusherStats, QueueStats, collect
from lotus_durable.tracker import open_queue

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
    existing_queue(config)
    with contextlib.closing(open_queue(config, lambda _error: None)) as queue:
        stats = collect(queue, buffered=0)
    if arguments.json:
        say_json({"queue_dir": os.fspath(config.queue_dir), **stats_as_json(stats)})
    else:
        say(f"queue in {config.queue_dir}\n\n{aligned(_rows(stats))}\n\nuploader: {flusher_in_words(stats.flusher)}")
    return ExitCode.DONE


def stats_as_json(stats: QueueStats) -> dict[str, object]:
    """Return the documented keys: those of QueueStats but ``buffered``, which is about the asking process only."""
    fields = asdict(stats)
    del fields["buffered"]
    return fields


def flusher_in_words(flusher: FlusherStats | None) -> str:
    """Say who uploads, what it is doing and since when."""
    if flusher is None:
        return "none; nobody uploads from this queue now"
    who = f"process {flusher.pid} on {flusher.hostname}"
    if not flusher.alive:
        silent = f"{who} has shown no sign of life for {duration(flusher.beat_age)}"
        if not flusher.hung:
            return f"none; {silent} and has ended, nobody uploads from this queue now"
        cause = f" ({flusher.reason})" if flusher.reason else ""
        return (
            f"{silent} and holds the leader lock{cause}: it is stopped or stuck, and nobody else can upload; "
            f"let it go on (kill -CONT {flusher.pid}) or kill it"
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
    heeds=("queue_dir", "backend"),
    exit_codes={
        ExitCode.DONE: "done, whatever is in the queue",
        ExitCode.WRONG_USAGE: "wrong usage or configuration; there is no queue in the directory, or it is unsafe",
        ExitCode.DAMAGED: "the queue is damaged",
    },
)
