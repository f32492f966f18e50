"""Beginning new books with what is known of damaged ones, in memory, and can be read of them, on the disk."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator, Sequence
from itertools import islice

from .books import Books
from .database import read_only
from .protocol import StoredEvent, Table, decode_stored_event
from .reserve import pages_for
from .schema import SET_COUNTERS, SET_CURSOR, Entry, as_row

_FEW = 100  # rows taken over in one transaction
_MOST_UNREADABLE = 1000
"""Rows that are tried one by one behind a page that cannot be read."""


def take_over(new: Books, old: Books, path: str) -> int:
    """Enter into new books what is known of damaged ones; return how many rows are lost.

    Raises:
        OSError: the disk refuses.
    """
    _begin_with(new, old)
    lost = 0
    tables: tuple[tuple[Table, int, int], ...] = (
        ("parked", old.counts.parked, old.high["parked"]),
        ("dead", old.counts.dead_lettered, old.high["dead"]),
    )
    for table, count, high in tables:
        found = 0
        rows = _readable(path, table, high)
        while page := list(islice(rows, _FEW)):
            found += len(page)
            _enter_rows(new, table, page)
        lost += max(0, count - found)
    now = time.time()
    letter = StoredEvent(b"", "it was a parked event or a dead letter, in books that are damaged", 0, now, now)
    for start in range(0, lost, _FEW):
        letters = [letter] * min(_FEW, lost - start)
        new.settle(Entry(accepted=len(letters), dead=letters))
    return lost


def _readable(path: str, table: Table, high: int) -> Iterator[StoredEvent]:
    """Give the rows of a damaged database that can be read, up to row ``high`` if that is known, by id."""
    condition = f"<= {high}" if high else "> 0"
    row = 0
    missed = 0
    try:
        with contextlib.closing(read_only(path)) as connection:
            while missed <= _MOST_UNREADABLE:
                operator = "=" if missed else ">"
                where = f"_id {operator} ? AND _id {condition}"
                statement = f"SELECT _id, data FROM queue_{table} WHERE {where} LIMIT 1"  # noqa: S608  # ours
                try:
                    found = connection.execute(statement, (row + missed,)).fetchone()
                except sqlite3.DatabaseError:
                    found = None
                    missed += 1
                else:
                    if found is None and not missed:
                        return
                    missed += 1 if found is None else -missed
                if found is not None:
                    row = found[0]
                    yield decode_stored_event(*found)
    except sqlite3.Error:
        return


def _begin_with(new: Books, old: Books) -> None:
    """Enter, into new books, what others have in memory; the rows are not there.

    Raises:
        OSError: the disk refuses.
    """
    was = old.counts
    counts = was._replace(accepted=was.delivered + was.discarded, parked=0, dead_lettered=0)
    carried = [(segment, *each) for segment, ranges in old.carried.items() for each in ranges]

    def work() -> None:
        execute = new.database.connection.executemany
        execute(SET_COUNTERS, [as_row(counts, old.high)])
        execute(SET_CURSOR, [(segment, *cursor) for segment, cursor in old.cursors.items()])
        execute("INSERT INTO carried VALUES (?, ?, ?)", carried)
        retired = [(segment, *end) for segment, end in old.retired.items()]
        execute("INSERT INTO retired (segment, offset, sequence) VALUES (?, ?, ?)", retired)
        execute("INSERT INTO learned VALUES (?, ?)", old.learned.items())
        # No row gets an id that another one had.
        high = [(f"queue_{table}", row) for table, row in old.high.items()]
        execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", high)

    needed = 4 + (len(old.cursors) + len(old.retired) + len(carried)) // 10
    new.database.do(lambda: new.database.reserve.ensure(needed))
    new.database.commit(work)
    new.counts, new.high = counts, old.high.copy()
    for chunk in old.delivered.chunks:
        new.know(chunk.digests)


def _enter_rows(new: Books, table: Table, events: Sequence[StoredEvent]) -> None:
    """Enter, into new books, rows of others, with their ids.

    Raises:
        OSError: the disk refuses.
    """
    now = time.time()
    rows = [(event.id, event.encode(), now) for event in events]
    counts = new.counts._replace(accepted=new.counts.accepted + len(rows))
    if table == "parked":
        counts = counts._replace(parked=counts.parked + len(rows))
    else:
        counts = counts._replace(dead_lettered=counts.dead_lettered + len(rows))
    high = {**new.high, table: max(new.high[table], events[-1].id)}

    def work() -> None:
        new.database.connection.executemany(f"INSERT INTO queue_{table} VALUES (?, ?, ?)", rows)  # noqa: S608
        new.database.connection.execute(SET_COUNTERS, as_row(counts, high))

    new.database.do(lambda: new.database.reserve.ensure(pages_for(row[1] for row in rows)))
    new.database.commit(work)
    new.counts, new.high = counts, high
