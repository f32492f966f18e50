"""Moving a queue from one backend to the other: killed at any moment, it goes on where it was, and every count holds.

The file ``backend`` (:mod:`lotus_durable.queue.backend`) is the commit point in both directions. Until it names the new
backend the old one's files are the truth and what was made of the new one is thrown away at the next try; from then on
it is the other way round. Parked events and dead letters stay where they are: both backends keep them in the same
tables.

- *to SQLite*: one transaction takes over the journal's counters and cursor; its segments are then a spill
  (:mod:`.spill`), which is copied, in transactions that hold both the rows and how far they go.
- *to the journal*: the pending rows are written to new segments, and then a state with the counters. A row that is gone
  or no bytes becomes an empty record, which the journal's leader makes a dead letter.

While it works neither backend touches the directory. The caller holds the leader lock; that nobody writes either is
looked up twice, the second time when nobody can begin any more.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from lotus_durable.errors import LotusError, QueueDamaged
from lotus_durable.queue import backend as marker
from lotus_durable.queue.backend import read_backend
from lotus_durable.queue.books import Store
from lotus_durable.queue.consumer import JournalConsumer
from lotus_durable.queue.cursor import State, StoreMarks, save_state
from lotus_durable.queue.destination import is_being_written
from lotus_durable.queue.directory import QueueDirectory, sync_directory
from lotus_durable.queue.recovery import undo_rows
from lotus_durable.queue.writer import SegmentWriter

from . import tables
from .connection import Database, is_open_elsewhere
from .consumer import SqliteConsumer
from .tables import Counters

if TYPE_CHECKING:
    import sqlite3

Report = Callable[[LotusError], None]

_TO_SQLITE = "journal to sqlite"
_TO_JOURNAL = "sqlite to journal"
_WRITING = "sqlite to journal, writing"
"""From here on the segments in the journal's folder are the migration's own."""

_PAGE = 500  # rows


class QueueInUse(LotusError):
    """Somebody uses the queue, so it cannot be moved; it is as it was."""


def migrate_to_sqlite(directory: QueueDirectory, report: Report) -> None:
    """Move a journal's events into the database, or go on with that.

    Raises:
        QueueInUse: a process writes to the journal.
        QueueDamaged: the journal cannot be read, or a migration to the journal was begun.
        OSError: the disk refuses; run it again.
    """
    found = read_backend(directory)
    if found not in (None, "journal", "sqlite", _TO_SQLITE):
        raise QueueDamaged(f"a migration to the journal was begun in {directory.root}: finish that one first")
    database = _database(directory)
    with contextlib.closing(database):
        if found != "sqlite":
            _refuse_writers(directory)
            marker.write_backend(directory, _TO_SQLITE)
            _unless_in_use(directory, "journal", _refuse_writers)
            _take_over(database, _settled_state(directory, report))
            marker.write_backend(directory, "sqlite")
        _remove_state(directory)
        _copy_spill(directory, database, report)


def migrate_to_journal(directory: QueueDirectory, report: Report, *, segment_bytes: int) -> None:
    """Move the database's events into segments of a journal, or go on with that.

    Raises:
        QueueInUse: a process has the database open.
        QueueDamaged: the database cannot be read, or a migration to SQLite was begun.
        OSError: the disk refuses; run it again.
    """
    found = read_backend(directory)
    if found not in (None, "sqlite", "journal", _TO_JOURNAL, _WRITING):
        raise QueueDamaged(f"a migration to SQLite was begun in {directory.root}: finish that one first")
    database = _database(directory)
    with contextlib.closing(database):
        if found not in ("journal", _WRITING):
            _refuse_connections(directory)
            marker.write_backend(directory, _TO_JOURNAL)
            _unless_in_use(directory, "sqlite", _refuse_connections)
            _unless_in_use(directory, "sqlite", _refuse_writers)
            _copy_spill(directory, database, report)
            if directory.segments():
                raise QueueDamaged(f"segments that cannot be read are in {directory.journal}: move them away")
            marker.write_backend(directory, _WRITING)
        if found != "journal":
            _write_journal(directory, database, segment_bytes)
            marker.write_backend(directory, "journal")
        _forget_pending(database)
        database.reserve.release()


def _database(directory: QueueDirectory) -> Database:
    return Database(directory.store, power=True, before_opening=directory.prepare, after_opening=lambda: None)


# Who else is there


def _unless_in_use(directory: QueueDirectory, backend: str, refuse: Callable[[QueueDirectory], None]) -> None:
    """Look again, now that nobody can begin; if somebody did just before, everything is as it was."""
    try:
        refuse(directory)
    except QueueInUse:
        marker.write_backend(directory, backend)
        raise


def _refuse_writers(directory: QueueDirectory) -> None:
    if is_being_written(directory):
        raise QueueInUse(f"a process writes to {directory.journal}; stop what uses the queue")


def _refuse_connections(directory: QueueDirectory) -> None:
    path = _database(directory).path
    if is_open_elsewhere(path):
        raise QueueInUse(f"a process has {path} open; stop what uses the queue")


# To SQLite


def _settled_state(directory: QueueDirectory, report: Report) -> State:
    """Return the journal's state when all that it promised is done: no row and no segment is left that do not count.

    Raises:
        OSError: something cannot be deleted.
    """
    store = Store(directory.store)
    with contextlib.closing(JournalConsumer(directory, store, report, sync_interval=0.0)) as consumer:
        state = consumer.state
    undo_rows(store, state)  # where the consumer found the store locked, it goes on without
    if state.retired or state.parked.removing:
        raise OSError(f"what is settled in {directory.root} cannot be deleted")
    return state


def _take_over(database: Database, state: State) -> None:
    settled = sum(sequence for _, sequence in state.cursor.values())
    with database.transaction() as connection:
        _clear(connection)
        tables.write_counters(
            connection,
            Counters(
                base=state.accepted + settled,
                delivered=state.delivered,
                discarded=state.discarded,
                parked=state.parked.rows,
                dead=state.dead.rows,
            ),
        )
        connection.executemany(
            "INSERT INTO spilled VALUES (?, ?, ?)", [(name, *position) for name, position in state.cursor.items()]
        )


def _clear(connection: sqlite3.Connection) -> None:
    """Empty what the other attempt, or a migration back, left of the queue; parked and dead rows are both backends'."""
    for statement in (
        "DELETE FROM queue_pending",
        "DELETE FROM sqlite_sequence WHERE name = 'queue_pending'",
        "DELETE FROM spilled",
    ):
        connection.execute(statement)


def _remove_state(directory: QueueDirectory) -> None:
    for path in (directory.state, directory.recent_state):
        path.unlink(missing_ok=True)
    sync_directory(directory.root)


def _copy_spill(directory: QueueDirectory, database: Database, report: Report) -> None:
    if directory.segments():
        SqliteConsumer(directory, database, report).copy_spill()


# To the journal


def _write_journal(directory: QueueDirectory, database: Database, segment_bytes: int) -> None:
    for path in directory.journal.iterdir():
        path.unlink()  # of an attempt before this one
    _remove_state(directory)
    with database.use() as queue:
        connection = queue.reader
        counters = tables.read_counters(connection)
        last = tables.last_number(connection, counters)
        _write_segments(directory, _records(connection, counters.cursor, last), segment_bytes)
        parked, dead = (_marks(connection, table) for table in ("parked", "dead"))
    sync_directory(directory.journal)
    state = State(
        generation=1,
        accepted=counters.base + counters.cursor,
        delivered=counters.delivered,
        discarded=counters.discarded,
        parked=parked,
        dead=dead,
    )
    missing = counters.parked + counters.dead - parked.rows - dead.rows  # deleted by hand
    save_state(
        directory,
        replace(state, discarded=state.discarded + max(0, missing), accepted=state.accepted + max(0, -missing)),
        durable=True,
    )


def _write_segments(directory: QueueDirectory, records: Iterator[bytes], segment_bytes: int) -> None:
    writer: SegmentWriter | None = None
    try:
        for record in records:
            if writer is not None and writer.size + len(record) > writer.limit:
                writer.sync_through(writer.size)
                writer.seal()
                writer = None
            writer = writer or SegmentWriter(directory, limit=segment_bytes, sync=True)
            writer.append(record)
        if writer is not None:
            writer.sync_through(writer.size)
    finally:
        if writer is not None:
            writer.seal()


def _records(connection: sqlite3.Connection, after: int, last: int) -> Iterator[bytes]:
    """Give the pending records by number, and an empty one for each that is not there."""
    while after < last:
        rows = connection.execute(
            "SELECT _id, data FROM queue_pending WHERE _id > ? ORDER BY _id LIMIT ?", (after, _PAGE)
        ).fetchall()
        for number, data in rows:
            yield from (b"" for _ in range(after + 1, number))
            yield data if isinstance(data, bytes) else b""
            after = number
        if not rows:
            yield from (b"" for _ in range(after, last))
            return


def _marks(connection: sqlite3.Connection, table: str) -> StoreMarks:
    high, rows = connection.execute(f"SELECT coalesce(max(_id), 0), count(*) FROM queue_{table}").fetchone()
    return StoreMarks(high=high, rows=rows)


def _forget_pending(database: Database) -> None:
    """Leave only the parked and dead rows in the database, and give the space back."""
    if not database.path.exists():
        return
    with database.transaction() as connection:
        _clear(connection)
        tables.write_counters(connection, Counters())
    with database.use() as queue:
        queue.shrink_disk_usage()
