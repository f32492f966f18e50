"""How many events wait under which API key, from any process."""

from __future__ import annotations

import contextlib
from collections import Counter

from .books import read_page
from .directory import QueueDirectory, original_name
from .format import UnknownFormat
from .heartbeat import read_progress
from .reader import BEGINNING, glance

_PAGE = 500


def count_by_key(directory: QueueDirectory) -> Counter[bytes]:
    """Return how many events are pending or parked, by the fingerprint of the key that they were tracked under.

    What was appended through SQLite is not among them until a flusher has parked it.
    """
    found: Counter[bytes] = Counter()
    cursor = read_progress(directory).cursor
    for name in directory.segments():
        position = max(BEGINNING, cursor.get(original_name(name), BEGINNING))
        with contextlib.suppress(OSError, UnknownFormat):  # retired meanwhile, or of a later version
            seen = glance(f"{directory.journal}/{name}", position)
            if seen.header is not None and seen.frames > position[1]:
                found[seen.header.key] += seen.frames - position[1]
    after = 0
    while page := read_page(directory.books, "parked", after, _PAGE):
        after = page[-1].id
        found.update(event.key for event in page)
    return found
