"""The flusher's side of the queue: read what was appended, settle it, retire what is settled.

It is one file, because this is all that the flusher asks of the queue.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

from .books import Books
from .directory import QUEUE_DB, QueueDirectory, original_name
from .elapsed import QueueClock
from .heartbeat import Progress
from .journal import Journal, keep_aside
from .kept import KeptSegments
from .lately import DeliveredLately
from .protocol import Cursor, Report, Settlement, StoredEvent, Table
from .reader import Chunk
from .repeats import Repeats, Segment
from .rows import RowReader, sync_rows
from .unfinished import finish_unfinished

logger: logging.Logger = logging.getLogger("lotus_durable")

HOST = "host"
"""What the books call the server that events are delivered to."""
_CLOCK = "clock"
_EMPTIED = "queue.db emptied"
_BEHIND = "behind"
_CLOCK_KEPT_EVERY = 60.0  # seconds
_GONE_KEPT = 20_000
"""Segments that were not settled to their end, are not there, and are known in case somebody moves them back."""


class Consumer:
    """Reads and settles. One at a time (the flusher lock sees to that), in one thread, in a process that never forks.

    Attributes:
        books: what became of the events.
        is_new: there were no books, or damaged ones: what an earlier flusher did last is not known.
        elapsed: returns the time by the queue's own clock, in seconds.
        is_short: the last pass has held back events, and something was settled since.
        may_repeat: what is read may have been delivered before, and the books do not know: see :meth:`doubt`.

    What reads or writes raises ``OSError`` where the disk refuses; nothing of a settlement counts then.

    Raises:
        QueueDamaged: a newer version wrote the books; nothing was changed.
    """

    def __init__(self, directory: QueueDirectory, report: Report, kept: KeptSegments | None = None) -> None:
        self._directory = directory
        self._report = report
        directory.prepare()
        self.books: Books = Books(directory, report)
        self._known = self.books.known
        try:
            self._unread = finish_unfinished(directory, self._known.cursors, report)
        except BaseException:
            self.books.close()
            raise
        self.is_new: bool = self.books.is_new
        self._repeats = Repeats(self._known)
        self._rows = RowReader(directory, self._repeats.cursor, lambda: self.learned(_EMPTIED), report)
        self._kept = KeptSegments(directory, 0.0, 0) if kept is None else kept
        self._journal = Journal(directory, self._repeats, self.books, self._kept, report)
        self._delivered = DeliveredLately(directory.delivered, report, lambda: self.learned(HOST))
        self._in_pass = False
        self.is_short: bool = False
        self._gone: set[bytes] | None = None
        self._clock = QueueClock(self.learned(_CLOCK))
        self._clock_kept_at = self._clock.now()
        self.elapsed: Callable[[], float] = self._clock.now
        self.may_repeat: bool = bool(self.learned(_BEHIND))
        if self.books.is_behind:
            self.doubt()

    @property
    def rows_at_once(self) -> int:
        """How many pages of the books one settlement of parked events may change."""
        return max(1, self.books.database.reserve.most // 2)

    @property
    def in_doubt_since(self) -> float | None:
        """Since when something is read that another flusher may be sending, seconds since boot; None: nothing is.

        That is so for what was carried here from elsewhere: where books are new, nobody has said that it was settled.
        """
        return self._repeats.carried_at if self.is_new else None

    def doubt(self) -> None:
        """Note that what was sent and is not settled is not known, where something was settled ever."""
        if self.books.is_behind or self._known.counts.accepted:
            self.may_repeat = True
            with contextlib.suppress(OSError):  # a full disk keeps nobody from delivering
                self.learn(_BEHIND, "1")  # until all is settled once, whoever does that

    def caught_up(self) -> None:
        """Note that all that was there is settled."""
        if self.may_repeat:
            self.learn(_BEHIND, "")
            self.may_repeat = False

    def read(self, limit: int) -> Chunk | None:
        """Return up to ``limit`` further records, or None at the end of a pass over the queue.

        The next call begins a new pass, which finds what was appended since. Records come again only in a new
        consumer, if they were not settled. What cannot be read is reported once and does not hide the others.
        """
        if not self._in_pass:
            names = self._journal.begin_pass()
            if self._gone is None:
                self._gone = self._find_gone(names)
            self._rows.begin_pass()
            self._in_pass = True
            self.is_short = self._repeats.held_back = False
        chunk = self._journal.read(limit) or self._read_rows(limit)
        self._in_pass = chunk is not None
        return chunk

    def left_alone(self) -> tuple[int, str | None]:
        """Return how many events lie, at the least, in what cannot be read, and why they are not done."""
        events, reasons = self._journal.left_alone()
        events, reasons = events + len(self._unread), reasons + self._unread
        if self._rows.trouble:
            reasons.append(self._rows.trouble)
        if not reasons:
            return 0, None
        more = f", and {len(reasons) - 1} more" if len(reasons) > 1 else ""
        return events, f"not everything can be read: {reasons[0]}{more}"

    def has_pending(self) -> bool:
        """Whether there is something to read now, by the sizes of the files alone."""
        return self._journal.has_pending() or self._rows.has_pending()

    def settle(self, settlement: Settlement) -> None:
        """Commit. It survives a kill on return, and a power cut before anything is deleted for it."""
        cursors: dict[bytes, Cursor] = dict(settlement.cursors)
        carried = [*settlement.carried]
        accepted = settlement.accepted
        segments: list[Segment] = []
        for source, position in settlement.through.items():
            segment = self._repeats.source(bytes.fromhex(source))
            if segment is not None and position > self._repeats.cursor(segment.id):
                events, copies = self._repeats.settling(segment, position)
                accepted += events
                carried += copies
                cursors[segment.id] = Cursor(original_name(segment.name), *position)
                segments.append(segment)
        entry = settlement._replace(cursors=cursors, accepted=accepted, carried=carried)
        if any(cursor.name == QUEUE_DB for cursor in cursors.values()):
            sync_rows(self._directory.queue_db)
            self._note_emptied()
        self._delivered.add(entry.delivered_ids)
        self.books.settle(entry)
        self.is_short = self._repeats.held_back
        for segment in segments:
            self._repeats.settled(segment)

    def page(self, table: Table, after: int, limit: int) -> list[StoredEvent]:
        """Return up to ``limit`` parked events or dead letters with an id above ``after``, oldest id first."""
        return self.books.page(table, after, limit)

    def reached(self, source: bytes) -> int:
        """Return how many events of a source that is no segment are settled, as its cursor says or has said."""
        return self._repeats.cursor(source)[1]

    def forget(self, sources: Mapping[bytes, int]) -> None:
        """Note that these, which are no segments, are settled to their ends and do not come again but by mistake."""
        self.books.forget({source: (0, end) for source, end in sources.items()})

    def make_safe(self) -> None:
        """Return when all that was settled survives a power cut."""
        self._delivered.sync()
        self.books.make_safe()

    def keep_books(self) -> None:
        """Write back what somebody has removed or replaced: the books, and the ids delivered lately."""
        self.books.keep_in_place()
        self._delivered.keep_in_place()

    def has_books_in_place(self) -> bool:
        """Whether the books are where their path leads: they are not where the disk refuses to write them back."""
        return self.books.database.is_in_place()

    def last_parked(self) -> int:
        """Return the id of the last event that was parked, 0 when none ever was."""
        return self._known.high["parked"]

    def progress(self) -> Progress:
        """Return how far it is, for the heartbeat."""
        absent = (self._gone or set()) - self._repeats.segments.keys() | self._journal.deleted.keys()
        there = {
            cursor.name: (cursor.offset, cursor.sequence)
            for segment, cursor in self._known.cursors.items()
            if segment not in absent
        }
        settled, rows = self._known.counts, self._rows.pending()
        return Progress(settled._replace(accepted=settled.accepted + rows, pending=rows), there)

    def retire(self) -> None:
        """Delete segments that are settled to their end and whose writer is gone, and let go of large ones.

        Write the heartbeat first: who counts then finds what was in them among what is settled. What cannot be deleted
        now is tried again with the next call.
        """
        try:
            self.keep_books()
            self._journal.let_go_of_large()
            done, has_rows = self._journal.done(), self._rows.can_delete()
            if done or has_rows:
                self.make_safe()
            self._journal.delete(done)
            self._journal.forget_deleted()
            self._kept.expire()
            self.books.prepare_for(self._journal.largest)
            if self.elapsed() - self._clock_kept_at >= _CLOCK_KEPT_EVERY:
                self._keep_clock()
            if has_rows:
                self._rows.delete()  # last: where that database is damaged it fails each time
        except OSError as error:
            logger.warning("cannot delete what is settled in %s, trying again later: %s", self._directory.root, error)

    def let_go(self, names: Iterable[str]) -> None:
        """Have the writers of these segments, which could not be synced, go on in others, and read these first."""
        self._journal.let_go(names)

    def learned(self, name: str) -> str | None:
        """Return what was learned under this name."""
        return self._known.learned.get(name)

    def learn(self, name: str, value: str) -> None:
        """Keep what was found out about the server."""
        self.books.learn(name, value)

    def was_delivered(self, ids: Sequence[str]) -> set[str]:
        """Return those of these idempotency ids that were delivered lately."""
        return self._delivered.known(ids)

    def close(self) -> None:
        """Let go of files; what is not settled stays. Raises nothing."""
        with contextlib.suppress(OSError):
            self._keep_clock()
            self._journal.forget_deleted(now=True)
            sync_rows(self._directory.queue_db)
            self._note_emptied()
        self._journal.close()
        self._rows.close()
        self._delivered.close()
        self.books.close()

    def _note_emptied(self) -> None:
        """Note how far ``queue.db`` is emptied; what was read of it is safe from a power cut."""
        note = self._rows.note()
        if note is not None and note != self.learned(_EMPTIED):
            with contextlib.suppress(OSError):
                self.learn(_EMPTIED, note)

    def _keep_clock(self) -> None:
        self._clock_kept_at = self.elapsed()
        self.learn(_CLOCK, self._clock.as_text())

    def _read_rows(self, limit: int) -> Chunk | None:
        read = self._rows.read(limit)
        if read is None:
            return None
        if read.damage is not None:
            keep_aside(self._directory, read.damage, self._report)
        source = self._rows.id
        segment = self._repeats.rows.setdefault(source, Segment(source, QUEUE_DB, self._repeats.cursor(source)))
        chunk = self._repeats.chunk(segment, read)
        if segment.read != self._rows.position:  # one is held back: from there on in the next pass
            self._rows.read_on_from(segment.read)
        return chunk

    def _find_gone(self, names: Iterable[str]) -> set[bytes]:
        """Return the segments that the books know and that are not there."""
        there = {QUEUE_DB, *map(original_name, names)}
        gone = {segment: cursor for segment, cursor in self._known.cursors.items() if cursor.name not in there}
        if len(gone) > _GONE_KEPT:
            oldest = sorted(gone, key=lambda segment: gone[segment].name)[: len(gone) - _GONE_KEPT]
            forgotten = {segment: gone.pop(segment)[1:] for segment in oldest}
            self.books.forget(forgotten)
        return set(gone)
