"""What :mod:`.overview` sees, as metrics for Prometheus. Needs prometheus_client (``lotus-durable[prometheus]``).

They are read from the queue directory at each scrape, so whoever is asked answers the same: any worker of a
multi-process server, and the flusher. Nothing is counted in a process, and nothing is changed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric

from lotus_durable.config import Config
from lotus_durable.errors import LotusError
from lotus_durable.log import logger
from lotus_durable.queue.stats import FlusherStats

from . import stored as _with_sqlite  # noqa: F401  # not by the first scrape: a fork may cut an import
from .overview import Overview, overview

ABSENT, HUNG = "absent", "hung"
STATES = (ABSENT, HUNG, "starting", "idle", "sending", "retrying", "blocked", "leaving", "ended")
"""Of the flusher: nobody has the lock; somebody has it and shows no sign of life; and those of its heartbeat."""

_MOST_PARKED = 2_000
"""Rows that are looked at for those of the future: a scrape takes no more than 25 ms of its process for it."""
_PREFIX = "lotus_durable_"


class QueueCollector:
    """Gives the metrics of queues to a registry of prometheus_client. Each has the label ``queue_dir``.

    A queue that cannot be read fails no scrape: its ``lotus_durable_queue_readable`` is 0, and it has no others.

    Args:
        configs: each returns the configuration that names a queue, and its ``max_queue_bytes``.
    """

    def __init__(self, *configs: Callable[[], Config]) -> None:
        self._configs = configs

    def describe(self) -> Iterator[Metric]:
        """Give the metrics without values: a registry asks, to refuse a second one of the same names."""
        return iter(_Families())

    def collect(self) -> Iterator[Metric]:
        """Look at the queues."""
        families = _Families()
        for config in self._configs:
            queue_dir, found = "", None
            try:
                resolved = config()
                queue_dir = os.fspath(resolved.queue_dir)
                found = overview(resolved, most_parked=_MOST_PARKED)
            except (LotusError, OSError) as error:
                logger.debug("no metrics of the queue in %s: %s", queue_dir, error)
            families.gauge("queue_readable").add_metric([queue_dir], float(found is not None))
            if found is not None:
                families.add(queue_dir, found)
        return iter(families)


_COUNTERS = {
    "events_accepted": "Events that track_event accepted.",
    "events_delivered": "Events that the server confirmed, each by itself.",
    "events_handed_over": "Events that a broker has confirmed, where relay_url is set.",
    "events_discarded": "Events that somebody purged.",
}
_GAUGES = {
    "queue_readable": "Whether the queue directory is there and can be read; the other metrics are missing if not.",
    "events_pending": "Events on disk that have no verdict yet.",
    "events_parked": "Events that the server refuses for now; they are tried again.",
    "events_parked_for_future": "Parked events whose time has not come, among the first 2000 that are parked.",
    "events_dead_lettered": "Events that the server refused for good; kept until somebody retries or purges them.",
    "events_in_memory": "Events in the memory of programs, because the disk takes no writes.",
    "pending_bytes": "Bytes on disk of the pending events.",
    "oldest_pending_age_seconds": "Since the oldest pending event was accepted; 0 when nothing is pending.",
    "queue_used_bytes": "Bytes of all that lies in the queue directory.",
    "queue_limit_bytes": "What may lie there: max_queue_bytes, as who answers has it. Above, events are refused.",
    "disk_left_bytes": "Bytes that events may still take of the disk.",
    "disk_left_files": "Files that can still be made on the disk; missing where the file system sets no limit.",
    "quarantine_files": "Files of damaged bytes, kept for somebody to look at.",
    "quarantine_bytes": "Bytes of these files.",
    "flusher_heartbeat_age_seconds": "Since the last heartbeat of the process that flushes; missing when nobody does.",
    "flusher_start_failed": "Whether nobody flushes, and the last start of a flusher failed.",
    "last_delivery_timestamp_seconds": "When the server last took events from this flusher, since the epoch.",
}
_STATE = "What the flusher does: 1 for one state, 0 for the others; absent: nobody flushes, hung: no sign of life."
_INFO = "Which process flushes."
_UNITS = ("seconds", "bytes")


class _Families:
    """All metrics, with the values that were added."""

    def __init__(self) -> None:
        labels = ["queue_dir"]
        self._counters = {
            name: CounterMetricFamily(_PREFIX + name, text, labels=labels) for name, text in _COUNTERS.items()
        }
        self._gauges = {
            name: GaugeMetricFamily(_PREFIX + name, text, labels=labels, unit=_unit(name))
            for name, text in _GAUGES.items()
        }
        self._state = GaugeMetricFamily(f"{_PREFIX}flusher_state", _STATE, labels=[*labels, "state"])
        self._info = InfoMetricFamily(f"{_PREFIX}flusher", _INFO, labels=labels)

    def __iter__(self) -> Iterator[Metric]:
        yield from self._counters.values()
        yield from self._gauges.values()
        yield from (self._state, self._info)

    def gauge(self, name: str) -> GaugeMetricFamily:
        return self._gauges[name]

    def add(self, queue_dir: str, found: Overview) -> None:
        """Add the values of one queue."""
        stats, room, flusher = found.stats, found.condition, found.stats.flusher
        counters = (stats.accepted, stats.delivered, stats.handed_over, stats.discarded)
        for family, value in zip(self._counters.values(), counters, strict=True):
            family.add_metric([queue_dir], value)
        values: dict[str, float | None] = {
            "events_pending": stats.pending,
            "events_parked": stats.parked,
            "events_parked_for_future": found.parked_for_future,
            "events_dead_lettered": stats.dead_lettered,
            "events_in_memory": found.in_memory,
            "pending_bytes": stats.pending_bytes,
            "oldest_pending_age_seconds": stats.oldest_age or 0.0,
            "queue_used_bytes": room.used_bytes,
            "queue_limit_bytes": found.limit_bytes,
            "disk_left_bytes": room.disk_left,
            "disk_left_files": None if room.files_left == sys.maxsize else room.files_left,
            "quarantine_files": room.quarantine_files,
            "quarantine_bytes": room.quarantine_bytes,
            "flusher_heartbeat_age_seconds": None if flusher is None else flusher.beat_age,
            "flusher_start_failed": found.failed_start is not None,
            "last_delivery_timestamp_seconds": None if flusher is None else flusher.last_delivery,
        }
        for name, number in values.items():
            if number is not None:
                self._gauges[name].add_metric([queue_dir], float(number))
        now = _state(flusher)
        for state in STATES:
            self._state.add_metric([queue_dir, state], float(state == now))
        if flusher is not None:
            about = {"hostname": flusher.hostname, "kind": flusher.kind, "version": flusher.version}
            self._info.add_metric([queue_dir], about)


def _unit(name: str) -> str:
    last = name.rpartition("_")[2]
    return last if last in _UNITS else ""


def _state(flusher: FlusherStats | None) -> str:
    if flusher is None:
        return ABSENT
    return flusher.state if flusher.alive else HUNG
