"""Whether an OSError is the disk's, or was raised by a signal handler of the application in the middle of our call.

A handler's error (a TimeoutError that ends a worker's request, say) has no errno, or one that no disk gives. It must
come out of our call, whatever that was doing.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

_OF_NO_DISK = (ConnectionError, TimeoutError, InterruptedError, ChildProcessError, ProcessLookupError)


def is_of_the_disk(error: BaseException | None) -> bool:
    """Whether it is the disk's."""
    return isinstance(error, OSError) and error.errno is not None and not isinstance(error, _OF_NO_DISK)


class DiskErrorsSuppressed:
    """``contextlib.suppress`` for those."""

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> bool:
        """Return whether to suppress it."""
        return is_of_the_disk(error)
