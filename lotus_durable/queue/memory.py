"""Writing back what waits in a process's memory: accepted events, while the disk takes no writes."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable

CAPACITY = 10_000
"""Events."""
WRITTEN_BACK_PER_APPEND = 64
"""Events; more than one, so that the buffer empties, and few enough that no caller waits for all of it."""


def write_back(waiting: deque[bytes], write: Callable[[bytes], object], limit: int) -> None:
    """Write so many records, oldest first; whatever ``write`` raises leaves the rest, and that one too, where it was.

    ``deque`` makes each step atomic, so other threads may do the same.
    """
    for _ in range(limit):
        taken: list[bytes] = []
        try:
            # One call of C: a signal handler may raise between any two steps of Python, and the event was accepted.
            taken.extend(map(type(waiting).popleft, (waiting,)))
            write(taken[0])
        except BaseException as error:
            waiting.extendleft(taken)
            if not taken and isinstance(error, IndexError):
                return  # that was all
            raise
