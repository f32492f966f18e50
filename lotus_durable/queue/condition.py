"""How much space a queue has left: on its disk, and below ``max_queue_bytes``."""

from __future__ import annotations

import os
import sys

from lotus_durable.values import NamedTuple

from .directory import QueueDirectory
from .limit import bytes_in, free_on_disk


class Condition(NamedTuple):
    """Bytes and files, now."""

    used_bytes: int
    """All that lies in the directory; what is above ``max_queue_bytes`` is refused."""
    disk_left: int
    """Bytes that events may still take of the disk."""
    files_left: int
    """Files that can still be made on it; very many where the file system sets no limit."""
    quarantine_files: int
    quarantine_bytes: int


def condition(directory: QueueDirectory) -> Condition:
    """Look.

    Raises:
        OSError: the directory cannot be read.
    """
    folders = [bytes_in(each) for each in (directory.root, directory.journal, directory.quarantine)]
    disk = os.statvfs(directory.root)
    return Condition(
        used_bytes=sum(size for size, _ in folders),
        disk_left=max(0, free_on_disk(directory.root)),
        files_left=disk.f_favail if disk.f_files else sys.maxsize,
        quarantine_files=folders[2][1],
        quarantine_bytes=folders[2][0],
    )
