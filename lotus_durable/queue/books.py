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
  segments then. :meth:`Books.make_safe` must return before anything is deleted for them.
- what is committed is in the memory of the one :class:`Books` too; the database is read when it is opened, and for a
  page of parked events.

What is done when something happened to the file is in :mod:`.repair`. Where it is damaged, whatever was to be done is
done once more, with new books.

It is one file, because all of it is what one transaction changes.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Concatenate, ParamSpec, TypeVar

from lotus_durable.disk import DatabaseDamaged
from lotus_durable.errors import DiskRefused, QueueDamaged

from .contents import INSERT, SET_COUNTERS, SET_CURSOR, Known, Ranges, as_row, page_of
from .database import BooksDatabase
from .directory import QueueDirectory
from .files import FolderPlace
from .heartbeat import read_progress
from .protocol import Report, Settlement, StoredEvent, Table, decode_stored_event
from .reader import Position
from .repair import finish_renaming, replace, words_of_what_is_gone, write_back
from .reserve import PAGE, pages_for
from .stats import QueueStats
from .table import fetched, in_order

logger: logging.Logger = logging.getLogger("lotus_durable")

_RETIRED_KEPT = 20_000
"""Segments that were deleted and are still known, for when a copy of what was in them turns up."""
_P = ParamSpec("_P")
_T = TypeVar("_T")


def _mended(method: Callable[Concatenate[Books, _P], _T]) -> Callable[Concatenate[Books, _P], _T]:
    """Have the books opened where they could not be before, and new ones begun, and used, where they are damaged."""

    @functools.wraps(method)
    def done(books: Books, /, *arguments: _P.args, **named: _P.kwargs) -> _T:
        try:
            books.ensure_open()
            return method(books, *arguments, **named)
        except DatabaseDamaged as error:
            books.begin_anew(error)
            return method(books, *arguments, **named)

    return done


class Books:
    """The books, and what they say in memory.

    What reads or writes their file raises ``OSError`` where the disk refuses, and nothing of it counts then.

    Attributes:
        is_new: there were none, or damaged ones.
        is_behind: the last heartbeat had more settled: they are new, or older ones, and know less than what was done.
        known: what they say, but the parked events and dead letters.

    Raises:
        QueueDamaged: a newer version made them; nothing was changed.
    """

    database: BooksDatabase

    def __init__(self, directory: QueueDirectory, report: Report) -> None:
        self._folder = FolderPlace(directory.root)
        self._path = directory.books
        self._report = report
        self.known: Known = Known()
        if finish_renaming(self._path):
            report(QueueDamaged(f"the books {self._path} were written back: a kill came before that was done"))
        try:
            self._open()
            self.is_new: bool = self.database.is_new
        except DatabaseDamaged as error:
            self._replace(error)
            self.is_new = True  # a flusher has been here, and what it last did is not known for sure
        last = read_progress(directory).counts
        try:
            self._folder.check()  # or it is the count of another queue
        except FileNotFoundError:
            self.close()
            raise
        self.is_behind: bool = last.accepted - last.pending > self.known.counts.accepted
        if self.is_behind and (gone := words_of_what_is_gone(self._path, last, self.known.counts, is_new=self.is_new)):
            report(QueueDamaged(gone))

    @_mended
    def settle(self, entry: Settlement) -> None:
        """Commit."""
        self._note_tries(entry.tried)
        rows: dict[Table, list[bytes]] = {
            "parked": [event.encode() for event in entry.parked],
            "dead": [event.encode() for event in entry.dead],
        }
        high = self.known.high.copy()
        if entry.parked or entry.dead:
            needed = pages_for([*rows["parked"], *rows["dead"]])
            self.database.do(lambda: self.database.reserve.ensure(needed))
            most = self.database.reserve.most
            # What does not fit into one transaction goes ahead, and counts with the rest of it.
            for table, waiting in rows.items() if needed > most else ():
                while waiting:
                    piece = _cut_off(waiting, most * PAGE // 2)
                    high[table] = self.database.commit(partial(self._insert, table, piece, high[table]))
        self.known.counts, self.known.high = self.database.commit(lambda: self._enter(entry, rows, high))
        self.known.cursors.update(entry.cursors)
        for segment, start, stop in entry.carried:
            self.known.carried.setdefault(segment, Ranges()).add(start, stop)
        if entry.resolved:  # all that lies in the directory counts as used
            with contextlib.suppress(OSError):
                self.database.do(self.database.reserve.give_back)

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

    @_mended
    def page(self, table: Table, after: int, limit: int) -> list[StoredEvent]:
        """Return up to ``limit`` rows with an id above ``after``, by id."""
        connection = self.database.connection
        rows = self.database.do(lambda: connection.execute(page_of(table), (after, limit)).fetchall())
        return [decode_stored_event(row, data) for row, data in in_order(rows, after)]

    @_mended
    def learn(self, name: str, value: str) -> None:
        """Keep what was found out."""
        if self.known.learned.get(name) != value:
            statement = "INSERT OR REPLACE INTO learned VALUES (?, ?)"
            self.database.commit(lambda: self.database.connection.execute(statement, (name, value)))
            self.known.learned[name] = value

    @_mended
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
            self.known.cursors.pop(segment, None)
            if segment in self.known.carried and [*(left := self.known.carried.pop(segment).without(end[0]))]:
                self.known.carried[segment] = left
            self.known.retired[segment] = end
        while len(self.known.retired) > _RETIRED_KEPT:
            del self.known.retired[next(iter(self.known.retired))]

    @_mended
    def overwrite_deleted(self) -> None:
        """Have nothing left of rows that were deleted, neither in the database nor in its log."""
        connection = self.database.connection
        self.database.do(lambda: connection.execute("VACUUM"))
        self.database.do(lambda: connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall())

    def prepare_for(self, size: int) -> None:
        """Come a step nearer to room for a segment of this size, all of which may be refused, and to no more."""
        with contextlib.suppress(OSError):
            self.database.do(lambda: self.database.reserve.prepare_for(size))

    # Their file

    def ensure_open(self) -> None:
        """Open them once more where they could not be when they had been written back.

        Raises:
            DatabaseDamaged: (an OSError) others lie there now, or none.
        """
        if not self.database.is_open:
            finish_renaming(self._path)  # the disk may have refused it
            found = fetched(self._path, "SELECT accepted FROM settled WHERE segment = x''")
            if not found or found[0][0] < self.known.counts.accepted:
                raise DatabaseDamaged(f"the books {self._path} were removed or replaced while they could not be opened")
            self._open()

    @_mended
    def keep_in_place(self) -> None:
        """See that they are where the path leads; else write them back there."""
        if not self.database.is_in_place():
            self._folder.outlast_removal()
            self._write_back("they were removed or replaced while in use")

    def make_safe(self) -> None:
        """Return when all that was settled survives a power cut, in the file that the path leads to.

        If it raises, nothing may be deleted.
        """
        self.keep_in_place()
        try:
            self.database.sync()
        except OSError as error:
            # The kernel may have dropped what it could not write, and would not say so again.
            self._report(DiskRefused(f"the books could not be synced ({error}); they are written anew"))
            self._write_back(f"the disk failed to sync them: {error}")

    def begin_anew(self, why: DatabaseDamaged) -> None:
        """Set the books aside, and begin new ones with all that can be read of them."""
        self.database.abandon()
        self._replace(why)

    def close(self) -> None:
        """Let go of the files; see :meth:`.BooksDatabase.close`."""
        self.database.close()

    def _write_back(self, why: str) -> None:
        kept = write_back(self.database, self._folder)
        where = f"; what lay there is kept as {kept}" if kept else ""
        self._report(QueueDamaged(f"the books {self._path} were written back: {why}{where}"))
        self._open()

    def _replace(self, error: DatabaseDamaged) -> None:
        kept, lost = replace(self._path, self.known, self._folder)
        where = f", the damaged ones are kept as {kept}" if kept else ""
        which = f"parked events and dead letters that could not be read from them: {lost}"
        self._report(QueueDamaged(f"{error}; new ones were begun{where}; {which}"))
        self._open()

    def _open(self) -> None:
        """Open them, or make them. What can be read of damaged ones is known all the same."""
        self.database = BooksDatabase(self._path)
        try:
            self.database.do(self._load)
        except BaseException:
            self.database.abandon()
            raise

    def _load(self) -> None:
        self.known.load(self.database.connection)
        for table, high in self.known.high.items():  # what went ahead of a settlement that was not committed
            self.database.connection.execute(f"DELETE FROM queue_{table} WHERE _id > ?", (high,))  # ours

    def _enter(
        self, entry: Settlement, rows: Mapping[Table, Sequence[bytes]], high: Mapping[Table, int]
    ) -> tuple[QueueStats, dict[Table, int]]:
        connection = self.database.connection
        old = self.known.counts
        gone = 0
        if entry.resolved:
            resolved = [(event.id,) for event in entry.resolved]
            gone = connection.executemany("DELETE FROM queue_parked WHERE _id = ?", resolved).rowcount
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
        reached = {table: self._insert(table, rows[table], high[table]) for table in rows}
        connection.execute(SET_COUNTERS, as_row(counts, reached))
        for segment, cursor in entry.cursors.items():
            connection.execute(SET_CURSOR, (segment, *cursor))
        for segment, start, stop in entry.carried:
            connection.execute("INSERT OR REPLACE INTO carried VALUES (?, ?, ?)", (segment, start, stop))
        return counts, reached

    def _insert(self, table: Table, rows: Sequence[bytes], high: int) -> int:
        """Insert rows behind row ``high``, and return the last one's id."""
        if not rows:
            return high
        now = time.time()
        numbered = [(number, data, now) for number, data in enumerate(rows, high + 1)]
        self.database.connection.executemany(INSERT[table], numbered)
        return high + len(rows)


def _cut_off(rows: list[bytes], most: int) -> list[bytes]:
    """Take rows of up to ``most`` bytes, one at the least, off the beginning."""
    size = len(rows[0])
    count = 1
    while count < len(rows) and (size := size + len(rows[count])) <= most:
        count += 1
    piece = rows[:count]
    del rows[:count]
    return piece
