"""Filling new books with what is known of damaged ones, in memory, and can be read of them, on the disk."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

from lotus_durable.disk import DatabaseDamaged, is_file

from .books import Books
from .database import WHAT, read_only
from .protocol import StoredEvent, Table
from .schema import INSERT, SET_COUNTERS, SET_CURSOR, as_row
from .table import mapped_errors, read_pages

_FEW = 1_000  # rows taken over in one transaction


def take_over(unfinished: str, old: Books, path: str) -> int:
    """Enter into new, empty books what is known of damaged ones; return how many rows are lost."""
    with mapped_errors(WHAT), contextlib.closing(sqlite3.connect(unfinished)) as connection:
        lost = _take_over_rows(connection, old, path)
        many = connection.executemany
        many(SET_CURSOR, [(segment, *cursor) for segment, cursor in old.cursors.items()])
        ranges = [(segment, *each) for segment, of_segment in old.carried.items() for each in of_segment]
        many("INSERT INTO carried VALUES (?, ?, ?)", ranges)
        retired = [(segment, *end) for segment, end in old.retired.items()]
        many("INSERT INTO retired (segment, offset, sequence) VALUES (?, ?, ?)", retired)
        many("INSERT INTO learned VALUES (?, ?)", old.learned.items())
        connection.commit()
    return lost


def _take_over_rows(connection: sqlite3.Connection, old: Books, path: str) -> int:
    """Enter the rows that can be read, a dead letter for each that cannot, and the counters."""
    was = old.counts
    lost = 0
    found = {"parked": 0, "dead": 0}
    high = old.high.copy()
    now = time.time()
    tables: tuple[tuple[Table, int], ...] = (("parked", was.parked), ("dead", was.dead_lettered))
    for table, count in tables:
        rows = _readable(path, table, high[table])
        while page := list(islice(rows, _FEW)):
            statement = f"INSERT INTO queue_{table} VALUES (?, ?, {now})"  # noqa: S608  # ours
            connection.executemany(statement, page)
            connection.commit()
            found[table] += len(page)
            high[table] = max(high[table], page[-1][0])
        lost += max(0, count - found[table])
    # No row gets an id that another one had.
    connection.execute("DELETE FROM sqlite_sequence")
    names = ((f"queue_{table}", number) for table, number in high.items())
    connection.executemany("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", names)
    letter = StoredEvent(b"", "it was a parked event or a dead letter, in books that are damaged", 0, now, now).encode()
    connection.executemany(INSERT["dead"], ((letter, now) for _ in range(lost)))
    high["dead"] += lost
    dead = found["dead"] + lost
    accepted = was.delivered + was.handed_over + was.discarded + found["parked"] + dead
    counts = was._replace(accepted=accepted, parked=found["parked"], dead_lettered=dead)
    connection.execute(SET_COUNTERS, as_row(counts, high))
    return lost


def _readable(path: str, table: Table, high: int) -> Iterator[tuple[int, Any]]:
    """Give the rows of a damaged database that can be read, up to row ``high`` if that is known, by id."""
    last = f"_id <= {high}" if high else "1"
    statement = f"SELECT _id, data FROM queue_{table} WHERE _id >= ? + 1 AND {last} ORDER BY _id LIMIT ?"  # noqa: S608  # ours
    if not is_file(path):
        return
    with contextlib.suppress(sqlite3.Error), contextlib.closing(read_only(path)) as connection:

        def page(after: int, limit: int) -> list[tuple[int, Any]]:
            try:
                return connection.execute(statement, (after, limit)).fetchall()
            except sqlite3.DatabaseError as error:  # whatever it is: what is behind it may be readable
                raise DatabaseDamaged(str(error)) from error

        yield from read_pages(page, lambda row: row[0], lambda _: None)
