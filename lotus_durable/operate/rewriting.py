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

from lotus_durable.queue.directory import QUEUE_DB, QueueDirectory, original_name
from lotus_durable.queue.format import FRAME_HEADER_SIZE, HEADER_SIZE
from lotus_durable.queue.journal import keep_aside
from lotus_durable.queue.protocol import Cursor, Settlement, StoredEvent
from lotus_durable.queue.reader import Damage
from lotus_durable.queue.rows import delete_rows, ensure_rows_id, is_row

from .holding import Held
from .pending import Found, PendingReader, Report
from .segment_file import NewSegments

_ZEROS = bytes(1 << 20)


class Rewriting:
    """Takes what is not wanted out of all that is pending.

    Attributes:
        taken_out: events that are gone, counted as discarded.

    An event stays if ``is_wanted``; a damaged stretch never does.
    """

    def __init__(
        self, directory: QueueDirectory, queue: Held, is_wanted: Callable[[Found], bool], report: Report
    ) -> None:
        self._directory = directory
        self._queue = queue
        self._is_wanted = is_wanted
        self._report = report
        self.taken_out: int = 0

    def run(self) -> None:
        """Do it, file by file."""
        ensure_rows_id(self._directory)
        reader = PendingReader(self._directory, lambda _: None)
        concerned = {original_name(found.file) for found in reader if self._is_to_go(found)}
        # Another one, which goes the same way: of an event and its copy it gives the same one.
        reader = PendingReader(self._directory, self._report)
        for name in self._directory.segments() if concerned else ():
            if original_name(name) in concerned:
                # Its writer, if there is one, goes on in another file.
                name = self._directory.let_go(name)  # noqa: PLW2901  # it is the same segment
                self._rewrite(name, reader.segment(name))
            else:
                for _ in reader.segment(name):
                    self._queue.control.beat_if_due()
        if QUEUE_DB in concerned:
            self._rewrite(QUEUE_DB, reader.rows())

    def move_rows(self) -> None:
        """Move what can be read of ``queue.db`` into segments."""
        ensure_rows_id(self._directory)
        self._rewrite(QUEUE_DB, PendingReader(self._directory, self._report).rows())

    def _is_to_go(self, found: Found) -> bool:
        self._queue.control.beat_if_due()
        return found.damage is not None or not self._is_wanted(found)

    def _rewrite(self, name: str, events: Iterator[Found]) -> None:
        carried: list[tuple[bytes, int, int]] = []
        dead: list[StoredEvent] = []
        taken_out = 0
        last: Found | None = None
        with NewSegments(self._directory) as kept:
            for found in events:
                self._queue.control.beat_if_due()
                if found.damage is not None:
                    dead += self._keep_damage(found)
                elif self._is_wanted(found):
                    kept.add(found.key, found.record)
                else:
                    taken_out += 1
                if found.origin is not None:
                    size = 1 if is_row(found.origin) else FRAME_HEADER_SIZE + len(found.record)
                    carried.append((*found.origin, found.origin[1] + size))
                last = found
            if last is None:
                return
            cursors = {**kept.finish(), last.source: Cursor(original_name(name), *last.end)}
            accepted = taken_out + len(dead)
            self._queue.consumer.settle(
                Settlement(cursors=cursors, accepted=accepted, dead=dead, carried=carried, discarded=taken_out)
            )
            self._queue.consumer.make_safe()
            kept.publish()
        self.taken_out += taken_out
        # Also where a writer that lives keeps the file from being deleted.
        if name == QUEUE_DB:
            delete_rows(self._directory, {last.source: last.end})
        else:
            overwrite(f"{self._directory.journal}/{name}", last.end[0])

    def _keep_damage(self, found: Found) -> list[StoredEvent]:
        """Put damaged bytes into the quarantine; return the dead letters that stand for the events in them."""
        assert found.damage is not None
        damage = Damage(original_name(found.file), found.start, found.damage, found.lost)
        keep_aside(self._directory, damage, self._report)
        now = time.time()
        return [StoredEvent(b"", str(damage), 0, now, now, key=found.key)] * found.lost


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
