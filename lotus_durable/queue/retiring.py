"""Settled segments: deleted if nobody writes them any more; else, if large, their writers are made to begin others."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Container, Iterable

from lotus_durable.clock import monotonic
from lotus_durable.disk import is_file
from lotus_durable.errors import QueueDamaged

from .books import Books
from .directory import QueueDirectory, segment_name
from .files import sync_path
from .format import UnknownFormat
from .journal import JournalReader, has_no_writer
from .kept import KeptSegments
from .protocol import Report
from .reader import Position, header_of
from .repeats import Repeats, Segment
from .rows import DELETING_TAKES

_LARGE = 4 * 1024 * 1024
_SMALL = 256 * 1024
_ALL_LIVE = 64 * 1024 * 1024
"""Bytes that are settled in the segment of a writer that lives, above which it is let go: the less, the more there are,
so that they stay below the last number together. A writer that is let go carries 50 ms of its frames over."""
_FORGET_INTERVAL = 1.0
"""Seconds for which segments that were deleted stay in the books, but not so that there are many."""
_MANY = 5_000
_LEFTOVER_AGE = 60.0
"""Seconds after which a file whose creation did not finish, and that nobody holds, is a crash's leftover."""


class Retiring:
    """Deletes, for one consumer, what is settled to its end.

    Attributes:
        deleted: where segments ended that were deleted and are still in the books.
    """

    def __init__(
        self,
        directory: QueueDirectory,
        journal: JournalReader,
        repeats: Repeats,
        books: Books,
        kept: KeptSegments,
    ) -> None:
        self._directory = directory
        self._journal = journal
        self._repeats = repeats
        self._books = books
        self._kept = kept
        self.deleted: dict[bytes, Position] = {}
        self._forgot_at = -math.inf

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
            self._journal.forget(segment)

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


def finish_unfinished(directory: QueueDirectory, known: Container[bytes], report: Report) -> list[str]:
    """See to files that a crash has left half made: publish what took the place of another segment, delete the rest.

    What cannot be looked at is told, and left where it is. Return which files these are, and why: each may hold events.

    Args:
        directory: of the queue.
        known: the segments that the books know. They know one that is not published only if it was settled, in the
            same transaction, that what it holds is no longer where it was.
        report: of the flusher.
    """
    unread = []
    for name in directory.unfinished():
        path = f"{directory.journal}/{name}"
        try:
            header = header_of(path)
            if header is not None and header.id in known:
                os.rename(path, f"{directory.journal}/{segment_name(header.created_ns, header.pid, header.marker)}")
                sync_path(directory.journal)
            else:
                _remove_leftover(path)
        except FileNotFoundError:
            pass  # its writer has given it its name, or thrown it away
        except (OSError, UnknownFormat) as error:
            report(QueueDamaged(f"journal/{name} is left alone: {error}"))
            if isinstance(error, OSError) and is_file(path):
                unread.append(f"journal/{name}: {error}")
    for path in directory.temporary_files():
        with contextlib.suppress(OSError):
            _remove_leftover(path)
    return unread


def _remove_leftover(path: str) -> None:
    # A writer whose file is taken away before it has its name notices, and creates another.
    if time.time() - os.stat(path).st_mtime > _LEFTOVER_AGE and has_no_writer(path):
        os.unlink(path)
