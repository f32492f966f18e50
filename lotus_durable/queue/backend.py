"""Which backend a queue directory belongs to, so that no event in it is ever silently ignored.

The file ``backend`` in the directory says it: ``journal``, ``sqlite``, or, while ``lotus-durable migrate`` works,
``journal to sqlite`` or ``sqlite to journal``, and then neither backend touches it. Whoever comes first to an empty
directory makes it theirs; a directory without the file that holds a journal is the journal's. Writers look again
*after* they have opened something that others can see (a locked segment, a database connection): a migration that has
set the file and then finds nobody there is alone.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import Literal

from lotus_durable.errors import QueueDirectoryError

from .directory import FILE_MODE, QueueDirectory, sync_directory, write_atomically, write_whole

BackendName = Literal["journal", "sqlite"]


class OtherBackend(QueueDirectoryError):
    """The queue directory belongs to another backend, or is being moved from one to the other."""


def read_backend(directory: QueueDirectory) -> str | None:
    """Return what the directory says; None when it is nobody's yet.

    Raises:
        OSError: the disk refuses.
    """
    with contextlib.suppress(FileNotFoundError):
        return directory.backend.read_text().strip()
    return "journal" if directory.state.exists() or directory.segments() else None


def write_backend(directory: QueueDirectory, text: str) -> None:
    """Replace what the directory says, durably: the commit point of a migration.

    Raises:
        OSError: the disk refuses; what it said before stands.
    """
    write_atomically(directory.backend, f"{text}\n".encode())


def require_backend(directory: QueueDirectory, backend: BackendName) -> None:
    """Refuse a directory that holds the events of the other backend.

    Raises:
        OtherBackend: (a QueueDirectoryError) it does, or a migration was not finished.
        OSError: the disk refuses.
    """
    found = read_backend(directory)
    if found in (None, backend):
        return
    if found in ("journal", "sqlite"):
        raise OtherBackend(
            f"queue_dir {directory.root} holds the events of backend {found!r} and this process is set to backend "
            f"{backend!r}: set backend (LOTUS_BACKEND) to {found!r}, or stop everything that uses the directory and "
            f"run `lotus-durable migrate --to {backend}`"
        )
    raise OtherBackend(
        f"queue_dir {directory.root} is being moved from one backend to the other ({found}): wait for "
        "`lotus-durable migrate` to end, or run it again if it was interrupted"
    )


def claim_backend(directory: QueueDirectory, backend: BackendName) -> None:
    """Make a directory that is nobody's this backend's; refuse the other one's.

    Raises:
        OtherBackend: see :func:`require_backend`.
        OSError: the disk refuses.
    """
    require_backend(directory, backend)
    if directory.backend.exists():
        return
    try:
        _create(directory, backend)
    except OSError:
        # A journal is known without it, and a full disk must not keep it from being delivered.
        if read_backend(directory) != backend:
            raise
    require_backend(directory, backend)


def _create(directory: QueueDirectory, backend: BackendName) -> None:
    temporary = directory.backend.with_name(f"backend.{os.getpid()}-{os.urandom(4).hex()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
    try:
        try:
            write_whole(descriptor, f"{backend}\n".encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        # Whole at once, and never over somebody else's.
        os.link(temporary, directory.backend)
        sync_directory(directory.root)
    except FileExistsError:
        pass
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        write_backend(directory, backend)  # a file system without hard links
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
