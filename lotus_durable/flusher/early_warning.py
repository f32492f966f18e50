"""Before it is too late: what a person should know while everything still works. The flusher looks once a minute.

Each warning is reported once a minute, with its count, in a process that tracks, like all trouble; see
:mod:`.reporting`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lotus_durable.config import Config
from lotus_durable.errors import AttentionNeeded, LotusError
from lotus_durable.log import counted
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.heartbeat import read_progress
from lotus_durable.queue.limit import Condition, condition
from lotus_durable.queue.stats import OLDEST_TAKEN, QueueStats

from .stats import collect

_DAY = 86_400.0
_EARLY = 5 * _DAY
"""How long before that it is told: a person may be away for a long weekend."""
_NEARLY_FULL = 0.8
"""Of ``max_queue_bytes``."""
_FEW_BYTES = 64 * 1024 * 1024
"""Of the disk, for events: some minutes of a busy application."""
_FEW_FILES = 1_000


def of_room(room: Condition, limit: int) -> Iterator[tuple[str, str]]:
    """Say what is nearly full, if something is: what it is about, and a sentence."""
    if room.used_bytes > limit * _NEARLY_FULL:
        share = 100 * room.used_bytes // limit
        yield "limit", f"the queue is {share} % full (max_queue_bytes is {limit}): events are refused soon"
    if room.disk_left < _FEW_BYTES:
        yield "disk", f"the disk is nearly full: {room.disk_left // 1_000_000} MB are left for events"
    elif room.files_left < _FEW_FILES:
        yield "disk", f"the disk is nearly full: {counted(room.files_left, 'file')} can be made on it"


def of_age(stats: QueueStats) -> Iterator[tuple[str, str]]:
    """Say that the oldest pending event is nearly too old for the server, if it is."""
    if stats.oldest_age is not None and stats.oldest_age > OLDEST_TAKEN - _EARLY:
        days = stats.oldest_age / _DAY
        pending = counted(stats.pending, "event")
        yield "age", f"the oldest of {pending} pending is {days:.0f} days old: the server takes none older than 30"


class EarlyWarnings:
    """Looks at one queue."""

    def __init__(self, directory: QueueDirectory, config: Config, report: Callable[[LotusError], None]) -> None:
        self._directory = directory
        self._limit = config.max_queue_bytes
        self._report = report
        self._parked = read_progress(directory).counts.parked

    def look(self) -> None:
        """Look, and report."""
        stats = collect(self._directory)
        found = [*of_room(condition(self._directory), self._limit), *of_age(stats)]
        new, self._parked = stats.parked - self._parked, stats.parked
        if new > 0:
            found.append(("parked", f"{counted(stats.parked, 'event')} parked, {new} of them since a minute ago"))
        for about, text in found:
            self._report(AttentionNeeded(text, about))
