"""Events that are on disk twice, because a writer *carried* them over (see :mod:`.format`), or somebody moved segments.

Such an event is in the segment that its writer could no longer reach by its path, and as a copy in a later segment.
Whichever is read first is delivered. The other one waits until the first is settled, and is then skipped: neither sent
nor counted. What is settled of a segment is in the books, also of one that is gone and may come back: everything before
its cursor, and the ranges that were settled through copies.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from lotus_durable.clock import since_boot

from .contents import Known
from .format import FRAME_HEADER_SIZE, Origin
from .reader import BEGINNING, Chunk, Position
from .rows import is_row


@dataclass(slots=True, eq=False)
class Segment:
    """What this consumer knows of one segment (or of the rows of ``queue.db``)."""

    id: bytes
    name: str
    """Where it lies now."""
    read: Position
    """Up to where it was read."""
    seen: int = -1
    """The size at which nothing more was to be read from it."""
    ended: bool = False
    """Nothing more will be appended."""
    passed: deque[int] = field(default_factory=deque)
    """Of the frames that were passed over: the sequence number after each, until that is settled."""
    copies: deque[tuple[int, bytes, int, int]] = field(default_factory=deque)
    """Of the copies that were read: the sequence number after each, and segment and range it came from."""


class Repeats:
    """Turns what is read of a segment into what is to be sent.

    Attributes:
        segments: by their ids, and
        rows: the databases of rows, by theirs.
        carried_at: when the first carried frame was met, seconds since boot; None: there was none.
        held_back: an event was held back since somebody set this to False.
        cursor: returns up to where a segment is settled.
    """

    def __init__(self, known: Known) -> None:
        self._known = known
        self.cursor = known.cursor
        self.segments: dict[bytes, Segment] = {}
        self.rows: dict[bytes, Segment] = {}
        self.carried_at: float | None = None
        self.held_back: bool = False
        # Where copies come from that were taken and are not settled yet.
        self._in_hand: dict[bytes, set[int]] = {}

    def source(self, segment: bytes) -> Segment | None:
        """Return the segment, or the rows, with this id."""
        return self.segments.get(segment) or self.rows.get(segment)

    def id_by_name(self, name: str) -> bytes:
        """Return what a segment without a header is known by: the id that it had, where some of it is settled."""
        return next((id_ for id_, cursor in self._known.cursors.items() if cursor.name == name), name.encode())

    def chunk(self, segment: Segment, read: Chunk) -> Chunk | None:
        """Return what of it is to be sent; None when an event is held back at once.

        ``segment.read`` is moved behind it; it is short of its end when an event is held back.
        """
        read = read._replace(source=segment.id.hex())
        if read.carried or segment.id in self._in_hand or segment.id in self._known.carried:
            return self._without_repeats(segment, read)
        segment.read = read.positions[-1]
        return read

    def settling(self, segment: Segment, through: Position) -> tuple[int, list[tuple[bytes, int, int]]]:
        """Return how many events a settlement up to there settles, and the ranges that copies among them came from."""
        sequence = through[1]
        passed = sum(1 for each in segment.passed if each <= sequence)
        carried = [copy[1:] for copy in segment.copies if copy[0] <= sequence]
        return sequence - self.cursor(segment.id)[1] - passed, carried

    def settled(self, segment: Segment) -> None:
        """Forget what was in hand of it and is settled now."""
        _, sequence = self.cursor(segment.id)
        while segment.passed and segment.passed[0] <= sequence:
            segment.passed.popleft()
        while segment.copies and segment.copies[0][0] <= sequence:
            _, origin, start, _ = segment.copies.popleft()
            in_hand = self._in_hand.get(origin, set())
            in_hand.discard(start)
            if not in_hand:
                self._in_hand.pop(origin, None)

    def _without_repeats(self, segment: Segment, read: Chunk) -> Chunk | None:
        if read.carried and self.carried_at is None:
            self.carried_at = since_boot()
        records: list[bytes] = []
        positions: list[Position] = []
        passed = 0
        if read.damage is not None:
            segment.read = read.positions[-1]
            return read
        for index, (record, position) in enumerate(zip(read.records, read.positions, strict=True)):
            own: Origin = (segment.id, max(BEGINNING, segment.read)[0])
            if is_row(own):
                own = (segment.id, position[0] - 1)
            origin = read.carried.get(index)
            if self._known.is_settled(own) or (origin is not None and self._known.is_settled(origin)):
                segment.passed.append(position[1])
                passed += 1
            elif own[1] in self._in_hand.get(segment.id, ()) or (origin is not None and self._is_in_hand(origin)):
                self.held_back = True  # until the other one is settled
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
        return read._replace(records=records, positions=positions or [segment.read], carried={})

    def _is_in_hand(self, place: Origin) -> bool:
        segment = self.source(place[0])
        return place[1] in self._in_hand.get(place[0], ()) or (segment is not None and place[1] < segment.read[0])
