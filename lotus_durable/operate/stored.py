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
from collections.abc import Iterator, Sequence
from mmap import mmap
from typing import Literal, TypeAlias

import msgpack

from lotus_durable.event.record import Event, RecordError, decode_record
from lotus_durable.queue.contents import read_all
from lotus_durable.queue.directory import QUEUE_DB, QueueDirectory
from lotus_durable.queue.files import open_to_read, regular_file_status
from lotus_durable.queue.identity import NO_KEY
from lotus_durable.queue.kept import kept_files
from lotus_durable.queue.protocol import Report, StoredEvent, Table
from lotus_durable.values import NamedTuple

from . import ANY, Where
from .pending import Found, PendingReader, records_of

State: TypeAlias = Literal["pending", "parked", "dead_letter", "quarantined", "kept"]
_PIECE = 1 << 20
"""Bytes of a damaged file that are given at once."""
TABLES: dict[State, Table] = {"parked": "parked", "dead_letter": "dead"}


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
    directory: QueueDirectory,
    states: Sequence[State],
    where: Where = ANY,
    report: Report = lambda _: None,
    after: int = 0,
) -> Iterator[Stored]:
    """Give the events in these states that are meant, state by state; of refused ones those behind row ``after``."""
    now = time.time()
    for state in states:
        for stored in _in_state(directory, state, report, min(after, sys.maxsize)):  # SQLite knows no larger one
            if takes(where, stored, now):
                yield stored


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


def _in_state(directory: QueueDirectory, state: State, report: Report, after: int) -> Iterator[Stored]:
    table = TABLES.get(state)
    if table is not None:
        yield from (as_stored(row, table) for row in read_all(directory.books, table, report, after))
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


def quarantined_files(directory: QueueDirectory) -> Iterator[str]:
    """Give the paths of the files of damaged bytes; `repair` moves pipes there, too, and books may be large."""
    with contextlib.suppress(FileNotFoundError):
        for name in sorted(os.listdir(directory.quarantine)):
            path = f"{directory.quarantine}/{name}"
            with contextlib.suppress(FileNotFoundError):  # one that somebody takes away hides no other
                if regular_file_status(path) is not None:
                    yield path


def _quarantined(directory: QueueDirectory) -> Iterator[Stored]:
    for path in quarantined_files(directory):
        with contextlib.suppress(OSError), open(open_to_read(path), "rb") as file:
            offset = 0
            while (data := file.read(_PIECE)) or not offset:
                place = f"quarantine/{os.path.basename(path)}" + (f", byte {offset}" if offset else "")
                yield Stored("quarantined", None, "damaged", place=place, data=data)
                offset += len(data) or 1


def takes(where: Where, stored: Stored, now: float) -> bool:
    """Whether an event is meant; of bytes that are no event, whether a part of one of this customer may be in them."""
    event = stored.event
    if where.up_to is not None and stored.row > where.up_to:
        return False
    if where.reason is not None and not (where.reason and where.reason.lower() in stored.reason.lower()):
        return False
    if event is None:
        is_of_any = where._replace(reason=None, up_to=None, customer_id=None) == ANY
        return is_of_any and (where.customer_id is None or may_be_of(where.customer_id, stored.data))
    return (
        (where.ids is None or event.idempotency_id in where.ids)
        and (where.customer_id is None or event.customer_id == where.customer_id)
        and (where.event_name is None or event.event_name == where.event_name)
        and (where.older_than is None or now - event.accepted_at >= where.older_than)
        and (where.newer_than is None or now - event.accepted_at <= where.newer_than)
    )


def may_be_of(customer_id: str, data: bytes | mmap) -> bool:
    """Whether bytes that are no event, or one of many, hold a customer's id as a record does."""
    return bool(customer_id) and data.find(msgpack.packb(customer_id)) >= 0


def _decoded(record: bytes) -> tuple[Event | None, str]:
    if not record:
        return None, "nothing of it can be read"
    try:
        return decode_record(record), ""
    except RecordError as error:
        return None, str(error)
