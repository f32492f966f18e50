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

    def __len__(self) -> int:
        return len(self.records)

    def add(self, record: bytes) -> None:
        """Keep one record.

        Raises:
            QueueFull: the buffer is full; the event is not accepted.
        """
        if len(self.records) >= self._capacity:
            raise QueueFull(
                f"event not accepted: the disk takes no writes and the memory buffer is full ({self._capacity} events)"
            )
        self.records.append(record)

    def take(self) -> bytes | None:
        """Return the oldest record, or None."""
        try:
            return self.records.popleft()
        except IndexError:
            return None

    def put_back(self, record: bytes) -> None:
        """Undo :meth:`take`."""
        self.records.appendleft(record)

    def clear(self) -> None:
        """Forget everything."""
        self.records.clear()
