"""The journal, as the flusher has it: read pass by pass, each segment from where the last pass ended, and retired.

Settled segments are deleted if nobody writes them any more; else, if large, their writers are made to begin others.

It is one file, because both go by what is known of each segment.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections import deque
from collections.abc import Iterable

from lotus_durable.clock import monotonic
from lotus_durable.errors import QueueDamaged

from .books import Books
from .counting import look_at
from .directory import QueueDirectory, make_directory, original_name
from .files import opened_to_read, regular_file_status, sync_path, write_synced
from .format import UnknownFormat
from .kept import KeptSegments
from .protocol import Report
from .reader import BEGINNING, Chunk, Damage, Position, SegmentReader
from .repeats import Repeats, Segment
from .rows import DELETING_TAKES
from .writer import is_abandoned

_LARGE = 4 * 1024 * 1024
_SMALL = 256 * 1024
_ALL_LIVE = 64 * 1024 * 1024
"""Bytes that are settled in the segment of a writer that lives, above which it is let go: the less, the more there are,
so that they stay below the last number together. A writer that is let go carries 50 ms of its frames over."""
_FORGET_INTERVAL = 1.0
"""Seconds for which segments that were deleted stay in the books, but not so that there are many."""
_MANY = 5_000


class Journal:
    """Reads and retires segments; one that cannot be read is reported once, and hides no other.

    Attributes:
        largest: the size of the largest segment met.
        deleted: where segments ended that were deleted and are still in the books.
    """

    def __init__(
        self, directory: QueueDirectory, repeats: Repeats, books: Books, kept: KeptSegments, report: Report
    ) -> None:
        self._directory = directory
        self._repeats = repeats
        self._books = books
        self._kept = kept
        self._report = report
        self.largest: int = 0
        self.deleted: dict[bytes, Position] = {}
        self._forgot_at = -math.inf
        self._ids: dict[str, bytes] = {}
        self._names: deque[str] = deque()
        self._current: tuple[Segment, SegmentReader] | None = None
        self._odd: dict[str, str] = {}

    def begin_pass(self) -> list[str]:
        """List the segments, and return their names; what comes later is for the next pass."""
        names = self._directory.segments()
        self._odd = {name: self._odd[name] for name in names if name in self._odd}
        # Those that were released first: they end soon, and their disk may be failing.
        self._names.extend(name for name in names if original_name(name) != name)
        self._names.extend(name for name in names if original_name(name) == name)
        return names

    def read(self, limit: int) -> Chunk | None:
        """Return the next chunk of this pass, or None at its end."""
        while self._current is not None or self._open_next():
            if (chunk := self._read_current(limit)) is not None:
                return chunk
        return None

    def has_pending(self) -> bool:
        """Whether there is something to read now, by the sizes of the files alone."""
        for name in self._directory.segments():
            if name not in self._odd:
                segment = self._known(name)
                try:
                    if segment is None or os.stat(f"{self._directory.journal}/{name}").st_size != segment.seen:
                        return True
                except OSError:
                    continue
        return False

    def left_alone(self) -> tuple[int, list[str]]:
        """Return how many events lie, at the least, in segments that cannot be read, and why not, for each segment."""
        events = 0
        reasons = []
        for name, why in self._odd.items():
            segment = self._known(name)
            position = BEGINNING if segment is None else max(BEGINNING, self._repeats.cursor(segment.id))
            seen = look_at(f"{self._directory.journal}/{name}", position)
            if seen is not None and seen.frames > position[1]:
                events += seen.frames - position[1]
                reasons.append(f"journal/{name}: {why}")
        return events, reasons

    def close(self) -> None:
        """Let go of the open segment."""
        if self._current is not None:
            self._current[1].close()
            self._current = None

    # Retiring

    def done(self) -> list[Segment]:
        """Return the segments that are settled up to their ends.

        By the sequence: a torn tail behind the last event needs no settling, and a segment without events neither.
        """
        segments = self._repeats.segments.values()
        return [each for each in segments if each.ended and self._repeats.cursor(each.id)[1] == each.read[1]]

    def delete(self, done: Iterable[Segment]) -> None:
        """Delete them, for up to a second; the books must be safe from a power cut."""
        ends = monotonic() + DELETING_TAKES
        for segment in done:
            if monotonic() > ends:
                return
            path = f"{self._directory.journal}/{segment.name}"
            with contextlib.suppress(FileNotFoundError):
                if os.stat(path).st_size != segment.seen:
                    segment.ended = False  # somebody has brought more: it is read again
                    continue
                self._kept.take(path)
            self.deleted[segment.id] = segment.read
            self._repeats.segments.pop(segment.id, None)
            self._ids.pop(original_name(segment.name), None)

    def forget_deleted(self, *, now: bool = False) -> None:
        """Take what was deleted out of the books; not often, because it costs a sync of the directory.

        Without that a power cut could bring a segment back when the books have long forgotten it.
        """
        due = now or len(self.deleted) >= _MANY or not 0 <= monotonic() - self._forgot_at < _FORGET_INTERVAL
        if self.deleted and due:
            sync_path(self._directory.journal)
            self._books.forget(self.deleted)
            self.deleted.clear()
            self._forgot_at = monotonic()

    def let_go_of_large(self) -> None:
        """Let go of segments that are settled and large, and whose writers live."""
        live = [
            segment
            for segment in self._repeats.segments.values()
            if not segment.ended and segment.read[0] >= _SMALL and segment.read == self._repeats.cursor(segment.id)
        ]
        limit = max(_SMALL, min(_LARGE, _ALL_LIVE // max(1, len(live))))
        self.let_go(segment.name for segment in live if segment.read[0] >= limit)

    def let_go(self, names: Iterable[str]) -> None:
        """Have the writers of these segments go on in others; they are read first from then on."""
        for name in names:
            with contextlib.suppress(FileNotFoundError):  # it has another name already, or is gone
                released = self._directory.let_go(name)
                for segment in self._repeats.segments.values():
                    if segment.name == name:
                        segment.name = released

    # Reading

    def _open_next(self) -> bool:
        """Open the next segment of this pass that has something to read, or whose end is to be seen."""
        while self._names:
            name = self._names.popleft()
            try:
                self._open(name)
            except FileNotFoundError:
                self._report_vanished(name)
                continue
            except (OSError, UnknownFormat) as error:
                self._name_odd(name, str(error))
                continue
            if self._current is not None:
                return True
        return False

    def _open(self, name: str) -> None:
        path = f"{self._directory.journal}/{name}"
        status = regular_file_status(path)
        if status is None:
            self._name_odd(name, "it is no regular file")
            return
        segment = self._known(name)
        if segment is not None and segment.seen == status.st_size:
            segment.name = name
            if segment.ended or not has_no_writer(path):
                return  # nothing new, and nothing to see of its end
        reader = SegmentReader(path)
        segment_id = reader.header.id if reader.header is not None else self._repeats.id_by_name(original_name(name))
        if segment is None or (segment.id != segment_id and reader.header is not None):
            segments = self._repeats.segments
            segment = segments.setdefault(segment_id, Segment(segment_id, name, self._repeats.cursor(segment_id)))
            self._ids[original_name(name)] = segment_id
        reader.position = segment.read
        segment.name = name
        self.largest = max(self.largest, status.st_size)
        self._current = segment, reader

    def _read_current(self, limit: int) -> Chunk | None:
        """Return the next chunk of the open segment, or None when this pass is done with it."""
        assert self._current is not None
        segment, reader = self._current
        try:
            # A writer that is faster than we are must not keep the other segments waiting.
            read = reader.read(limit) if reader.position[0] < reader.size_at_opening else None
            if read is None:
                self._odd.pop(segment.name, None)
                segment.ended = reader.finished()
                segment.seen = reader.size_at_opening
                self.close()
                return None
            if read.damage is not None:
                keep_aside(self._directory, read.damage, self._report)
        except OSError as error:
            self.close()  # and from here on in the next pass
            self._name_odd(segment.name, str(error))
            return None
        chunk = self._repeats.chunk(segment, read)
        if segment.read != reader.position:  # one is held back: from there on in the next pass
            self.close()
        return chunk

    def _known(self, name: str) -> Segment | None:
        segment = self._ids.get(original_name(name))
        return None if segment is None else self._repeats.segments.get(segment)

    def _report_vanished(self, name: str) -> None:
        """Tell that somebody has taken a segment away: only the flusher deletes any, and it has read them before."""
        segment = self._known(name)
        if segment is None or segment.seen < 0:
            read = f"events read: {0 if segment is None else segment.read[1]}"
            self._report(QueueDamaged(f"journal/{name} was deleted or moved away; of what it held, {read}"))

    def _name_odd(self, name: str, why: str) -> None:
        if self._odd.get(name) != why:
            self._odd[name] = why
            self._report(QueueDamaged(f"journal/{name} is left alone: {why}"))


def has_no_writer(path: str) -> bool:
    """Whether no process writes this segment any more."""
    with opened_to_read(path) as descriptor:
        return is_abandoned(descriptor)


def keep_aside(directory: QueueDirectory, damage: Damage, report: Report) -> None:
    """Write the bytes of a damaged stretch to the quarantine, durably, and report it: before the cursor moves past."""
    if not damage.data:
        report(QueueDamaged(f"{damage}; nothing is left of them"))
        return
    make_directory(directory.quarantine)  # somebody may have looked through it, and removed it
    path = f"{directory.quarantine}/{damage.segment}-{damage.offset}.bin"
    write_synced(path, damage.data)
    sync_path(directory.quarantine)
    report(QueueDamaged(f"{damage}; the bytes are kept in {path}"))
