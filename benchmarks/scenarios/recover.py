"""Opening a queue with a backlog: the time depends on the number of segments, the memory on nothing."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path

from benchmarks.backlog import fill
from benchmarks.bench import Bench
from benchmarks.child import in_child
from benchmarks.report import Goal, Report, Table
from benchmarks.watched import Watched
from lotus_durable.queue.consumer import Consumer
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.stats import count

_COLUMNS = ("backlog", "count ms", "open ms", "first 500 ms", "in all ms", "memory MB")


def run(bench: Bench) -> Report:
    rows: list[list[int | float]] = []
    for events in bench.scale.backlogs:
        with bench.folder() as folder:
            fill(folder / "queue", events)
            found = in_child("benchmarks.scenarios.recover:open_queue", str(folder / "queue"))
        assert found["pending"] == events
        parts = [found[name] * 1e3 for name in ("count", "consumer", "read")]
        rows.append([events, *parts, sum(parts), found["memory"]])
    largest = rows[-1]
    return Report(
        "recover",
        [Table("recover", "Opening a queue, its files in the page cache", _COLUMNS, rows)],
        [Goal(f"recover: opening {largest[0]:,} pending", largest[4] / 1e3, "at most", 1, "s")],
        {"points": [(row[0], row[4]) for row in rows]},
    )


def open_queue(root: str) -> dict[str, float]:
    """Do what a new flusher does until it has its first batch, in this process; return seconds, and MB on top."""
    before = Watched().memory()
    directory = QueueDirectory(Path(root))
    times = [time.monotonic()]
    pending = count(directory, None).pending
    times.append(time.monotonic())
    consumer = Consumer(directory, print)
    times.append(time.monotonic())
    read = 0
    while read < 500 and (chunk := consumer.read(500 - read)) is not None:
        read += len(chunk.records)
    times.append(time.monotonic())
    memory = Watched().peak_memory() - before
    consumer.close()
    counted, opened, first = (later - earlier for earlier, later in pairwise(times))
    return {"pending": pending, "count": counted, "consumer": opened, "read": first, "memory": memory}
