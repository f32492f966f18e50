"""What is in the database, and the counting.

==================  ====================================================================================
``queue_pending``   events without a verdict; persist-queue's
``queue_parked``    parked events, and
``queue_dead``      dead letters: the same tables that the journal's leader keeps (:mod:`lotus_durable.queue.books`)
``counters``        one row for each field of :class:`Counters`
``spilled``         how far the segments of the spill are copied (:mod:`.spill`)
==================  ====================================================================================

Rows of ``queue_pending`` are numbered without gaps in the order of their commits (AUTOINCREMENT, and a rollback takes
the number back), and settled in that order. So the counts need no row: the last number ever given is how many were
put, and the number up to which all are settled (``cursor``) is how many of those have a verdict. A gap is damage, and
its size tells how many events it took. Deleting the rows is only tidying up, in the transaction that moves ``cursor``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

from lotus_durable.errors import QueueDamaged

if TYPE_CHECKING:
    import sqlite3

VERSION = 1
PENDING = "pending"

_CREATE = (
    *(
        f"CREATE TABLE IF NOT EXISTS queue_{name} (_id INTEGER PRIMARY KEY AUTOINCREMENT, data BLOB, timestamp FLOAT)"
        for name in ("pending", "parked", "dead")
    ),
    "CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS spilled (segment TEXT PRIMARY KEY, offset INTEGER NOT NULL, sequence INTEGER NOT NULL)",
)


@dataclass(frozen=True, slots=True)
class Counters:
    """What is counted beside the rows; as they are in a new queue."""

    version: int = VERSION
    term: int = 0
    """How many consumers there were; the one that made the last is the only one that may settle."""
    base: int = 0
    """Events accepted that never had a number here: those of a journal before its migration."""
    cursor: int = 0
    """Every pending event up to this number is settled."""
    spilled: int = 0
    """How many events of the spill were copied."""
    delivered: int = 0
    discarded: int = 0
    parked: int = 0
    dead: int = 0


def create(connection: sqlite3.Connection) -> None:
    """Create what is missing.

    Raises:
        QueueDamaged: a newer version made it; nothing was changed.
    """
    present = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'counters'").fetchone()[0]
    if not present or not connection.execute("SELECT count(*) FROM counters").fetchone()[0]:
        connection.execute("BEGIN IMMEDIATE")
        for statement in _CREATE:
            connection.execute(statement)
        if not connection.execute("SELECT count(*) FROM counters").fetchone()[0]:
            write_counters(connection, Counters())
        connection.commit()
    read_counters(connection)


def read_counters(connection: sqlite3.Connection) -> Counters:
    """Return the counters, in the transaction that is open.

    Raises:
        QueueDamaged: a newer version made them.
    """
    found = dict(connection.execute("SELECT name, value FROM counters").fetchall())
    if found.get("version", VERSION) != VERSION:
        raise QueueDamaged("the queue's database is of a newer version of this program; nothing was changed")
    return Counters(**{field.name: found[field.name] for field in fields(Counters) if field.name in found})


def write_counters(connection: sqlite3.Connection, counters: Counters) -> None:
    """Replace the counters, in the transaction that is open."""
    connection.executemany("INSERT OR REPLACE INTO counters VALUES (?, ?)", asdict(counters).items())


def last_number(connection: sqlite3.Connection, counters: Counters) -> int:
    """Return the last number that was ever given to a pending event."""
    given = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'queue_pending'").fetchone()
    highest = connection.execute("SELECT max(_id) FROM queue_pending").fetchone()[0]
    return max(given[0] if given else 0, highest or 0, counters.cursor)


def bytes_in_use(connection: sqlite3.Connection) -> int:
    """Return the bytes of all pages that hold something, whichever table's."""
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def read_spilled(connection: sqlite3.Connection) -> Mapping[str, tuple[int, int]]:
    """Return for each segment of the spill how far it is copied: offset and sequence."""
    rows = connection.execute("SELECT segment, offset, sequence FROM spilled").fetchall()
    return {segment: (offset, sequence) for segment, offset, sequence in rows}
