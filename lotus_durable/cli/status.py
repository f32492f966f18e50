"""``lotus-durable status``: what is in the queue, and how its flusher is doing."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Iterator

from lotus_durable.operate.overview import Overview, other_queues, overview
from lotus_durable.queue.stats import FlusherStats

from .arguments import argument, seconds
from .command import Command
from .existing import Configured, existing_queue
from .output import ExitCode, aligned, flush, is_terminal, report, say
from .wording import count, duration, moment, size

_DESCRIPTION = """\
Show what is in the queue, for all processes that share it, and what its flusher is doing. Changes nothing, and takes
the same time however much is pending. Whenever nothing is moving,
accepted = delivered + handed over + pending + parked + dead-lettered + discarded.

keys of --json:
  queue_dir      the directory
  queue_dir_from why it is this one: --queue-dir, LOTUS_QUEUE_DIR, $STATE_DIRECTORY or the default of this user
  accepted, delivered, handed_over, pending, parked, dead_lettered, discarded
                 numbers of events; handed over are those that a broker has, where relay_url is set
  parked_for_future
                 those of the parked events whose time has not come
  in_memory      events in the memory of programs that still run, while the disk takes none, as they said last
  pending_bytes  bytes of the pending events on disk
  oldest_age     seconds since the oldest pending event was accepted, or null
  refused_in     seconds until that one is too old for the server (30 days), or null
  ends_in        seconds until nothing is pending, at the rate of the last half minute, or null
  used_bytes, limit_bytes
                 bytes in the directory, and max_queue_bytes as it is set here
  disk_left, files_left
                 bytes that events may still take of the disk, and files that can be made on it
  quarantine_files, quarantine_bytes
                 damaged bytes that are kept for you
  flusher        null when nobody flushes, else an object:
    pid, hostname   which process
    began           when it began, seconds since the epoch, or null
    kind            auto (started by a program that tracks), external (a service) or caller (a program that drains)
    version         of lotus-durable
    state           starting, idle, sending, retrying, blocked, leaving or ended
    reason          why it is retrying or blocked, or null
    since           when it came into this state, seconds since the epoch
    waits_until     until when it waits before it tries again, seconds since the epoch, or null
    beat_age        seconds since its last heartbeat
    alive           false: no heartbeat for 5 s while it holds the lock, so it hangs or is stopped
    last_delivery   when the server last took events from it, seconds since the epoch, or null
    last_error, last_error_at
                    what was last in the way of delivery, and when; it may be over
    rate            events delivered in a second, in the last half minute
  failed_start   what the last start of a flusher had to say if it failed, or null
  other_queues   without --queue-dir, other queues that this user's processes use and that hold events:
                 a list of {queue_dir, events}"""

_WATCH_INTERVAL = 1.0
_SHOWN_OTHERS = 5


def _run(arguments: argparse.Namespace) -> ExitCode:
    queue = existing_queue(arguments)
    others = other_queues(queue.directory) if arguments.queue_dir is None else []
    if arguments.watch is not None:
        return _watch(queue, arguments)
    found = overview(queue.config)
    lines = as_lines(queue, found)
    if others:
        names = ", ".join(f"{root} ({count(events)})" for root, events in others[:_SHOWN_OTHERS])
        names += f" and {len(others) - _SHOWN_OTHERS} more" if len(others) > _SHOWN_OTHERS else ""
        lines.append(f"other queues that processes of this user use and that hold events: {names}")
    listed = [{"queue_dir": root, "events": events} for root, events in others]
    return report(arguments, {**as_json(queue, found), "other_queues": listed}, *lines)


def _watch(queue: Configured, arguments: argparse.Namespace) -> ExitCode:
    """Show it until Ctrl-C, which is how one ends watching and no error."""
    is_watched = is_terminal(sys.stdout) and not arguments.json
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            found = overview(queue.config)
            if is_watched:
                say(_CLEAR_SCREEN)
            report(arguments, as_json(queue, found), *as_lines(queue, found), *([] if is_watched else [""]))
            flush()
            time.sleep(arguments.watch)
    return ExitCode.DONE


_CLEAR_SCREEN = "\x1b[H\x1b[J"


def as_json(queue: Configured, found: Overview) -> dict[str, object]:
    """Return the documented keys."""
    return {
        "queue_dir": queue.directory.root,
        "queue_dir_from": queue.source,
        **found.stats.as_json(),
        "in_memory": found.in_memory,
        "parked_for_future": found.parked_for_future,
        "refused_in": found.refused_in,
        "ends_in": found.ends_in,
        "limit_bytes": found.limit_bytes,
        **found.condition._asdict(),
        "failed_start": found.failed_start,
    }


def as_lines(queue: Configured, found: Overview) -> list[str]:
    """Return it for people."""
    who = flusher_in_words(found.stats.flusher)
    if found.failed_start is not None:
        who += f"; the last start of one failed: {last_line(found.failed_start)}"
    title = f"queue in {queue.directory.root} ({queue.source})"
    return [title, "", *aligned(_rows(found)), "", f"flusher: {who}", *_remarks(found)]


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
    if flusher.waits_until is not None and flusher.waits_until > now:
        doing += f"; it tries again in {duration(flusher.waits_until - now)}"
    if flusher.last_delivery is not None:
        doing += f" (last delivery {duration(now - flusher.last_delivery)} ago)"
    return doing


def _what_ends_it(flusher: FlusherStats) -> str:
    if flusher.kind == "caller":
        return ", or waits for the server in its own drain(); nobody ends it but you"
    return "; the next process that tracks ends it"


def _remarks(found: Overview) -> Iterator[str]:
    """Say what is beside the counts, a line each; only what there is something to say of."""
    flusher, room = found.stats.flusher, found.condition
    if flusher is not None:
        since = "" if flusher.began is None else f", since {moment(flusher.began)}"
        yield f"         {_KINDS[flusher.kind]}, lotus-durable {flusher.version}{since}"
        if flusher.last_error is not None and flusher.last_error_at is not None and flusher.reason is None:
            ago = duration(max(0.0, time.time() - flusher.last_error_at))
            yield f"         last trouble, {ago} ago: {flusher.last_error}"
    yield f"room:    {size(room.used_bytes)} of {size(found.limit_bytes)} used, {size(room.disk_left)} left on the disk"
    if found.in_memory:
        yield f"memory:  {count(found.in_memory, 'event')} in the memory of programs: the disk takes no writes"
    if room.quarantine_files:
        yield f"damaged: {count(room.quarantine_files, 'file')} in quarantine/, {size(room.quarantine_bytes)}"


_KINDS = {"auto": "started by a program that tracks", "external": "a service", "caller": "a program that drains"}


def _rows(found: Overview) -> list[tuple[str, str, str]]:
    stats = found.stats
    pending = ""
    if stats.pending:
        pending = size(stats.pending_bytes)
        if stats.oldest_age is not None and found.refused_in is not None:
            pending += f", the oldest accepted {duration(stats.oldest_age)} ago"
            pending += f" ({_until_refused(found.refused_in)})" if found.refused_in < _SOON else ""
        if found.ends_in is not None and stats.flusher is not None:
            pending += f"; {count(round(stats.flusher.rate))} a second, done in {duration(found.ends_in)}"
    parked = "refused for now, retried slowly" if stats.parked else ""
    if found.parked_for_future:
        parked += f"; {count(found.parked_for_future)} of them not before their time"
    return [
        ("accepted", count(stats.accepted), ""),
        ("delivered", count(stats.delivered), ""),
        *([("handed over", count(stats.handed_over), "the broker has them")] if stats.handed_over else []),
        ("pending", count(stats.pending), pending),
        ("parked", count(stats.parked), parked),
        ("dead-lettered", count(stats.dead_lettered), "refused for good, kept" if stats.dead_lettered else ""),
        ("discarded", count(stats.discarded), ""),
    ]


_SOON = 25 * 86_400.0


def _until_refused(left: float) -> str:
    return f"the server refuses it in {duration(left)}" if left > 0 else "too old for the server of 2024"


COMMAND = Command(
    name="status",
    summary="show what is in the queue and how its flusher is doing",
    description=_DESCRIPTION,
    run=_run,
    arguments=(
        argument(
            "--watch",
            type=seconds,
            nargs="?",
            const=_WATCH_INTERVAL,
            metavar="SECONDS",
            help=f"show it again and again, until Ctrl-C (default: every {_WATCH_INTERVAL:g} s)",
        ),
    ),
    options=("queue_dir", "max_queue_bytes"),
    examples="lotus-durable status\nlotus-durable status --watch\nlotus-durable status --json",
    done="done, whatever is in the queue",
)
