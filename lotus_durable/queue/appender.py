"""Appending a record to a segment of this process's own: what every event goes through.

It is one file, because each append goes through all of it.
"""

from __future__ import annotations

import errno
import math
from collections.abc import Callable

from lotus_durable.clock import monotonic
from lotus_durable.descriptors import place_of
from lotus_durable.disk import DiskErrorsSuppressed, is_of_the_disk
from lotus_durable.errors import LotusError, QueueDamaged

from .carry_over import Placed, find_stranded, write_carried
from .directory import QueueDirectory
from .format import FRAME_HEADER_SIZE, HEADER_SIZE, MAX_RECORD_SIZE, Header
from .limit import QueueLimit
from .writer import SegmentWriter

SEGMENT_BYTES = 16 * 1024 * 1024
"""Few files for a backlog of millions, and small enough that the space of settled events comes back soon."""

_TRUST = 0.05
"""Seconds for which a segment is taken to be where its path leads, and its descriptor to be this process's own."""
_MOST_KEPT = 1024 * 1024
"""Bytes appended since the last check; they are kept in memory, and written anew if somebody takes the segment away."""
_SEGMENTS_PER_QUEUE = 256
"""All that lies in the directory counts, also what is settled in segments that are still being written: these must not
take much of a small queue."""
_RETRY_INTERVAL = 0.25
"""Seconds before what is stranded is gathered once more, when the disk has refused it a new place."""
_REPORT_INTERVAL = 60.0
"""Seconds in which it is told once that somebody's hand has changed segments in use, if no event is lost by it."""

Mark = tuple[SegmentWriter, int, int]
"""Where an event was appended, for :meth:`Appender.sync`: the segment, and where its frame begins and ends."""


class Appender:
    """Appends to files of its own; for one thread at a time, and for the process that made it.

    When an event comes and the last good check is older than 50 ms, and after every error, it checks whether the
    segment is still this process's and still where its path leads. If not, it goes on in a new segment where the path
    leads, and carries over the frames that only it can still reach. So most events cost no ``stat``.

    Args:
        directory: of the queue; made when it is missing.
        limit: of the queue, shared by the pairs of this process.
        key: the fingerprint of the API key that events are for.
        identify: sees that the directory says which queue it is, and that this program knows its format; called before
            something is made in it.
        power: whether events must survive a power cut; then :meth:`append` returns what :meth:`sync` needs.
        report: told, once, what somebody's hand has done to segments in use.
        sealed: takes where the segments end that this process has gone on from, by the names it gave them.
        segment_bytes: a segment takes no further frame when it would be larger.

    Attributes:
        writer: of the segment, once there is one.
        checked_at: when it was checked last; infinity if it must be checked before the next event.
        trusted_until: until then nothing is to be done with an event but to write it, if the segment has room for it.
    """

    _writes_first = True
    """Whether an event goes to the segment first, and nothing else is done with it."""

    def __init__(
        self,
        directory: QueueDirectory,
        limit: QueueLimit,
        *,
        key: bytes,
        identify: Callable[[], object],
        power: bool,
        report: Callable[[LotusError], None],
        sealed: dict[str, int],
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        self._directory = directory
        self._queue_limit = limit
        self._key = key
        self._identify = identify
        self._power = power
        self._trust_lasts = _TRUST if self._writes_first and not power else -math.inf
        self._report = report
        self._limit = min(segment_bytes, limit.max_queue_bytes // _SEGMENTS_PER_QUEUE)
        self.writer: SegmentWriter | None = None
        self.checked_at: float = math.inf
        self.trusted_until: float = -math.inf
        self._granted_to = 0  # offset in the segment
        self._sealed = sealed
        self._stranded_until = -math.inf
        self._stranded_error: OSError | None = None
        self._told_at = -math.inf

    def __repr__(self) -> str:
        return f"<Appender {self.writer or self._directory.root}>"

    def append(self, record: bytes, now: float, *, was_accepted: bool = False) -> Mark | None:
        """Append one event; with ``power`` it is safe only when :meth:`sync` has returned.

        Args:
            record: at most :data:`~.format.MAX_RECORD_SIZE` bytes.
            now: of :func:`~lotus_durable.clock.monotonic`.
            was_accepted: before, and it waited in memory: it never meets ``max_queue_bytes`` again.

        Raises:
            QueueFull: the queue is over ``max_queue_bytes``.
            QueueDirectoryError: the directory is unsafe, so nothing is written to it.
            QueueDamaged: what ``identify`` raises.
            OSError: the disk refuses, and the event was not written; or a signal handler raised it
                (:func:`~lotus_durable.disk.is_of_the_disk` says no), and nobody knows whether it was.
        """
        writer = self._ready(record, now, was_accepted=was_accepted)
        try:
            writer.append(record)
        except OSError as error:
            writer = self.append_after(error, record, now, was_accepted=was_accepted)
        if self._power:
            return writer, writer.end - FRAME_HEADER_SIZE - len(record), writer.end
        return None

    def append_after(self, error: OSError, record: bytes, now: float, *, was_accepted: bool = False) -> SegmentWriter:
        """Append an event once more, after its write has failed, where that may help; raise the error where not.

        The error is the disk's when the segment is sound. Else it came from what has got the number of our descriptor.
        """
        writer = self.writer
        if writer is None or not is_of_the_disk(error) or writer.is_broken:
            raise error
        if self._check(now) is not None:
            if error.errno != errno.EFBIG or writer.end == HEADER_SIZE:
                raise error
            # The limit of the process or of the file system for the size of a file.
            self._limit = min(self._limit, writer.end)
            writer.break_off()
        writer = self._ready(record, now, was_accepted=was_accepted)
        writer.append(record)
        return writer

    def append_again(self, record: bytes, now: float, mark: Mark) -> None:
        """Write an event whose :meth:`sync` has failed somewhere else, and sync it there.

        It says where it was: somebody may have read it there.

        Raises: see :meth:`append`.
        """
        self._check(now)
        self._carry_over(mark[0].header, [(mark[1], record)])

    @staticmethod
    def sync(mark: Mark) -> None:
        """Return when an event survives a power cut. Any thread may call it; those that wait share one sync.

        Call it when the pair is somebody else's to use again: what others append meanwhile is covered by the next sync.

        Raises:
            OSError: the disk refuses, and the event is no longer where it was: see :meth:`append_again`.
        """
        writer, _, end = mark
        writer.sync_through(end)

    def is_trusted(self, now: float) -> bool:
        """Whether it was checked so lately that it need not be checked now: a moment of that clock."""
        return self.checked_at <= now < self.trusted_until

    def check(self) -> None:
        """Compare the segment with what its path leads to, now.

        Raises:
            QueueDirectoryError, OSError: it is not where it was, and what is to be carried over is refused.
        """
        self._check(monotonic())

    def written(self) -> dict[str, int]:
        """Return where the segments of this process end, also those that were sealed and may not be settled.

        By the names it gave them; the flusher may have released one meanwhile.
        """
        writer = self.writer
        is_empty = writer is None or writer.end == HEADER_SIZE
        return self._sealed if writer is None or is_empty else {**self._sealed, writer.name: writer.last_end}

    def close(self) -> None:
        """Check for the last time, and seal; raises nothing, but tells what is lost."""
        writer = self.writer
        if writer is None:
            return
        try:
            self._stranded_until = -math.inf
            self._check(monotonic())
        except (OSError, LotusError) as error:
            lost = f"events lost, at the most: {writer.sequence}"
            self._report(QueueDamaged(f"segment {writer.path} is not as it was left, and {error}; {lost}"))
        if self.writer is not None:
            self._seal(self.writer)

    def abandon(self) -> None:
        """In a forked child: the segments are the parent's."""
        writer, self.writer = self.writer, None
        if writer is not None:
            writer.abandon()

    # Before an append

    def _ready(self, record: bytes, now: float, *, was_accepted: bool) -> SegmentWriter:
        """Return the segment to append a frame to, after everything that is not done per event."""
        if len(record) > MAX_RECORD_SIZE:
            raise ValueError(f"a record of {len(record)} bytes; {MAX_RECORD_SIZE} is the most")
        size = FRAME_HEADER_SIZE + len(record)
        writer = self.writer
        if writer is not None:
            is_full = writer.is_broken or (writer.end + size > self._limit and writer.end > HEADER_SIZE)
            if is_full or not self.is_trusted(now) or writer.end + size > writer.kept_from + _MOST_KEPT:
                writer = self._check(now)
            if writer is not None and is_full:
                self._seal(writer)
                writer = None
        if writer is None or writer.end + size > self._granted_to:
            granted = self._queue_limit.grant(size, now, is_accepted=was_accepted)
            writer = writer or self._new_writer(now)
            self._granted_to = writer.end + granted
        stop_at = max(writer.end + size, min(self._granted_to, self._limit, writer.kept_from + _MOST_KEPT))
        writer.stop_at = stop_at - FRAME_HEADER_SIZE
        return writer

    def _new_writer(self, now: float) -> SegmentWriter:
        self._make_sure_of_the_directory()
        writer = SegmentWriter(self._directory, self._key, sync=self._power)
        self.writer = writer
        self._trust(now)
        return writer

    def _trust(self, now: float) -> None:
        self.checked_at, self.trusted_until = now, now + self._trust_lasts

    def _make_sure_of_the_directory(self) -> None:
        """Have one for a segment. It may have become unsafe meanwhile, and what it holds is for its owner only."""
        if place_of(self._directory.journal) is None:
            self._directory.prepare()
        else:
            self._directory.check()
        self._identify()

    # Going on elsewhere

    def _check(self, now: float) -> SegmentWriter | None:
        """Return the segment if it is sound; otherwise move on, and return None."""
        writer = self.writer
        if writer is None:
            return None
        if writer.is_sound():
            writer.trust()
            self._trust(now)
            return writer
        self.checked_at = math.inf
        if now < self._stranded_until and self._stranded_error is not None:
            raise OSError(self._stranded_error.errno, self._stranded_error.strerror, self._directory.root)
        try:
            self._move_on(writer, now)
        except OSError as error:
            if not is_of_the_disk(error):
                raise  # a signal handler's
            self._stranded_error, self._stranded_until = error, now + _RETRY_INTERVAL
            raise
        return None

    def _move_on(self, writer: SegmentWriter, now: float) -> None:
        frames, destroyed, what = find_stranded(writer)
        if frames:
            self._carry_over(writer.header, frames)
        self._seal(writer)
        # Once a minute, but events are never lost in silence.
        if what and (destroyed or now - self._told_at >= _REPORT_INTERVAL):
            self._told_at = now
            lost = f"events destroyed, at the most: {destroyed}" if destroyed else "no event is lost"
            what = what.format(f"segment {writer.path}")
            self._report(QueueDamaged(f"{what}; {lost}; written anew: {len(frames)}"))

    def _carry_over(self, source: Header, frames: list[Placed]) -> None:
        """Write frames anew, in a segment of their own, where the path leads; they say where they were."""
        self._make_sure_of_the_directory()
        self._note_sealed(*write_carried(self._directory, source, frames, sync=self._power))

    def _seal(self, writer: SegmentWriter) -> None:
        self.writer = None
        try:
            # Threads that wait for a sync of this segment are served before it closes; where it fails they append their
            # events again.
            with DiskErrorsSuppressed():
                if self._power:
                    writer.sync_through(writer.end)
        finally:
            writer.seal()
            self._note_sealed(writer.name, writer.last_end)

    def _note_sealed(self, name: str, end: int) -> None:
        if end > HEADER_SIZE:
            self._sealed[name] = end
        for each in tuple(self._sealed):
            if not self._directory.has(each):
                self._sealed.pop(each, None)  # it was settled
