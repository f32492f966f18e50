"""Every event that lies in a queue, wherever: pending, parked, dead letters, quarantine, and what is kept.

Nothing is locked, opened for writing or changed. So this works on a queue in use, a damaged one, and a copy of one. The
database is read a page at a time, by a connection that is closed before the page is given out: so a reader that stops
in the middle (a pager) does not keep the flusher from writing its log back. Memory holds one page, however many events
there are.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Literal, TypeAlias

import msgpack

from lotus_durable.errors import LotusError
from lotus_durable.event.record import Event, RecordError, decode_record
from lotus_durable.flusher.surroundings import content_of
from lotus_durable.queue.books import read_page
from lotus_durable.queue.directory import QUEUE_DB, QueueDirectory
from lotus_durable.queue.files import regular_file_status
from lotus_durable.queue.identity import NO_KEY
from lotus_durable.queue.kept import kept_files
from lotus_durable.queue.protocol import StoredEvent, Table
from lotus_durable.queue.table import read_pages
from lotus_durable.values import NamedTuple

from .pending import Found, PendingReader, records_of
from .where import ANY, Where

State: TypeAlias = Literal["pending", "parked", "dead_letter", "quarantined", "kept"]
TABLES: dict[State, Table] = {"parked": "parked", "dead_letter": "dead"}
PAGE = 500
"""Rows read at once."""

Report = Callable[[LotusError], None]


class Stored(NamedTuple):
    """One event, and where it is."""

    state: State
    event: Event | None
    """None where it cannot be read."""
    reason: str = ""
    """Why it was refused, or what is wrong with it."""
    attempts: int = 0
    since: float | None = None
    """When it was first refused, seconds since the epoch."""
    tried: float | None = None
    """When it was last refused, seconds since the epoch."""
    row: int = 0
    """Of the database, to go on from."""
    place: str = ""
    """The file, and where in it."""
    data: bytes = b""
    """What is there, where it cannot be read."""
    key: bytes = NO_KEY
    """The fingerprint of the API key under which it was tracked."""


def stored_events(
    directory: QueueDirectory, states: Sequence[State], where: Where = ANY, report: Report = lambda _: None
) -> Iterator[Stored]:
    """Give the events in these states that are meant, state by state."""
    now = time.time()
    for state in states:
        for stored in _in_state(directory, state, report):
            if takes(where, stored, now):
                yield stored


def refused_page(
    directory: QueueDirectory, table: Table, where: Where, after: int, limit: int
) -> tuple[list[Stored], int | None]:
    """Return up to ``limit`` refused events behind a row, and the row to go on behind; None where no more follow."""
    now = time.time()
    after = min(after, sys.maxsize)  # SQLite knows no larger one
    found: list[Stored] = []
    while rows := read_page(directory.books, table, after, PAGE):
        for row in rows:
            stored = as_stored(row, table)
            if takes(where, stored, now):
                if len(found) == limit:
                    return found, after
                found.append(stored)
            after = row.id
    return found, None


def as_stored(row: StoredEvent, table: Table) -> Stored:
    """Return a row of the books as what is shown of it."""
    event, wrong = _decoded(row.record)
    return Stored(
        "parked" if table == "parked" else "dead_letter",
        event,
        row.reason or wrong,
        row.attempts,
        row.since,
        row.tried,
        row.id,
        f"books.db, row {row.id}",
        row.record if event is None else b"",
        row.key,
    )


def _in_state(directory: QueueDirectory, state: State, report: Report) -> Iterator[Stored]:
    table = TABLES.get(state)
    if table is not None:
        rows = read_pages(partial(read_page, directory.books, table), lambda row: row.id, report)
        yield from (as_stored(row, table) for row in rows)
    elif state == "pending":
        for found in PendingReader(directory, report):
            yield _pending(found)
    elif state == "quarantined":
        yield from _quarantined(directory)
    elif state == "kept":
        for file in sorted(kept_files(directory)):
            for record, key in records_of(file.path):
                event, wrong = _decoded(record)
                yield Stored("kept", event, wrong, place=f"kept/{os.path.basename(file.path)}", key=key)


def _pending(found: Found) -> Stored:
    place = (
        f"{found.file}, row {found.start}" if found.file == QUEUE_DB else f"journal/{found.file}, byte {found.start}"
    )
    if found.damage is not None:
        return Stored("pending", None, "damaged", place=place, data=found.damage, key=found.key)
    event, wrong = _decoded(found.record)
    return Stored("pending", event, wrong, place=place, data=found.record if event is None else b"", key=found.key)


def _quarantined(directory: QueueDirectory) -> Iterator[Stored]:
    with contextlib.suppress(FileNotFoundError):
        for name in sorted(os.listdir(directory.quarantine)):
            path = f"{directory.quarantine}/{name}"
            with contextlib.suppress(OSError):
                if regular_file_status(path) is not None:  # `repair` moves pipes there, too
                    yield Stored("quarantined", None, "damaged", place=f"quarantine/{name}", data=content_of(path))


def takes(where: Where, stored: Stored, now: float) -> bool:
    """Whether an event is meant; of bytes that are no event, whether a part of one of this customer may be in them."""
    if where.up_to is not None and stored.row > where.up_to:
        return False
    if stored.event is None and where.customer_id is not None:
        return where._replace(customer_id=None).is_everything() and may_be_of(where.customer_id, stored.data)
    return where.takes(stored.event, stored.reason, now)


def may_be_of(customer_id: str, data: bytes) -> bool:
    """Whether bytes that are no event, or one of many, hold a customer's id as a record does."""
    return bool(customer_id) and msgpack.packb(customer_id) in data


def _decoded(record: bytes) -> tuple[Event | None, str]:
    if not record:
        return None, "nothing of it can be read"
    try:
        return decode_record(record), ""
    except RecordError as error:
        return None, str(error)
