"""Creating a segment: complete, locked by its writer, and with a descriptor number that others hardly use."""

from __future__ import annotations

import fcntl
import os

from lotus_durable import descriptors
from lotus_durable.disk import DiskErrorsSuppressed

from .directory import QueueDirectory, refuse_without_locks, segment_name, unfinished_name
from .files import FILE_MODE, sync_data, sync_path, write_rest
from .format import Header

_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_LAST_STANDARD_DESCRIPTOR = 2


def create_segment(directory: QueueDirectory, header: Header, content: bytes, *, sync: bool) -> tuple[str, int]:
    """Create, lock, write, and only then give the file the name that readers look for; return path and descriptor.

    A reader therefore never sees a segment without a header, and never one that looks abandoned by its writer.

    Args:
        directory: of the queue.
        header: of the segment.
        content: what is in it from the beginning: the header and perhaps frames.
        sync: whether it must survive a power cut.

    Raises:
        OSError: the disk refuses; nothing of it is there, but perhaps an unfinished file that is never read.
    """
    name = segment_name(header.created_ns, header.pid, header.marker)
    path, unfinished = f"{directory.journal}/{name}", f"{directory.journal}/{unfinished_name(name)}"
    descriptor = _moved_up(os.open(unfinished, _CREATE, FILE_MODE))
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            refuse_without_locks(directory.journal)  # a reason that a person can do something about, if it is that
            raise
        write_rest(descriptor, content)
        if sync:
            sync_data(descriptor)
        os.rename(unfinished, path)
        if sync:
            sync_path(directory.journal)
    except BaseException:
        os.close(descriptor)
        for file in (unfinished, path):
            with DiskErrorsSuppressed():
                os.unlink(file)
        raise
    return path, descriptor


def _moved_up(descriptor: int) -> int:
    """Return the descriptor under a number of ours; under the one it has where there is none."""
    moved = descriptors.duplicate(descriptor, descriptors.FIRST)
    if moved is not None and moved > descriptors.LAST:
        os.close(moved)
        moved = None
    if moved is None and descriptor <= _LAST_STANDARD_DESCRIPTOR:
        moved = descriptors.duplicate(descriptor, _LAST_STANDARD_DESCRIPTOR + 1)
    if moved is None:
        return descriptor
    os.close(descriptor)
    return moved
