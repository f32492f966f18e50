"""The memory buffer: where accepted events wait while the disk takes none."""

from __future__ import annotations

from collections import deque

from lotus_durable.errors import QueueFull

CAPACITY = 10_000
"""Events."""


class MemoryBuffer:
    """A bounded first-in first-out buffer. ``deque`` makes each step atomic, so it takes no lock.

    Attributes:
        records: what waits, oldest first; a plain attribute, because each append looks whether there is any.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self.records: deque[bytes] = deque()
        self._in_hand: list[None] = []  # one for each that somebody tries to write now

    def __len__(self) -> int:
        """Return how many records are not written, also those that somebody tries to write now."""
        return len(self.records) + len(self._in_hand)

    def add(self, record: bytes) -> None:
        """Keep one record.

        Raises:
            QueueFull: the buffer is full; the event is not accepted.
        """
        if len(self) >= self._capacity:
            raise QueueFull(
                f"event not accepted: the disk takes no writes and the memory buffer is full ({self._capacity} events)"
            )
        self.records.append(record)

    def take(self) -> bytes | None:
        """Return the oldest record, to be written and then :meth:`written` or :meth:`put_back`; or None."""
        if not self.records:
            return None
        # Counted before it is taken and until it is back: a count may be one too high for a moment, never too low.
        self._in_hand.append(None)
        try:
            return self.records.popleft()
        except IndexError:
            self._in_hand.pop()
            return None

    def written(self) -> None:
        """Note that a record that was taken is on the disk."""
        self._in_hand.pop()

    def put_back(self, record: bytes) -> None:
        """Undo :meth:`take`."""
        self.records.appendleft(record)
        self._in_hand.pop()

    def drop(self) -> int:
        """Forget what waits, because its process ends; return how many that were."""
        dropped = 0
        while self.records:
            try:
                self.records.popleft()
            except IndexError:
                break
            dropped += 1
        return dropped

    def clear(self) -> None:
        """Forget everything."""
        self.records.clear()
        self._in_hand.clear()
