"""Reading, when all is over, where each event is: at the server, in the store, or in the journal. Read only."""

from __future__ import annotations

from collections.abc import Iterator

from lotus_durable.event.record import decode_record
from lotus_durable.queue.books import Store, Table
from lotus_durable.queue.cursor import StoreMarks, load_state
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.reader import BEGINNING, SegmentReader

_PAGE = 500


def parked_ids(directory: QueueDirectory) -> list[str]:
    """Return the ids of the parked events, from their records."""
    return list(_stored(directory, "parked", load_state(directory).parked))


def dead_ids(directory: QueueDirectory) -> list[str]:
    """Return the ids of the dead letters, from their records."""
    return list(_stored(directory, "dead", load_state(directory).dead))


def pending_ids(directory: QueueDirectory) -> list[str]:
    """Return the ids of the events that the journal holds behind the cursor."""
    cursor = load_state(directory).cursor
    ids: list[str] = []
    for name in directory.segments():
        reader = SegmentReader(directory.journal / name, cursor.get(name, BEGINNING))
        try:
            while (stretch := reader.read(_PAGE)) is not None:
                ids += [decode_record(record).idempotency_id for record in stretch.records]
        finally:
            reader.close()
    return ids


def _stored(directory: QueueDirectory, table: Table, marks: StoreMarks) -> Iterator[str]:
    store = Store(directory.store)
    after = 0
    while page := store.page(table, after, marks.high, _PAGE):
        for event in page:
            if event.id not in marks.removing:
                yield decode_record(event.record).idempotency_id
        after = page[-1].id
