"""Whether an OSError is the disk's, or was raised by a signal handler of the application in the middle of our call.

A handler's error (a TimeoutError that ends a worker's request, say) has no errno, or one that no disk gives. It must
come out of our call, whatever that was doing. So in a process that tracks nothing here catches every OSError, and
nothing asks by functions that do (``os.path.exists`` and ``os.path.isdir``).
"""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

_OF_NO_DISK = (ConnectionError, TimeoutError, InterruptedError, ChildProcessError, ProcessLookupError)


def is_of_the_disk(error: BaseException | None) -> bool:
    """Whether it is the disk's."""
    return isinstance(error, OSError) and error.errno is not None and not isinstance(error, _OF_NO_DISK)


class DatabaseDamaged(OSError):
    """A database of the queue is damaged beyond SQLite's understanding, or is none; no disk mends that by itself."""


class DiskErrorsSuppressed:
    """``contextlib.suppress`` for those."""

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> bool:
        """Return whether to suppress it."""
        return is_of_the_disk(error)


def is_there(path: str) -> bool:
    """``os.path.exists``, from which a signal handler's error comes out."""
    return _mode(path) is not None


def is_folder(path: str) -> bool:
    """``os.path.isdir``, in the same way."""
    return stat.S_ISDIR(_mode(path) or 0)


def is_file(path: str) -> bool:
    """``os.path.isfile``, in the same way."""
    return stat.S_ISREG(_mode(path) or 0)


def _mode(path: str) -> int | None:
    with DiskErrorsSuppressed():
        return os.stat(path).st_mode
    return None
