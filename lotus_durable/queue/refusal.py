"""What an error of a write or of the queue directory means, and whether it goes away by waiting."""

from __future__ import annotations

import errno
import os

from lotus_durable.errors import QueueDirectoryError

_A_PERSONS = (
    errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG,
)  # fmt: skip
"""What a disk says that only a person can change."""


def is_misconfigured(error: Exception) -> bool:
    """Whether waiting does not mend it."""
    return isinstance(error, QueueDirectoryError) or (isinstance(error, OSError) and error.errno in _A_PERSONS)


def reason(error: Exception) -> str:
    """Return why the disk refuses, by the name an operator can look up: ``ENOSPC: No space left on device``."""
    if not isinstance(error, OSError):
        return str(error)
    return f"{errno.errorcode.get(error.errno or 0, type(error).__name__)}: {error.strerror or error}"


def directory_error(root: str, error: Exception) -> QueueDirectoryError:
    """Return what to raise where a queue directory cannot be used."""
    if isinstance(error, QueueDirectoryError):
        return error
    said = error.strerror if isinstance(error, OSError) else str(error)
    return QueueDirectoryError(
        f"queue_dir {root} cannot be used by user {os.geteuid()}: {said}; make it this user's, or set "
        "another one (lotus_durable.queue_dir or LOTUS_QUEUE_DIR)"
    )
