"""The leader's side of the database: read, settle."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lotus_durable.errors import LotusError, QueueDamaged
from lotus_durable.queue.books import StoreDamaged, StoredEvent, Table, decode_stored_event
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.protocol import Chunk, LeadershipLost, Settlement
from lotus_durable.queue.quarantine import keep_aside
from lotus_durable.queue.reader import Damage

from . import tables
from .connection import Database
from .spill import SpillReader
from .tables import Counters

if TYPE_CHECKING:
    import sqlite3

logger = logging.getLogger("lotus_durable")

SOURCE = "pending"
"""The one source of every chunk; the position in it is (0, number)."""

_MOST_UNREADABLE = 1000
"""Rows in a row; that many are more than a page holds, and whoever looks after the database is to decide about them."""


@dataclass(frozen=True, slots=True)
class RowDamage(Damage):
    """Rows that are missing, or hold no record; ``offset`` is the first one's number."""

    def __str__(self) -> str:
        return f"damage in table queue_{SOURCE} from row {self.offset} on ({self.events} events)"


class SqliteConsumer:
    """See :class:`~.protocol.Consumer`. Making one ends the term of every other.

    A settlement is one transaction: rows of parked events and dead letters, the counters, and persist-queue's
    ``task_done()``, which deletes the settled events and commits all of it.

    Raises:
        OSError: the disk refuses, or this process inherited a connection.
        QueueDamaged: a newer version made the database.
    """

    def __init__(self, directory: QueueDirectory, database: Database, report: Callable[[LotusError], None]) -> None:
        self._directory = directory
        self._database = database
        self._report = report
        self._spill = SpillReader(directory, database, report, self._check_alone)
        self._rows: Sequence[tuple[int, Any]] = ()
        self._in_pass = False
        self._pass_ends = 0
        self._term = 0
        self._read = 0
        database.commit(self._begin)
        database.reserve.fill()

    def read(self, limit: int) -> Chunk | None:
        """Return the next chunk of this pass; see :class:`~.protocol.Consumer`."""
        if not self._in_pass:
            try:
                self._spill.copy()
            except OSError as error:
                # A full disk, say: what is in the database can be delivered all the same, and makes room.
                logger.warning("cannot copy the spill of %s now, trying again: %s", self._directory.root, error)
            with self._database.use() as queue:
                self._pass_ends = tables.last_number(queue.reader, tables.read_counters(queue.reader))
            self._in_pass = True
        if self._read >= self._pass_ends:
            self._in_pass = False
            return None
        rows = self._rows_behind(limit)
        return self._damage(rows) or self._records(rows)

    def settle(self, settlement: Settlement) -> None:
        """Commit; see :class:`~.protocol.Consumer`."""
        try:
            self._database.commit(lambda connection: self._settle(connection, settlement, tidies=True))
        except StoreDamaged:
            # A page with settled rows cannot be read, so they cannot be deleted. They do not count without it either.
            self._database.commit(lambda connection: self._settle(connection, settlement, tidies=False))

    def parked(self, after: int, limit: int) -> list[StoredEvent]:
        """Return a page of the parked events; see :class:`~.protocol.Consumer`."""
        with self._database.use() as queue:
            rows = queue.reader.execute(
                "SELECT _id, data FROM queue_parked WHERE _id > ? ORDER BY _id LIMIT ?", (after, limit)
            ).fetchall()
        return [decode_stored_event(row, data) for row, data in rows]

    def last_parked(self) -> int:
        """Return the id of the last parked event; see :class:`~.protocol.Consumer`."""
        with self._database.use() as queue:
            return int(queue.reader.execute("SELECT coalesce(max(_id), 0) FROM queue_parked").fetchone()[0])

    def copy_spill(self) -> None:
        """Copy what is in the spill into the database, as :meth:`read` does at the beginning of a pass.

        Raises:
            OSError: the disk refuses.
            LeadershipLost: somebody else settles.
        """
        self._spill.copy()

    def close(self) -> None:
        """Nothing to let go of: the connection is the queue's."""

    def _begin(self, connection: sqlite3.Connection) -> None:
        counters = _with_counted_rows(connection, tables.read_counters(connection), self._report)
        self._term = counters.term + 1
        self._read = counters.cursor
        tables.write_counters(connection, replace(counters, term=self._term))

    def _settle(self, connection: sqlite3.Connection, settlement: Settlement, *, tidies: bool) -> None:
        counters = tables.read_counters(connection)
        self._check_alone(counters)
        _, through = settlement.through.get(SOURCE, (0, 0))
        _insert(connection, "parked", settlement.parked)
        _insert(connection, "dead", settlement.dead)
        gone = [(event.id,) for event in settlement.resolved]
        connection.executemany("DELETE FROM queue_parked WHERE _id = ?", gone)
        cursor = max(through, counters.cursor)
        tables.write_counters(
            connection,
            replace(
                counters,
                cursor=cursor,
                delivered=counters.delivered + settlement.delivered,
                parked=counters.parked + len(settlement.parked) - len(gone),
                dead=counters.dead + len(settlement.dead),
            ),
        )
        if tidies:
            with self._database.use() as queue:
                queue.cursor = cursor
                queue.task_done()

    def _check_alone(self, counters: Counters) -> None:
        if counters.term != self._term:
            raise LeadershipLost("somebody else settles")

    def _rows_behind(self, limit: int) -> Sequence[tuple[int, Any]]:
        """Return the next rows, none when nothing is left of this pass; where pages are damaged, those behind them.

        Raises:
            QueueDamaged: too much cannot be read to give it all up.
        """
        import sqlite3

        select = "SELECT _id, data FROM queue_pending WHERE _id {} ? AND _id <= ? ORDER BY _id LIMIT ?"
        with self._database.use() as queue:
            try:
                return queue.reader.execute(select.format(">"), (self._read, self._pass_ends, limit)).fetchall()
            except sqlite3.DatabaseError as error:
                last = min(self._pass_ends, self._read + _MOST_UNREADABLE)
                for number in range(self._read + 1, last + 1):
                    with contextlib.suppress(sqlite3.DatabaseError):
                        if row := queue.reader.execute(select.format("="), (number, number, 1)).fetchone():
                            return [row]
                if last == self._pass_ends:
                    return []
                raise QueueDamaged(
                    f"{self._database.path} cannot be read behind row {self._read} ({error}); repair it, for example "
                    "with the .recover command of sqlite3"
                ) from error

    def _damage(self, rows: Sequence[tuple[int, Any]]) -> Chunk | None:
        """Return the damage that these rows begin with, if they do."""
        expected = self._read + 1
        found = rows[0][0] if rows else self._pass_ends + 1
        if found != expected:
            damage = RowDamage(f"queue_{SOURCE}", expected, b"", found - expected)
        elif not isinstance(rows[0][1], bytes):
            damage = RowDamage(f"queue_{SOURCE}", expected, str(rows[0][1] or "").encode(), 1)
        else:
            return None
        keep_aside(self._directory, damage, self._report)
        self._read += damage.events
        return Chunk(SOURCE, (), ((0, self._read),), damage)

    def _records(self, rows: Sequence[tuple[int, Any]]) -> Chunk:
        """Return the rows up to the next damage."""
        records: list[bytes] = []
        for number, data in rows:
            if number != self._read + 1 or not isinstance(data, bytes):
                break
            records.append(data)
            self._read = number
        first = self._read - len(records) + 1
        return Chunk(SOURCE, records, [(0, first + index) for index in range(len(records))])


def _insert(connection: sqlite3.Connection, table: Table, events: Sequence[StoredEvent]) -> None:
    now = time.time()
    connection.executemany(
        f"INSERT INTO queue_{table} (data, timestamp) VALUES (?, ?)", [(event.encode(), now) for event in events]
    )


def _with_counted_rows(
    connection: sqlite3.Connection, counters: Counters, report: Callable[[LotusError], None]
) -> Counters:
    """Believe the tables where they hold other rows than were counted: somebody deleted some, by hand."""
    parked, dead = (
        int(connection.execute(f"SELECT count(*) FROM queue_{table}").fetchone()[0]) for table in ("parked", "dead")
    )
    missing = counters.parked + counters.dead - parked - dead
    if (parked, dead) == (counters.parked, counters.dead):
        return counters
    report(
        QueueDamaged(
            f"the store holds {parked} parked events and {dead} dead letters instead of {counters.parked} and "
            f"{counters.dead}: somebody else changed it"
        )
    )
    return replace(
        counters,
        base=counters.base + max(0, -missing),
        discarded=counters.discarded + max(0, missing),
        parked=parked,
        dead=dead,
    )
