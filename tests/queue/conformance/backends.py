"""What the suite knows of the backends: how to open one, how to damage one event of it, and where its rows are."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

from lotus_durable.errors import LotusError
from lotus_durable.queue.books import Store, StoredEvent, Table
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.journal import JournalQueue
from lotus_durable.queue.protocol import EventQueue
from lotus_durable.queue.sqlite.queue import SqliteQueue

BACKENDS = ("journal", "sqlite")


def make_queue(
    backend: str,
    directory: QueueDirectory,
    report: Callable[[LotusError], None],
    *,
    max_queue_bytes: int = 1 << 30,
    power: bool = False,
) -> EventQueue:
    """Open a queue as one process would."""
    if backend == "sqlite":
        return SqliteQueue(directory, segment_bytes=50_000, max_queue_bytes=max_queue_bytes, power=power, report=report)
    return JournalQueue(
        directory,
        segment_bytes=50_000,
        max_queue_bytes=max_queue_bytes,
        power=power,
        sync_interval=0.005,
        report=report,
    )


def refuse_reports(error: LotusError) -> None:
    raise AssertionError(f"reported: {error}")


def rows(directory: QueueDirectory, table: Table) -> list[StoredEvent]:
    return Store(directory.store).page(table, 0, 1 << 60, 1 << 30)


def damage_event(backend: str, directory: QueueDirectory, index: int) -> None:
    """Damage the pending event at ``index``; nobody else may have the queue open."""
    if backend == "sqlite":
        damage_row(directory.store / "events.db", index + 1)
        return
    path = directory.journal / directory.segments()[0]
    data = path.read_bytes()
    marker, offset = data[12:16], 0
    assert marker[0] == 0xC1
    for _ in range(index + 1):
        offset = data.index(marker, offset + 4 if offset else 32)
    path.write_bytes(data[: offset + 30] + bytes([data[offset + 30] ^ 1]) + data[offset + 31 :])


def damage_row(path: Path, number: int) -> None:
    """Make a row something else than bytes."""
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("UPDATE queue_pending SET data = 'no bytes' WHERE _id = ?", (number,))
    connection.close()
