"""The memory buffer, in which accepted events wait while the disk takes no writes, and writing them back."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from lotus_durable.errors import QueueFull

CAPACITY = 10_000
"""Events."""
WRITTEN_BACK_PER_APPEND = 64
"""Events; more than one, so that the buffer empties, and few enough that no caller waits for all of it."""


class MemoryBuffer:
    """A bounded first-in first-out buffer of one process. ``deque`` makes each step atomic, so it takes no lock.

    Attributes:
        records: what waits, oldest first; a plain attribute, because each append looks whether there is any.
    """

    def __init__(self) -> None:
        self.records: deque[bytes] = deque()

    def keep(self, record: bytes, others: int = 0) -> None:
        """Keep one record.

        Args:
            record: of an event.
            others: how many records the other buffers of this process hold.

        Raises:
            QueueFull: they are full; the event is not accepted.
        """
        if len(self.records) + others >= CAPACITY:
            raise QueueFull(
                f"event not accepted: the disk takes no writes and the memory buffer is full ({CAPACITY} events)"
            )
        self.records.append(record)

    def write_back(self, write: Callable[[bytes], object], limit: int) -> None:
        """Write, oldest first; whatever ``write`` raises leaves the rest, and that one too, where it was.

        Args:
            write: writes one record.
            limit: records.
        """
        for _ in range(limit):
            taken: list[bytes] = []
            try:
                # One call of C: a signal handler may raise between any two steps of Python, and the event was accepted.
                taken.extend(map(deque.popleft, (self.records,)))
                write(taken[0])
            except BaseException as error:
                self.records.extendleft(taken)
                if not taken and isinstance(error, IndexError):
                    return  # that was all
                raise
