"""Processes one after the other that track one event and end, as a server makes them that forks for each job."""

from __future__ import annotations

import os
import time

from benchmarks.bench import Bench
from benchmarks.child import in_child
from benchmarks.report import Goal, Report, Table
from benchmarks.server import serving
from benchmarks.surroundings import API_KEY
from lotus_durable.queue.directory import QueueDirectory

_TIMEOUT = 60.0  # seconds
_LOOK_INTERVAL = 0.05  # seconds


def run(bench: Bench) -> Report:
    lives = bench.scale.short_lives
    with bench.folder() as folder, serving(generation="2024") as server:
        queue = folder / "queue"
        bare = in_child("benchmarks.scenarios.short_lives:live", "", "", str(lives))
        tracking = in_child("benchmarks.scenarios.short_lives:live", str(queue), server.url, str(lives))
        ended = time.monotonic()
        last = server.wait_for(lives, _TIMEOUT).last
        assert last is not None
        journal, gives_up_at = QueueDirectory(queue), time.monotonic() + _TIMEOUT
        while journal.segments() and time.monotonic() < gives_up_at:
            time.sleep(_LOOK_INTERVAL)
        emptied = time.monotonic()
        left = len(journal.segments())
    cost = (tracking - bare) / lives * 1e3
    rows = [
        ("a process that tracks one event, in ms", tracking / lives * 1e3),
        ("the same without tracking, in ms", bare / lives * 1e3),
        ("the last event arrives after the end of the last process, in s", max(0.0, last - ended)),
        ("all segments are deleted after it, in s", emptied - ended),
        ("segments left", left),
    ]
    return Report(
        "short_lives",
        [Table("short_lives", f"{lives:,} short-lived processes in a row", ("what", "value"), rows)],
        [
            Goal("short_lives: what tracking adds to a process", cost, "at most", 5, "ms", f"{lives:,} processes",
                 f"{bare / lives * 1e3:.2f} ms for a process"),
            Goal("short_lives: the last event arrives after the last process", max(0.0, last - ended), "at most", 2,
                 "s"),
            Goal("short_lives: segments left", left, "at most", 0, "segments"),
        ],
    )  # fmt: skip


def live(queue_dir: str, host: str, count: str) -> float:
    """Fork so many children, one after the other, that track one event each, or nothing; return the seconds it took."""
    track = None
    if queue_dir:
        import lotus_durable

        client = lotus_durable.Client(api_key=API_KEY, host=host, queue_dir=queue_dir, exit_timeout=0)
        track = client.track_event
    began = time.perf_counter()
    for _ in range(int(count)):
        child = os.fork()
        if not child:
            if track is not None:
                track(customer_id="customer-123", event_name="api_call")
            os._exit(0)
        os.waitpid(child, 0)
    return time.perf_counter() - began
