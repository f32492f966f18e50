"""Disks that fill up and get free again: a real one where it can be mounted, else refusals inside the processes."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from .points import Arms
from .wrapping import FULL_BELOW

_SIZE = "192m"
_BALLAST = "ballast"
_CHUNK = b"\0" * (1 << 20)


class Disk(Protocol):
    """Where the queue directory is."""

    kind: str
    """For the report."""
    queue_dir: Path

    @property
    def environment(self) -> dict[str, str]:
        """What the processes need to know."""

    def fill(self) -> None:
        """Leave no room."""

    def free(self) -> None:
        """Take that back."""


class MountedDisk:
    """A tmpfs of its own; filled by writing to it until it takes no more."""

    kind = "a tmpfs of its own, filled"

    def __init__(self, root: Path) -> None:
        self._ballast = root / _BALLAST
        self.queue_dir = root / "queue"

    @property
    def environment(self) -> dict[str, str]:
        return {}

    def fill(self) -> None:
        descriptor = os.open(self._ballast, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            with contextlib.suppress(OSError):
                room = os.statvfs(self._ballast)
                os.posix_fallocate(descriptor, 0, room.f_bavail * room.f_frsize - len(_CHUNK))
            with contextlib.suppress(OSError):
                while True:
                    os.write(descriptor, _CHUNK)
        finally:
            os.close(descriptor)

    def free(self) -> None:
        self._ballast.unlink(missing_ok=True)


class RefusingDisk:
    """The disk that is there; the processes refuse to write to it."""

    kind = "refusals inside the processes"

    def __init__(self, root: Path, arms: Arms) -> None:
        self._arms = arms
        self.queue_dir = root / "queue"

    @property
    def environment(self) -> dict[str, str]:
        return {FULL_BELOW: os.fspath(self.queue_dir)}

    def fill(self) -> None:
        self._arms.set_disk_full(True)

    def free(self) -> None:
        self._arms.set_disk_full(False)


@contextlib.contextmanager
def disk(folder: Path, arms: Arms, *, may_mount: bool = True) -> Iterator[Disk]:
    """Give the disk for one run."""
    root = folder / "disk"
    root.mkdir()
    if not (may_mount and _mounts(root)):
        yield RefusingDisk(root, arms)
        return
    try:
        yield MountedDisk(root)
    finally:
        subprocess.run(["umount", "-l", os.fspath(root)], check=True)


def _mounts(root: Path) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", f"size={_SIZE},mode=0700", "tmpfs", os.fspath(root)]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False
