"""The books: one SQLite database, ``books.db``, that only the flusher writes, and in it what became of the events.

=========================  ==========================================================================================
``queue_parked``           the events the server refused for now, and
``queue_dead``             the dead letters: persist-queue's tables (:mod:`.table`), MessagePack, never pickle
``settled``                for each segment, by the id in its header, up to where it is settled; and in a row with an
                           empty id what is counted, so that a settlement changes few pages
``carried``                ranges of segments that were settled by way of copies in others, see :mod:`.consumer`
``retired``                the segments that were deleted lately, and where they ended
``learned``                names and values: what the flusher found out about the server
``padding``                empty; see :mod:`.reserve`
=========================  ==========================================================================================

Invariants:

- a settlement is one transaction: cursor, counters, rows and carried ranges. Rows that are too many for
  one are inserted before it, with ids above ``parked_high`` and ``dead_high``, and do not count until it raises these.
- a power cut may undo the last settlements, each as a whole (see :mod:`.database`), and their events are still in their
  segments then. :meth:`.BooksDatabase.sync` must return before anything is deleted for them.
- what is committed is in the memory of the one :class:`Books` too; the database is read when it is opened, and for a
  page of parked events.

It is one file, because all of it is what one transaction changes.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Mapping, Sequence
from functools import partial

from lotus_durable.disk import DatabaseDamaged

from .carried import Ranges
from .database import WHAT, BooksDatabase, fetched
from .protocol import Cursor, Settlement, StoredEvent, Table, decode_stored_event
from .reader import Position
from .reserve import PAGE, pages_for
from .schema import COUNTERS, INSERT, SCHEMA, SET_COUNTERS, SET_CURSOR, VERSION, as_row, page_of
from .stats import QueueStats

logger: logging.Logger = logging.getLogger("lotus_durable")

_RETIRED_KEPT = 20_000
"""Segments that were deleted and are still known, for when a copy of what was in them turns up."""


class Books:
    """The books, and what they say in memory; they are not open until :meth:`open`.

    Attributes:
        is_new: there were none.
        counts: of what is settled.
        high: the last row of each table that counts.
    """

    database: BooksDatabase

    def __init__(self, path: str) -> None:
        self.path = path
        self.counts: QueueStats = QueueStats()
        self.high: dict[Table, int] = {"parked": 0, "dead": 0}
        self.cursors: dict[bytes, Cursor] = {}
        self.carried: dict[bytes, Ranges] = {}
        self.retired: dict[bytes, Position] = {}
        self.learned: dict[str, str] = {}
        self.is_new: bool = False
        self.is_open: bool = False
        self._prepared_for = 0  # bytes

    def open(self) -> None:
        """Open them, or make them.

        Raises:
            OSError: the disk refuses.
            DatabaseDamaged: (an OSError) it is no database; what could be read of it is known all the same.
            QueueDamaged: a newer version made them; nothing was changed.
        """
        self.database = BooksDatabase(self.path, VERSION, SCHEMA)
        self.is_new = self.database.is_new
        self.is_open = True
        try:
            self.database.do(self._load)
        except BaseException:
            self.abandon()
            raise

    def settle(self, entry: Settlement) -> None:
        """Commit.

        Raises:
            OSError: the disk refuses; nothing of it counts.
            DatabaseDamaged: (an OSError) so it does, and will.
        """
        self._note_tries(entry.tried)
        parked = [event.encode() for event in entry.parked]
        dead = [event.encode() for event in entry.dead]
        high = self.high.copy()
        if parked or dead:
            self.database.commit(self._delete_uncounted)
            needed = pages_for([*parked, *dead])
            self.database.do(lambda: self.database.reserve.ensure(needed))
            rows: dict[Table, list[bytes]] = {"parked": parked, "dead": dead}
            # What does not fit into one transaction goes ahead, and counts with the rest of it.
            for table, waiting in rows.items():
                while len(waiting) > 1 and pages_for([*parked, *dead]) > self.database.reserve.most:
                    piece = _cut_off(waiting, self.database.reserve.most * PAGE // 2)
                    high[table] = self.database.commit(partial(self._insert, table, piece, 0))
        self.counts, self.high = self.database.commit(lambda: self._enter(entry, parked, dead, high))
        self.cursors.update(entry.cursors)
        for segment, start, stop in entry.carried:
            self.carried.setdefault(segment, Ranges()).add(start, stop)
        if entry.resolved:
            self._give_back()

    def _note_tries(self, rows: Sequence[StoredEvent]) -> None:
        """Write what is known of parked events in their places; a disk that has no room for it stops nothing."""
        most = max(1, self.database.reserve.most // 2)
        for start in range(0, len(rows), most):
            changes = [(event.encode(), event.id) for event in rows[start : start + most]]
            write = partial(self.database.connection.executemany, "UPDATE queue_parked SET data = ? WHERE _id = ?")
            try:
                self.database.commit(lambda: write(changes))  # noqa: B023  # called at once
            except DatabaseDamaged:
                raise
            except OSError as error:
                logger.debug("cannot note what was tried: %s", error)
                return

    def page(self, table: Table, after: int, limit: int) -> list[StoredEvent]:
        """Return up to ``limit`` rows with an id above ``after``, by id.

        Raises:
            OSError: the disk refuses.
            DatabaseDamaged: (an OSError) a page of the database cannot be read.
        """
        connection = self.database.connection
        rows = self.database.do(lambda: connection.execute(page_of(table), (after, limit)).fetchall())
        return [decode_stored_event(row, data) for row, data in rows]

    def learn(self, name: str, value: str) -> None:
        """Keep what was found out."""
        if self.learned.get(name) != value:
            statement = "INSERT OR REPLACE INTO learned VALUES (?, ?)"
            self.database.commit(lambda: self.database.connection.execute(statement, (name, value)))
            self.learned[name] = value

    def forget(self, segments: Mapping[bytes, Position]) -> None:
        """Note that these segments, settled to their ends, were deleted."""

        def work() -> None:
            execute = self.database.connection.executemany
            rows = [(segment, *end) for segment, end in segments.items()]
            execute("DELETE FROM settled WHERE segment = ?", [row[:1] for row in rows])
            execute("DELETE FROM carried WHERE segment = ? AND stop <= ?", [row[:2] for row in rows])
            execute("INSERT INTO retired (segment, offset, sequence) VALUES (?, ?, ?)", rows)
            execute("DELETE FROM retired WHERE id <= (SELECT max(id) FROM retired) - ?", [(_RETIRED_KEPT,)])

        self.database.commit(work)
        for segment, end in segments.items():
            self.cursors.pop(segment, None)
            if segment in self.carried and [*(left := self.carried.pop(segment).without(end[0]))]:
                self.carried[segment] = left
            self.retired[segment] = end
        while len(self.retired) > _RETIRED_KEPT:
            del self.retired[next(iter(self.retired))]

    def overwrite_deleted(self) -> None:
        """Have nothing left of rows that were deleted, neither in the database nor in its log.

        Raises:
            OSError: the disk refuses.
        """
        connection = self.database.connection
        self.database.do(lambda: connection.execute("VACUUM"))
        self.database.do(lambda: connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall())

    def prepare_for(self, size: int) -> None:
        """Come a step nearer to room for a segment of this size, all of which may be refused."""
        self._give_back()
        if size > self._prepared_for:
            try:
                if self.database.do(lambda: self.database.reserve.is_ready_for(size)):
                    self._prepared_for = size
            except OSError:
                self._prepared_for = size  # there is no room for more

    def _give_back(self) -> None:
        """Come a step nearer to books without room that nobody needs: all that lies in the directory counts as used."""
        with contextlib.suppress(OSError):
            self.database.do(lambda: self.database.reserve.give_back(self._prepared_for))

    def close(self) -> None:
        """Let go of the files; see :meth:`.BooksDatabase.close`."""
        if self.is_open:
            self.is_open = False
            self.database.close()

    def abandon(self) -> None:
        """Let go of the files as they are; see :meth:`.BooksDatabase.abandon`."""
        if self.is_open:
            self.is_open = False
            self.database.abandon()

    def _load(self) -> None:
        read = self.database.connection.execute
        row = read(f"SELECT {COUNTERS} FROM settled WHERE segment = x''").fetchone()
        accepted, delivered, handed_over, parked, dead, discarded, self.high["parked"], self.high["dead"] = row
        self.counts = QueueStats(accepted, delivered, handed_over, 0, parked, dead, discarded)
        for segment, *cursor in read("SELECT segment, name, offset, sequence FROM settled WHERE segment > x''"):
            self.cursors[segment] = Cursor(*cursor)
        for segment, start, stop in read("SELECT * FROM carried"):
            self.carried.setdefault(segment, Ranges()).add(start, stop)
        for segment, *end in read("SELECT segment, offset, sequence FROM retired ORDER BY id"):
            self.retired[segment] = (end[0], end[1])
        self.learned.update(read("SELECT * FROM learned").fetchall())
        self._delete_uncounted()

    def _delete_uncounted(self) -> None:
        """Delete rows that went ahead of a settlement which was not committed: once more they would be others."""
        for table, high in self.high.items():
            self.database.connection.execute(f"DELETE FROM queue_{table} WHERE _id > ?", (high,))

    def _enter(
        self,
        entry: Settlement,
        parked: Sequence[bytes],
        dead: Sequence[bytes],
        high: Mapping[Table, int],
    ) -> tuple[QueueStats, dict[Table, int]]:
        connection = self.database.connection
        old = self.counts
        gone = 0
        if entry.resolved:
            rows = [(event.id,) for event in entry.resolved]
            gone = connection.executemany("DELETE FROM queue_parked WHERE _id = ?", rows).rowcount
        raised = [(event.id,) for event in entry.raised]
        if raised:
            connection.executemany("DELETE FROM queue_dead WHERE _id = ?", raised)
        counts = old._replace(
            # A parked event that is no longer in its row was counted otherwise already, as lost in damaged books say.
            accepted=old.accepted + entry.accepted + len(entry.resolved) - gone,
            delivered=old.delivered + entry.delivered,
            handed_over=old.handed_over + entry.handed_over,
            parked=old.parked + len(entry.parked) - gone,
            dead_lettered=old.dead_lettered + len(entry.dead) - len(raised),
            discarded=old.discarded + entry.discarded,
        )
        reached: dict[Table, int] = {
            "parked": self._insert("parked", parked, high["parked"]),
            "dead": self._insert("dead", dead, high["dead"]),
        }
        connection.execute(SET_COUNTERS, as_row(counts, reached))
        for segment, cursor in entry.cursors.items():
            connection.execute(SET_CURSOR, (segment, *cursor))
        for segment, start, stop in entry.carried:
            connection.execute("INSERT OR REPLACE INTO carried VALUES (?, ?, ?)", (segment, start, stop))
        return counts, reached

    def _insert(self, table: Table, rows: Sequence[bytes], high: int) -> int:
        """Insert rows and return the last one's id; ``high`` when there are none."""
        if not rows:
            return high
        now = time.time()
        connection = self.database.connection
        connection.executemany(INSERT[table], [(data, now) for data in rows])
        return int(connection.execute(f"SELECT max(_id) FROM queue_{table}").fetchone()[0])


def read_page(path: str, table: Table, after: int, limit: int) -> list[StoredEvent]:
    """Return up to ``limit`` rows with an id above ``after``, by id, from any process; none where there are no books.

    Raises:
        OSError: the disk refuses.
        DatabaseDamaged: (an OSError) it cannot be read.
    """
    rows = fetched(path, WHAT, page_of(table), (after, limit))
    return [decode_stored_event(row, data) for row, data in rows]


def read_learned(path: str, name: str) -> str | None:
    """Return what the flusher learned under this name, from any process; None where there is no such thing."""
    found = fetched(path, WHAT, "SELECT value FROM learned WHERE name = ?", (name,))
    return str(found[0][0]) if found else None


def _cut_off(rows: list[bytes], most: int) -> list[bytes]:
    """Take rows of up to ``most`` bytes, one at the least, off the beginning."""
    size = len(rows[0])
    count = 1
    while count < len(rows) and (size := size + len(rows[count])) <= most:
        count += 1
    piece = rows[:count]
    del rows[:count]
    return piece
