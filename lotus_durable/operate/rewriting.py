"""Taking events out of what is pending: for an erasure request, and out of a damaged segment.

Segments are never changed. What stays of one is written to a new segment; then one transaction in the books settles the
old one to its end, counts what was taken out, and makes the new one known; then that is published. A kill before the
transaction leaves everything as it was, and one after it is made good by whoever opens the books next: a new segment
that is known and not published takes its name then.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator

from lotus_durable.queue.directory import QUEUE_DB, original_name
from lotus_durable.queue.format import FRAME_HEADER_SIZE, HEADER_SIZE
from lotus_durable.queue.journal import keep_aside
from lotus_durable.queue.protocol import Cursor, Report, Settlement, StoredEvent
from lotus_durable.queue.reader import Damage
from lotus_durable.queue.rows import delete_rows, ensure_rows_id, is_row

from .holding import Held
from .pending import Found, PendingReader
from .segment_file import NewSegments

_ZEROS = bytes(1 << 20)


def take_out(queue: Held, is_wanted: Callable[[bytes], bool], report: Report) -> int:
    """Take what is not wanted out of all that is pending; return how many events that were, counted as discarded.

    An event stays if its record is wanted; a damaged stretch never does.
    """
    directory = queue.directory
    ensure_rows_id(directory)
    concerned = set()
    for found in queue.beating(PendingReader(directory, lambda _: None)):
        if found.damage is not None or not is_wanted(found.record):
            concerned.add(original_name(found.file))
    taken_out = 0
    # Another one, which goes the same way: of an event and its copy it gives the same one.
    reader = PendingReader(directory, report)
    for name in directory.segments() if concerned else ():
        if original_name(name) in concerned:
            # Its writer, if there is one, goes on in another file.
            name = directory.let_go(name)  # noqa: PLW2901  # it is the same segment
            taken_out += _rewrite(queue, name, reader.segment(name), is_wanted, report)
        else:
            for _ in queue.beating(reader.segment(name)):
                pass
    if QUEUE_DB in concerned:
        taken_out += _rewrite(queue, QUEUE_DB, reader.rows(), is_wanted, report)
    return taken_out


def move_rows(queue: Held, report: Report) -> None:
    """Move what can be read of ``queue.db`` into segments."""
    ensure_rows_id(queue.directory)
    _rewrite(queue, QUEUE_DB, PendingReader(queue.directory, report).rows(), lambda _: True, report)


def _rewrite(
    queue: Held, name: str, events: Iterator[Found], is_wanted: Callable[[bytes], bool], report: Report
) -> int:
    carried: list[tuple[bytes, int, int]] = []
    dead: list[StoredEvent] = []
    taken_out = 0
    last: Found | None = None
    with NewSegments(queue.directory) as kept:
        for found in queue.beating(events):
            if found.damage is not None:
                damage = Damage(original_name(name), found.start, found.damage, found.lost)
                keep_aside(queue.directory, damage, report)
                now = time.time()
                dead += [StoredEvent(b"", str(damage), 0, now, now, key=found.key)] * found.lost
            elif is_wanted(found.record):
                kept.add(found.key, found.record)
            else:
                taken_out += 1
            if found.origin is not None:
                size = 1 if is_row(found.origin) else FRAME_HEADER_SIZE + len(found.record)
                carried.append((*found.origin, found.origin[1] + size))
            last = found
        if last is None:
            return 0
        cursors = {**kept.finish(), last.source: Cursor(original_name(name), *last.end)}
        accepted = taken_out + len(dead)
        queue.consumer.settle(
            Settlement(cursors=cursors, accepted=accepted, dead=dead, carried=carried, discarded=taken_out)
        )
        queue.consumer.make_safe()
        kept.publish()
    # Also where a writer that lives keeps the file from being deleted.
    if name == QUEUE_DB:
        delete_rows(queue.directory, queue.consumer.books.known.cursor)
    else:
        overwrite(f"{queue.directory.journal}/{name}", last.end[0])
    return taken_out


def overwrite(path: str, end: int) -> None:
    """Overwrite what is settled of a segment; that it is must be safe from a power cut."""
    with contextlib.suppress(FileNotFoundError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            for start in range(HEADER_SIZE, end, len(_ZEROS)):
                os.pwrite(descriptor, _ZEROS[: end - start], start)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
