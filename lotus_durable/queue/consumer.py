"""The flusher's side of the queue: read what was appended, settle it, retire what is settled to its end.

The same event can be met twice where its writer *carried* it over (see :mod:`.format`): in the segment that the writer
could no longer reach by its path, and as a copy in its next segment. Whichever is read first is taken. The other one is
held back until the first is settled, and then passed over in silence: neither sent nor counted. The books say what is
settled of a segment, also of one that is gone and may be moved back: all before its cursor, and the ranges that were
settled by way of copies.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import stat
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lotus_durable.errors import QueueDamaged

from .books import Books, Cursor, Entry
from .directory import QueueDirectory, original_name
from .files import sync_directory
from .format import FRAME_HEADER_SIZE, Origin, UnknownFormat
from .protocol import NO_KEY, Chunk, Report, Settlement, StoredEvent
from .quarantine import keep_aside
from .reader import BEGINNING, START, Position, SegmentReader, Stretch
from .repair import RepairedBooks
from .rows import RowReader, is_row
from .stats import QUEUE_DB, Settled
from .writer import is_abandoned

logger = logging.getLogger("lotus_durable")

_LARGE = 4 * 1024 * 1024
_SMALL = 256 * 1024
_ALL_LIVE = 64 * 1024 * 1024
"""Bytes that are settled in the segment of a writer that lives, above which it is let go: the less, the more there are,
so that they stay below the last number together. A writer that is let go carries 50 ms of its frames over."""
_LOOK_INTERVAL = 1.0
"""Seconds between two looks whether the writers of settled segments are gone."""
_LEFTOVER_AGE = 60.0
"""Seconds after which a file whose creation did not finish, and that nobody holds, is a crash's leftover."""
_GONE_KEPT = 20_000
"""Segments that were not settled to their end, are not there, and are known in case somebody moves them back."""


@dataclass(slots=True, eq=False)
class _Segment:
    """What this consumer knows of one segment."""

    id: bytes
    name: str
    read: Position
    """Up to where it was read."""
    seen: int = -1
    """The size at which nothing more was to be read from it."""
    ended: bool = False
    """Nothing more will be appended."""
    passed: deque[int] = field(default_factory=deque)
    """Of the frames that were passed over: the sequence number after each, until that is settled."""
    copies: deque[tuple[int, bytes, int, int]] = field(default_factory=deque)
    """Of the copies that were taken: the sequence number after each, and segment and range it came from."""


class Consumer:
    """Reads and settles. One at a time (the flusher lock sees to that), in one thread, in a process that never forks.

    Attributes:
        is_new: there were no books: a flusher may have been here whose books somebody removed.
        has_carried: carried frames were met.

    Raises:
        OSError: the disk refuses.
        QueueDamaged: a newer version wrote the books; nothing was changed.
    """

    def __init__(self, directory: QueueDirectory, report: Report) -> None:
        self._directory = directory
        self._report = report
        self.has_carried = False
        self._segments: dict[bytes, _Segment] = {}
        self._ids: dict[str, bytes] = {}
        self._in_hand: dict[bytes, set[int]] = {}
        self._names: deque[str] = deque()
        self._in_pass = False
        self._current: tuple[_Segment, SegmentReader] | None = None
        self._done: dict[bytes, _Segment] = {}
        self._odd: set[str] = set()
        self._looked_at = -math.inf
        directory.prepare()
        _remove_leftovers(directory)
        self._repaired = RepairedBooks(directory, report)
        self.is_new = self._repaired.is_new
        self._row_sources: dict[bytes, _Segment] = {}
        self._rows = RowReader(directory, self._cursor, report)
        self._gone = self._find_gone(directory.segments())

    def read(self, limit: int) -> Chunk | None:
        """Return up to ``limit`` further records, or None at the end of a pass over the queue.

        The next call begins a new pass, which finds what was appended since. Records come again only in a new
        consumer, if they were not settled. What cannot be read is reported once and does not hide the others.

        Raises:
            OSError: the disk refuses.
        """
        if not self._in_pass:
            names = self._directory.segments()
            # Those that are released first: they end soon, and their disk may be failing.
            self._names.extend(sorted(names, key=lambda name: (original_name(name) == name, name)))
            self._rows.begin_pass()
            self._in_pass = True
        while self._current is not None or self._open_next():
            if (chunk := self._read_current(limit)) is not None:
                return chunk
        chunk = self._read_rows(limit)
        self._in_pass = chunk is not None
        return chunk

    def has_pending(self) -> bool:
        """Whether there is something to read now, by the sizes of the files alone.

        Raises:
            OSError: the disk refuses.
        """
        for name in self._directory.segments():
            segment = self._known(name)
            if name in self._odd:
                continue
            if segment is None:
                return True
            try:
                if os.stat(self._directory.journal / name).st_size != segment.seen:
                    return True
            except OSError:
                continue
        return self._rows.has_pending()

    def settle(self, settlement: Settlement) -> None:
        """Commit. It survives a kill on return, and a power cut before anything is deleted for it.

        Raises:
            OSError: the disk refuses; nothing of it counts.
        """
        cursors: dict[bytes, Cursor] = {}
        carried: list[tuple[bytes, int, int]] = []
        accepted = 0
        for source, position in settlement.through.items():
            segment = self._segment(bytes.fromhex(source))
            before = self._cursor(segment.id)
            if position > before:
                passed = sum(1 for sequence in segment.passed if sequence <= position[1])
                accepted += position[1] - before[1] - passed
                cursors[segment.id] = Cursor(original_name(segment.name), *position)
                carried.extend(copy[1:] for copy in segment.copies if copy[0] <= position[1])
        self._repaired.settle(
            Entry(
                cursors,
                accepted,
                settlement.delivered,
                settlement.parked,
                settlement.dead,
                settlement.resolved,
                carried,
                settlement.delivered_ids,
            )
        )
        for segment_id in cursors:
            self._after_settling(self._segment(segment_id))

    def parked(self, after: int, limit: int) -> list[StoredEvent]:
        """Return up to ``limit`` parked events with an id above ``after``, oldest id first.

        Raises:
            OSError: the disk refuses.
        """
        return self._repaired.page("parked", after, limit)

    def last_parked(self) -> int:
        """Return the id of the last parked event, 0 when there is none."""
        return self._books.counters.parked_high

    def settled(self) -> Settled:
        """Return what is settled so far, for the heartbeat."""
        counters = self._books.counters
        return Settled(
            counters.accepted,
            counters.delivered,
            counters.parked,
            counters.dead_lettered,
            counters.discarded,
            counters.parked_bytes,
            self._rows.pending(),
            {
                cursor.name: (cursor.offset, cursor.sequence)
                for segment, cursor in self._books.cursors.items()
                if segment not in self._gone
            },
        )

    def retire(self) -> None:
        """Delete segments that are settled to their end and whose writer is gone, and let go of large ones.

        Write the heartbeat first: who counts then finds what was in them among what is settled. What cannot be deleted
        now is tried again with the next call.
        """
        try:
            self._look_for_ends()
            self._let_go()
            if self._done or self._rows.can_delete():
                self._repaired.make_safe()
                self._delete()
                self._rows.delete()
        except OSError as error:
            logger.warning("cannot delete what is settled in %s, trying again later: %s", self._directory.root, error)

    def learned(self, name: str) -> str | None:
        """Return what was learned under this name."""
        return self._books.learned.get(name)

    def learn(self, name: str, value: str) -> None:
        """Keep what was found out about the server.

        Raises:
            OSError: the disk refuses.
        """
        self._books.learn(name, value)

    def was_delivered(self, ids: Iterable[str]) -> set[str]:
        """Return those of these idempotency ids that were delivered lately."""
        return self._books.delivered.known(ids)

    def close(self) -> None:
        """Let go of files; what is not settled stays. Raises nothing."""
        self._leave()
        self._rows.close()
        self._repaired.close()

    @property
    def _books(self) -> Books:
        return self._repaired.books

    # Reading

    def _open_next(self) -> bool:
        """Open the next segment of this pass that has something to read, or whose end is to be seen."""
        while self._names:
            name = self._names.popleft()
            try:
                reader = self._opened(name)
            except FileNotFoundError:
                continue
            except (OSError, UnknownFormat) as error:
                self._name_odd(name, str(error))
                continue
            if reader is not None:
                self._odd.discard(name)
                return True
        return False

    def _opened(self, name: str) -> SegmentReader | None:
        path = self._directory.journal / name
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            self._name_odd(name, "it is no regular file")
            return None
        segment = self._known(name)
        if segment is not None and segment.seen == status.st_size:
            segment.name = name
            if segment.ended or not _has_no_writer(path):
                return None  # nothing new, and nothing to see of its end
        reader = SegmentReader(path, START if segment is None else segment.read)
        segment_id = reader.header.id if reader.header is not None else original_name(name).encode()
        if segment is None or (segment.id != segment_id and reader.header is not None):
            segment = self._segments.get(segment_id)
            if segment is None:
                segment = _Segment(segment_id, name, self._cursor(segment_id))
                self._segments[segment_id] = segment
                self._gone.discard(segment_id)
            self._ids[original_name(name)] = segment_id
            if reader.position != segment.read:
                reader.close()
                reader = SegmentReader(path, segment.read)
            self._books.expect(status.st_size)
        segment.name = name
        self._current = segment, reader
        return reader

    def _read_current(self, limit: int) -> Chunk | None:
        """Return the next chunk of the open segment, or None when this pass is done with it."""
        assert self._current is not None
        segment, reader = self._current
        try:
            # A writer that is faster than we are must not keep the other segments waiting. An empty file is read too:
            # it should have a header.
            stretch = reader.read(limit) if reader.position[0] < max(1, reader.size_at_opening) else None
            if stretch is None:
                if reader.finished():
                    segment.ended = True
                    self._done_if_settled(segment)
                segment.seen = reader.size_at_opening
                self._leave()
                return None
            key = reader.header.key if reader.header is not None else NO_KEY
            return self._chunk(segment, stretch, key)
        except OSError as error:
            self._leave()  # and from here on in the next pass
            self._name_odd(segment.name, str(error))
            return None

    def _read_rows(self, limit: int) -> Chunk | None:
        while (found := self._rows.read(limit)) is not None:
            stretch, key = found
            segment = self._row_sources.get(self._rows.id)
            if segment is None:
                segment = _Segment(self._rows.id, QUEUE_DB, self._cursor(self._rows.id))
                self._row_sources[segment.id] = segment
            chunk = self._chunk(segment, stretch, key)
            if segment.read != self._rows.position:  # one is held back
                self._rows.position = segment.read
                self._rows.end_pass()
            if chunk is not None:
                return chunk
        return None

    def _chunk(self, segment: _Segment, stretch: Stretch, key: bytes) -> Chunk | None:
        if stretch.damage is not None:
            keep_aside(self._directory, stretch.damage, self._report)
        elif stretch.carried or segment.id in self._in_hand or segment.id in self._books.carried:
            return self._without_repeats(segment, stretch, key)
        segment.read = stretch.positions[-1]
        return Chunk(segment.id.hex(), stretch.records, stretch.positions, stretch.damage, key)

    def _leave(self) -> None:
        if self._current is not None:
            self._current[1].close()
            self._current = None

    def _without_repeats(self, segment: _Segment, stretch: Stretch, key: bytes) -> Chunk | None:
        """Return a chunk of what is to be sent of a stretch that has to do with carried frames."""
        self.has_carried = self.has_carried or bool(stretch.carried)
        records: list[bytes] = []
        positions: list[Position] = []
        passed = 0
        for index, (record, position) in enumerate(zip(stretch.records, stretch.positions, strict=True)):
            place: Origin = (segment.id, max(BEGINNING, segment.read)[0])
            if is_row(place):
                place = (segment.id, position[0] - 1)
            origin = stretch.carried.get(index)
            places = (place,) if origin is None else (place, origin)
            if any(self._is_settled(each) for each in places):
                segment.passed.append(position[1])
                passed += 1
            elif place[1] in self._in_hand.get(segment.id, ()) or (origin and self._is_in_hand(origin)):
                self._leave()  # until the other one is settled: read on from here in the next pass
                break
            else:
                records.append(record)
                positions.append(position)
            if origin is not None:
                stop = origin[1] + (1 if is_row(origin) else FRAME_HEADER_SIZE + len(record))
                segment.copies.append((position[1], *origin, stop))
                self._in_hand.setdefault(origin[0], set()).add(origin[1])
            segment.read = position
        if not records and not passed:
            return None
        if positions:
            positions[-1] = segment.read
        return Chunk(segment.id.hex(), records, positions or [segment.read], None, key)

    def _is_settled(self, place: Origin) -> bool:
        segment, offset = place
        return offset < self._cursor(segment)[0] or offset in self._books.carried.get(segment, ())

    def _is_in_hand(self, place: Origin) -> bool:
        segment = self._segments.get(place[0]) or self._row_sources.get(place[0])
        return place[1] in self._in_hand.get(place[0], ()) or (segment is not None and place[1] < segment.read[0])

    def _name_odd(self, name: str, why: str) -> None:
        if name not in self._odd:
            self._odd.add(name)
            self._report(QueueDamaged(f"journal/{name} is left alone: {why}"))

    def _segment(self, segment_id: bytes) -> _Segment:
        return self._segments.get(segment_id) or self._row_sources[segment_id]

    def _known(self, name: str) -> _Segment | None:
        segment = self._ids.get(original_name(name))
        return None if segment is None else self._segments.get(segment)

    def _cursor(self, segment: bytes) -> Position:
        cursor = self._books.cursors.get(segment)
        return self._books.retired.get(segment, START) if cursor is None else (cursor.offset, cursor.sequence)

    def _find_gone(self, names: Sequence[str]) -> set[bytes]:
        """Return the segments that the books know and that are not there."""
        there = {original_name(name) for name in names}
        there.add(QUEUE_DB)
        gone = {segment: cursor for segment, cursor in self._books.cursors.items() if cursor.name not in there}
        if len(gone) > _GONE_KEPT:
            oldest = sorted(gone, key=lambda segment: gone[segment].name)[: len(gone) - _GONE_KEPT]
            self._books.forget({segment: gone.pop(segment)[1:] for segment in oldest})
        return set(gone)

    # Settling

    def _after_settling(self, segment: _Segment) -> None:
        _, sequence = self._cursor(segment.id)
        while segment.passed and segment.passed[0] <= sequence:
            segment.passed.popleft()
        while segment.copies and segment.copies[0][0] <= sequence:
            _, origin, start, _ = segment.copies.popleft()
            in_hand = self._in_hand.get(origin, set())
            in_hand.discard(start)
            if not in_hand:
                self._in_hand.pop(origin, None)
        self._done_if_settled(segment)

    def _done_if_settled(self, segment: _Segment) -> None:
        # By the sequence: a torn tail behind the last event needs no settling, and a segment without events neither.
        if segment.ended and self._cursor(segment.id)[1] == segment.read[1]:
            self._done[segment.id] = segment

    # Retiring

    def _look_for_ends(self) -> None:
        """Have the next pass read on in settled segments whose writer is gone: it is to see their end."""
        if not 0 <= time.monotonic() - self._looked_at < _LOOK_INTERVAL:
            self._looked_at = time.monotonic()
            for segment in self._segments.values():
                if not segment.ended and segment.seen >= 0:
                    with contextlib.suppress(OSError):
                        if _has_no_writer(self._directory.journal / segment.name):
                            segment.seen = -1

    def _let_go(self) -> None:
        live = [
            segment
            for segment in self._segments.values()
            if not segment.ended and segment.read == self._cursor(segment.id) and segment.read[0] >= _SMALL
        ]
        limit = max(_SMALL, min(_LARGE, _ALL_LIVE // max(1, len(live))))
        for segment in live:
            if segment.read[0] >= limit and original_name(segment.name) == segment.name:
                segment.name = self._directory.let_go(segment.name)

    def _delete(self) -> None:
        gone: dict[bytes, Position] = {}
        for segment in self._done.values():
            path = self._directory.journal / segment.name
            try:
                if os.stat(path).st_size != segment.seen:
                    segment.ended = False  # somebody has brought more: read again
                    continue
                path.unlink()
            except FileNotFoundError:
                pass
            gone[segment.id] = segment.read
        # Or a power cut could bring one back when the books have long forgotten it.
        sync_directory(self._directory.journal)
        self._books.forget(gone)
        for segment in self._done.values():
            if segment.id in gone:
                del self._segments[segment.id]
                self._ids.pop(original_name(segment.name), None)
        self._done.clear()


def _has_no_writer(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        return is_abandoned(descriptor)
    finally:
        os.close(descriptor)


def _remove_leftovers(directory: QueueDirectory) -> None:
    """Delete files that a crash has left half made."""
    for path in (*(directory.journal / name for name in directory.unfinished()), *directory.temporary_files()):
        with contextlib.suppress(OSError):
            # A writer whose file is taken away before it has its name notices, and creates another.
            if time.time() - path.stat().st_mtime > _LEFTOVER_AGE and _has_no_writer(path):
                path.unlink()
