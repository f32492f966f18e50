"""What ``status`` shows, for the command, metrics and pages. It changes nothing."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice

from lotus_durable.config import Config
from lotus_durable.event.timestamps import utc_text
from lotus_durable.flusher.starting import Starting
from lotus_durable.flusher.stats import collect
from lotus_durable.flusher.surroundings import content_of, process_status
from lotus_durable.queue.counting import count
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.heartbeat import read_progress
from lotus_durable.queue.limit import Condition, condition
from lotus_durable.queue.stats import OLDEST_TAKEN, QueueStats
from lotus_durable.values import NamedTuple

_MOST_OTHERS = 100
_LOOKED_FOR = 0.3  # seconds


class Overview(NamedTuple):
    """One look at a queue."""

    stats: QueueStats
    condition: Condition
    limit_bytes: int
    """``max_queue_bytes`` as it is set for who looks."""
    ends_in: float | None
    """Seconds until nothing is pending, at the rate of the last half minute; None where nothing is being delivered."""
    refused_in: float | None
    """Seconds until the oldest pending event is too old for the server; None where none is pending."""
    parked_for_future: int
    """Parked events whose time has not come, among the first ones that are parked."""
    in_memory: int
    """Events that wait in the memory of programs because the disk takes none, as they said within the last minute."""
    failed_start: str | None
    """What the last start of a flusher had to say, where none flushes and it failed."""


def overview(config: Config, *, most_parked: int = 20_000) -> Overview:
    """Look.

    Of the parked events ``most_parked`` are looked at for those of the future, 12 µs each.
    """
    directory = QueueDirectory(config.queue_dir)
    stats = counted(directory)
    rate = stats.flusher.rate if stats.flusher is not None else 0.0
    return Overview(
        stats=stats,
        condition=condition(directory),
        limit_bytes=config.max_queue_bytes,
        ends_in=stats.pending / rate if rate and stats.pending else None,
        refused_in=None if stats.oldest_age is None else OLDEST_TAKEN - stats.oldest_age,
        parked_for_future=_parked_for_future(directory, most_parked) if stats.parked else 0,
        in_memory=_in_memory(directory),
        failed_start=words_of_failed_start(directory) if stats.flusher is None else None,
    )


def counted(directory: QueueDirectory) -> QueueStats:
    """Count the queue. How many rows of ``queue.db`` are pending a flusher counts, and where there is none this does.

    One that cannot be read counts as one event at the least, as segments do.

    Raises:
        OSError: the disk refuses.
    """
    stats = collect(directory)
    if stats.flusher is not None or not os.path.lexists(directory.queue_db):
        return stats
    from .pending import PendingReader  # with SQLite: only where somebody appends through it

    known = read_progress(directory).counts.pending
    rows, since = max(1, known), None
    with contextlib.suppress(OSError):
        rows, since = PendingReader(directory, lambda _: None).count_rows()
    more = rows - known
    ages = [age for age in (stats.oldest_age, since and max(0.0, time.time() - since)) if age is not None]
    return stats._replace(
        accepted=stats.accepted + more, pending=stats.pending + more, oldest_age=max(ages) if ages else None
    )


def _in_memory(directory: QueueDirectory) -> int:
    noted = Starting(directory, makes=False).read().in_memory
    return sum(count for pid, count in noted.items() if process_status(pid) is not None)


def words_of_failed_start(directory: QueueDirectory) -> str | None:
    """Return what the last start of a flusher had to say; None where it did not fail."""
    notes = Starting(directory, makes=False).read()
    return (notes.words or "it said nothing") if notes.failures else None


def other_queues(directory: QueueDirectory) -> list[tuple[str, int]]:
    """Return other queues of this user that hold events, with how many: those that his processes use now.

    What can be seen: the environment and the open files of his processes.
    """
    ends_at = time.monotonic() + _LOOKED_FOR
    own = os.path.realpath(directory.root)
    found: dict[str, int] = {}
    seen = {own}
    for root in _roots_in_use():
        if time.monotonic() > ends_at or len(found) == _MOST_OTHERS:
            break
        if root not in seen:
            seen.add(root)
            other = QueueDirectory(root)
            with contextlib.suppress(Exception):  # it is somebody's, and may be anything
                other.check()
                stats = count(other)
                held = stats.pending + stats.parked + stats.dead_lettered
                if held and os.path.isdir(other.journal):
                    found[root] = held
    return sorted(found.items())


def _roots_in_use() -> Iterator[str]:
    user = os.geteuid()
    names = os.listdir("/proc") if sys.platform == "linux" else []
    for name in sorted(names, key=lambda each: each.zfill(10), reverse=True):  # the newest processes first
        if name.isdecimal():
            with contextlib.suppress(OSError, ValueError):
                if os.stat(f"/proc/{name}").st_uid == user:
                    yield from _roots_of(name)


def _roots_of(pid: str) -> Iterator[str]:
    for entry in content_of(f"/proc/{pid}/environ").split(b"\0"):
        variable, _, value = entry.partition(b"=")
        if variable == b"LOTUS_QUEUE_DIR" and value:
            yield os.path.realpath(os.fsdecode(value))
    for descriptor in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            folder, _, file = os.readlink(f"/proc/{pid}/fd/{descriptor}").rpartition("/journal/")
            if file.endswith(".seg") and folder:
                yield folder


def _parked_for_future(directory: QueueDirectory, most: int) -> int:
    from .stored import stored_events  # with SQLite: most queues have no parked events

    now = utc_text(datetime.now(UTC))
    parked = islice(stored_events(directory, ["parked"]), most)
    return sum(1 for each in parked if each.event is not None and each.event.time_created > now)
