"""Crowds: segments of many short-lived processes, many parked events, and millions of pending ones."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median

from benchmarks.backlog import crowd, fill
from benchmarks.bench import Bench
from benchmarks.child import in_child
from benchmarks.flushing import flushing
from benchmarks.report import Goal, Report, Table
from benchmarks.server import Server, serving
from benchmarks.surroundings import API_KEY
from benchmarks.watched import Watched
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.heartbeat import read_beat

_START_TIMEOUT, _LEAST_RATE = 60.0, 200  # seconds; segments/s
_LOOK_INTERVAL = 0.02
_IDLE_SECONDS = 10.0
_BUSY = 0.015  # of a core
_TURNS = 3


def run(bench: Bench) -> Report:
    segments, rows, pending = bench.scale.crowd, bench.scale.parked_rows, bench.scale.backlogs[-1]
    with bench.folder() as folder, serving() as server:
        queue = folder / "queue"
        crowd(queue, segments)
        first = median(
            in_child("benchmarks.scenarios.crowds:first_event", str(queue), server.url) for _ in range(_TURNS)
        )
        counted = median(in_child("benchmarks.scenarios.crowds:count", str(queue)) for _ in range(_TURNS))
        synced = in_child("benchmarks.scenarios.crowds:sync", str(queue))
        silence = _longest_silence(queue, server, segments + _TURNS)
    with bench.folder() as folder, serving() as server:
        queue = folder / "queue"
        in_child("benchmarks.scenarios.crowds:park", str(queue), str(rows))
        books = median(in_child("benchmarks.scenarios.crowds:opening", str(queue)) for _ in range(_TURNS))
        idle = _idle(queue, server)
    with bench.folder() as folder:
        queue = folder / "queue"
        fill(queue, pending)
        in_child("benchmarks.scenarios.crowds:opening", str(queue))
        opened = median(in_child("benchmarks.scenarios.crowds:opening", str(queue)) for _ in range(_TURNS))
    crowded, parked = f"with {segments:,} segments", f"with {rows:,} parked events"
    found = [
        (f"the first event of a process, {crowded}", first * 1e3, "ms"),
        (f"counting, {crowded}", counted, "s"),
        (f"the flusher's first sync, {crowded}", synced[0], "s"),
        (f"each later sync, {crowded}", max(synced[1:]), "s"),
        (f"longest between two heartbeats, {crowded}", silence, "s"),
        (f"opening the books, {parked}", books * 1e3, "ms"),
        (f"an idle flusher, {parked}", idle * 100, "% of a core"),
        (f"opening the queue with {pending:,} pending", opened, "s"),
    ]
    limits = (20, 1, None, 1, 5, 50, 1, 0.05)
    return Report(
        "crowds",
        [Table("crowds", "Crowds", ("what", "value", "unit"), found)],
        [
            Goal(f"crowds: {name}", value, "at most", limit, unit)
            for (name, value, unit), limit in zip(found, limits, strict=True)
            if limit is not None
        ],
    )


def _longest_silence(queue: Path, server: Server, events: int) -> float:
    """Return the longest time between two beats of a flusher that works off a crowd."""
    directory = QueueDirectory(queue)
    server.mark()
    with flushing(queue, server):
        server.wait_for(1, _START_TIMEOUT)
        ends = time.monotonic() + _START_TIMEOUT + events / _LEAST_RATE
        longest, beats, beaten_at = 0.0, 0, time.monotonic()
        while (directory.segments() or server.counts().events < events) and time.monotonic() < ends:
            beat = read_beat(directory)
            if beat is not None and beat.beats != beats:
                beats, beaten_at = beat.beats, time.monotonic()
            longest = max(longest, time.monotonic() - beaten_at)
            time.sleep(_LOOK_INTERVAL)
    return longest


def _idle(queue: Path, server: Server) -> float:
    """Return the part of a core that a flusher takes while nothing comes."""
    with flushing(queue, server) as flusher:
        ends = time.monotonic() + _START_TIMEOUT
        while (beat := read_beat(QueueDirectory(queue))) is None or beat.state != "idle":
            if time.monotonic() > ends:
                raise TimeoutError("the flusher did not become idle")
            time.sleep(_LOOK_INTERVAL)
        while _used(flusher, 1.0) > _BUSY and time.monotonic() < ends:
            pass  # it looks once which of them are due
        return _used(flusher, _IDLE_SECONDS)


def _used(flusher: Watched, seconds: float) -> float:
    cpu, began = flusher.cpu(), time.monotonic()
    time.sleep(seconds)
    return (flusher.cpu() - cpu) / (time.monotonic() - began)


# Each in a process of its own


def first_event(queue_dir: str, host: str) -> float:
    """Track one event and return the seconds that it took."""
    import lotus_durable

    client = lotus_durable.Client(api_key=API_KEY, host=host, queue_dir=queue_dir, flusher="external", exit_timeout=0)
    began = time.perf_counter()
    client.track_event(customer_id="customer-123", event_name="api_call")
    return time.perf_counter() - began


def count(queue_dir: str) -> float:
    """Count and return the seconds that it took."""
    from lotus_durable.queue.counting import count as count_queue

    began = time.perf_counter()
    count_queue(QueueDirectory(queue_dir))
    return time.perf_counter() - began


def sync(queue_dir: str) -> list[float]:
    """Sync some times like a flusher and return the seconds that each took."""
    from lotus_durable.queue.sync import JournalSync

    journal = JournalSync(QueueDirectory(queue_dir), print)
    took = []
    for _ in range(_TURNS + 1):
        began = time.perf_counter()
        journal.run()
        took.append(time.perf_counter() - began)
    return took


def park(queue_dir: str, rows: str) -> None:
    """Have so many parked events that stay parked: they wait for a flusher with another key."""
    from lotus_durable.event.encoder import EventEncoder
    from lotus_durable.queue.books import Books
    from lotus_durable.queue.protocol import Settlement, StoredEvent

    directory = QueueDirectory(queue_dir)
    directory.prepare()
    books = Books(directory, print)
    encode, now = EventEncoder(1 << 15).encode, time.time()
    for start in range(0, int(rows), 500):
        records = [encode("customer-123", "api_call", {"mb_used": start}, None, None)[1] for _ in range(500)]
        books.settle(
            Settlement(
                accepted=500, parked=[StoredEvent(each, "refused", 1, now, now, key=b"another ") for each in records]
            )
        )
    books.close()


def opening(queue_dir: str) -> float:
    """Open the queue like a flusher and read its first events; return the seconds that it took."""
    from lotus_durable.queue.consumer import Consumer

    began = time.perf_counter()
    consumer = Consumer(QueueDirectory(queue_dir), print)
    consumer.read(500)
    took = time.perf_counter() - began
    consumer.close()
    return took
