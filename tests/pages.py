"""What lies in the books, a page at a time, whoever has them open."""

from __future__ import annotations

from lotus_durable.queue.contents import page_of
from lotus_durable.queue.protocol import StoredEvent, Table, decode_stored_event
from lotus_durable.queue.table import fetched


def read_page(path: str, table: Table, after: int, limit: int) -> list[StoredEvent]:
    """Return up to so many rows behind one; none where there are no books."""
    return [decode_stored_event(row, data) for row, data in fetched(path, page_of(table), (after, limit))]
