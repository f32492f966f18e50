"""Looking at every byte of a queue, and changing none: each frame of each segment, and the databases."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from itertools import chain

from lotus_durable.disk import DatabaseDamaged
from lotus_durable.errors import QueueDamaged
from lotus_durable.log import counted
from lotus_durable.queue.contents import Known, read_all
from lotus_durable.queue.directory import QueueDirectory, is_kind
from lotus_durable.queue.files import regular_file_status
from lotus_durable.queue.format import UnknownFormat
from lotus_durable.queue.identity import LaterFormat, read_identity
from lotus_durable.queue.protocol import Table
from lotus_durable.queue.reader import SegmentReader
from lotus_durable.queue.table import fetched
from lotus_durable.values import NamedTuple

from . import Watch, unwatched
from .pending import read_known, source_of

_AT_ONCE = 4096
"""Frames."""
_SEGMENT, _UNFINISHED = ".seg", ".new"


class Finding(NamedTuple):
    """Something that is not as it should be."""

    path: str
    """In the queue directory."""
    offset: int | None
    """The byte, or the row of a database, where it begins."""
    what: str
    lost: str
    """What is lost by it, in words; empty if nothing is."""
    remedy: str
    """What can be done, or is done by itself; empty: nothing, and :func:`.repair` leaves it alone."""


class Checked:
    """What was looked at.

    Attributes:
        files, bytes, events: how much.
        findings: what is wrong, the first ten thousand.
        damaged: how many are wrong.
    """

    def __init__(self) -> None:
        self.files: int = 0
        self.bytes: int = 0
        self.events: int = 0
        self.damaged: int = 0
        self.findings: list[Finding] = []

    def add(self, finding: Finding) -> None:
        """Take note of one."""
        self.damaged += 1
        if len(self.findings) < _MOST_FINDINGS:
            self.findings.append(finding)


_MOST_FINDINGS = 10_000
_LATER = "use a newer version of lotus-durable; nothing of it is touched"
_BY_REPAIR = "`lotus-durable repair` keeps the bytes in quarantine/ and goes on behind them; so does the flusher"


def check(directory: QueueDirectory, watch: Watch = unwatched) -> Checked:
    """Look at everything; ``watch`` is told how many bytes that were."""
    found = Checked()
    for finding in chain(
        _of_identity(directory), _of_books(directory, found), _of_rows(directory), _of_journal(directory, found, watch)
    ):
        found.add(finding)
    return found


def _of_journal(directory: QueueDirectory, found: Checked, watch: Watch) -> Iterator[Finding]:
    known = read_known(directory, lambda _: None)
    for name in sorted(os.listdir(directory.journal)):
        path = f"journal/{name}"
        found.files += 1
        try:
            status = regular_file_status(f"{directory.root}/{path}")
            if status is None:
                yield Finding(path, None, "it is no regular file", "", "`repair` moves it aside; it is never followed")
            elif is_kind(name, _SEGMENT):
                yield from _of_segment(SegmentReader(f"{directory.root}/{path}"), known, found, watch)
            elif not is_kind(name, _UNFINISHED):
                yield Finding(path, None, "it is no segment", "", "`repair` moves it aside")
            found.bytes += 0 if status is None else status.st_size
            watch(found.bytes)
        except FileNotFoundError:
            continue  # settled meanwhile
        except UnknownFormat as error:
            yield Finding(path, 0, str(error), "", _LATER)
        except OSError as error:
            yield _unreadable(path, error)


def _of_segment(reader: SegmentReader, known: Known, found: Checked, watch: Watch) -> Iterator[Finding]:
    with contextlib.closing(reader):
        settled, _ = known.cursor(source_of(reader, reader.name))
        while (stretch := reader.read(_AT_ONCE)) is not None:
            found.events += len(stretch.records)
            watch(found.bytes + stretch.positions[-1][0])
            damage = stretch.damage
            if damage is not None and damage.offset >= settled:
                what, lost = f"{len(damage.data)} bytes are no event", counted(damage.events, "event")
                yield Finding(f"journal/{reader.name}", damage.offset, what, lost if damage.events else "", _BY_REPAIR)


def _of_identity(directory: QueueDirectory) -> Iterator[Finding]:
    try:
        read_identity(directory)
    except LaterFormat as error:
        yield Finding("identity", 0, str(error), "", _LATER)
    except QueueDamaged as error:
        yield Finding("identity", 0, str(error), "", "`repair` makes a new one; nothing depends on the old one")
    except OSError as error:
        yield _unreadable("identity", error)


def _of_books(directory: QueueDirectory, found: Checked) -> Iterator[Finding]:
    remedy = "`repair` begins new books with all that can be read, and keeps these; so does the flusher"
    lost = (
        "parked events and dead letters that cannot be read; what was delivered lately may be sent again with its ids"
    )
    try:
        for problem in _quick_check(directory.books):
            yield Finding("books.db", None, problem, lost, remedy)
        # One statement sees one moment: a flusher may be at work.
        for accepted, delivered, handed_over, parked, dead, discarded, *found_rows in fetched(directory.books, _COUNTS):
            if accepted != delivered + handed_over + parked + dead + discarded:
                yield Finding("books.db", None, "its counts do not add up", "", "please report it")
            tables: tuple[tuple[Table, int], ...] = (("parked", parked), ("dead", dead))
            for (table, expected), rows in zip(tables, found_rows, strict=True):
                if rows != expected:
                    what = f"{expected} rows are counted in queue_{table}, and {rows} can be read"
                    yield Finding("books.db", None, what, counted(max(0, expected - rows), "event"), remedy)
                for row in read_all(directory.books, table, lambda _: None):
                    if not row.record and row.reason.startswith("row "):
                        yield Finding("books.db", row.id, row.reason, "1 event", "it stays, as a dead letter")
    except OSError as error:
        yield _of_database("books.db", error, lost, remedy)
    with contextlib.suppress(OSError):
        found.bytes += os.stat(directory.books).st_size
        found.files += 1


_COUNTS = """\
SELECT accepted, delivered, handed_over, parked, dead_lettered, discarded,
(SELECT count(*) FROM queue_parked WHERE _id <= parked_high), (SELECT count(*) FROM queue_dead WHERE _id <= dead_high)
FROM settled WHERE segment = x''"""


def _of_rows(directory: QueueDirectory) -> Iterator[Finding]:
    lost = "events whose rows cannot be read"
    try:
        for problem in _quick_check(directory.queue_db):
            yield Finding(
                "queue.db", None, problem, lost, "`repair` moves what can be read into a segment, and keeps it"
            )
    except OSError as error:
        yield _of_database("queue.db", error, lost, "`repair` moves it aside; programs make a new one")


def _of_database(name: str, error: OSError, lost: str, remedy: str) -> Finding:
    """Return what is wrong with a database; one that is not damaged, and cannot be read now, is to be left alone."""
    if isinstance(error, DatabaseDamaged):
        return Finding(name, None, str(error), lost, remedy)
    return _unreadable(name, error)


def _unreadable(path: str, error: OSError) -> Finding:
    return Finding(path, None, f"it cannot be read: {error.strerror}", "what is in it, unless that changes", "")


def _quick_check(path: str) -> list[str]:
    found = [str(row[0]) for row in fetched(path, "PRAGMA quick_check(20)")]
    return [] if found == ["ok"] else found
