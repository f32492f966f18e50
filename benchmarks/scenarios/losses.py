"""What becomes of events that a client has accepted, when its process is killed and when the server is down.

Each event carries its number; the client's process notes in a file which ones were accepted, and the server which ones
arrived. What is on disk afterwards is not lost: ours is flushed by the next process, the queues are read.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.bench import Bench
from benchmarks.child import in_child
from benchmarks.report import Cell, Goal, Report, Table
from benchmarks.server import serving
from benchmarks.subjects import (
    DURABLE,
    LITEQUEUE,
    LOTUS_PYTHON,
    OPENTELEMETRY,
    PERSIST_QUEUE,
    POSTHOG,
    SEGMENT,
    Subject,
)
from benchmarks.surroundings import API_KEY, flushers_of
from benchmarks.tracking import accepted_in, arrived_at, tracking

SUBJECTS = (DURABLE, LOTUS_PYTHON, SEGMENT, POSTHOG, OPENTELEMETRY, LITEQUEUE, PERSIST_QUEUE)
_SEND_NOTHING = (LITEQUEUE, PERSIST_QUEUE)
_RATE = 1_300
"""Calls a second, about what the in-memory clients deliver."""
_KILLED_AFTER = 1.2  # seconds
_CALLS_IN_OUTAGE = 500
_IN_FLIGHT = 30.0
"""Seconds that ours waits where a server has closed a connection: it may be at work on the request, and lose events to
a second one."""


def run(bench: Bench) -> Report:
    subjects, notes = bench.available(SUBJECTS)
    killed = {subject.name: [_killed(bench, subject) for _ in range(bench.scale.turns)] for subject in subjects}
    down = _in_outage(bench, [subject for subject in subjects if subject not in _SEND_NOTHING])
    rows: list[list[Cell]] = []
    for subject in subjects:
        accepted, lost = (sum(figures) for figures in zip(*killed[subject.name], strict=True))
        during, gone = down.get(subject.name, (None, None))
        rows.append([subject.label, subject.survives, accepted, lost, during, gone])
    columns = ("events", "survives", "accepted, then killed", "lost when killed", "accepted while down", "lost in it")
    title = f"Lost of what was accepted: {bench.scale.turns} kills; a server that is down for some seconds"
    ours = [figures[1] for figures in killed[DURABLE.name]]
    return Report(
        "losses",
        [Table("losses", title, columns, rows)],
        [
            Goal("losses: ours, of all that was accepted before a kill", sum(ours), "at most", 0, "events"),
            Goal("losses: ours, of all that was accepted in an outage", down[DURABLE.name][1], "at most", 0, "events"),
        ],
        notes=notes,
    )


def _killed(bench: Bench, subject: Subject) -> tuple[int, int]:
    """Return how many events a process accepted that was killed, and how many of them nobody has."""
    with bench.folder() as folder, serving(keeps_numbers=True) as server:
        with tracking(bench, subject, server, folder, rate=_RATE, calls=_RATE * 60) as process:
            time.sleep(_KILLED_AFTER)
            process.kill()
        accepted = accepted_in(folder)
        kept: set[int] = set()
        if subject in _SEND_NOTHING:
            kept = set(in_child(f"benchmarks.scenarios.losses:{subject.name}_holds", str(folder)))
        elif subject is DURABLE:
            in_child("benchmarks.scenarios.losses:start_anew", str(folder), server.url)
        return len(accepted), len(accepted - kept - arrived_at(server, accepted - kept))


def _in_outage(bench: Bench, subjects: Sequence[Subject]) -> dict[str, tuple[int, int]]:
    """Have all of them meet an outage at the same time; return how many events each accepted, and how many are lost.

    A process tracks for a second and goes on living; the server is down before it begins and for a while after.
    """
    with ExitStack() as stack:
        running = []
        for subject in subjects:
            folder, server = stack.enter_context(bench.folder()), stack.enter_context(serving(keeps_numbers=True))
            server.go_down()
            stack.enter_context(tracking(bench, subject, server, folder, rate=_CALLS_IN_OUTAGE, calls=_CALLS_IN_OUTAGE))
            running.append((subject, folder, server))
        time.sleep(bench.scale.outage_seconds)
        for _, _, server in running:
            server.come_up()
        pause = 2 * bench.scale.outage_seconds + _IN_FLIGHT  # pauses double
        found = {}
        for subject, folder, server in running:
            accepted = accepted_in(folder)
            found[subject.name] = (len(accepted), len(accepted - arrived_at(server, accepted, pause)))
        return found


# In a process of their own


def start_anew(folder: str, host: str) -> bool:
    """Do what the next process of the application does: make a client."""
    import lotus_durable

    client = lotus_durable.Client(api_key=API_KEY, host=host, queue_dir=Path(folder) / "queue")
    client.release()
    return bool(flushers_of(Path(folder)))


def litequeue_holds(folder: str) -> list[int]:
    """Return the numbers of the events in a queue."""
    module: Any = import_module("litequeue")
    queue = module.LiteQueue(str(Path(folder) / "litequeue.db"))
    return list(_numbers(lambda: None if (message := queue.pop()) is None else json.loads(message.data)))


def persist_queue_holds(folder: str) -> list[int]:
    """Return the numbers of the events in a queue."""
    module: Any = import_module("persistqueue")
    queue = module.SQLiteQueue(str(Path(folder) / "persist-queue"), auto_commit=True)
    return list(_numbers(lambda: queue.get() if queue.size else None))


def _numbers(take: Callable[[], dict[str, dict[str, int]] | None]) -> Iterator[int]:
    while (event := take()) is not None:
        yield event["properties"]["mb_used"]
