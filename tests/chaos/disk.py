"""The disk of a run: a small one of its own that can be filled, where one can be mounted; else the one there is."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

_SIZE, _PER_KILL = 1024, 1
"""Megabytes: room for the directories that are put aside and cloned, which stay until the end: some 7 MB each, most of
it kept free for books, and one for ten kills."""
_CHUNK = b"\0" * (1 << 20)


class Disk:
    """Where the queue directory is."""

    def __init__(self, root: Path, *, can_be_filled: bool) -> None:
        self.root = root
        self.can_be_filled = can_be_filled
        self._ballast = root / "ballast"

    def fill(self) -> None:
        """Leave no room."""
        assert self.can_be_filled
        descriptor = os.open(self._ballast, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            room = os.statvfs(self._ballast)
            with contextlib.suppress(OSError):
                os.posix_fallocate(descriptor, 0, room.f_bavail * room.f_frsize - len(_CHUNK))
            with contextlib.suppress(OSError):
                while True:
                    os.write(descriptor, _CHUNK)
        finally:
            os.close(descriptor)

    @property
    def is_full(self) -> bool:
        """Whether nobody has taken it back yet."""
        return self._ballast.exists()

    def free(self) -> None:
        """Take that back."""
        self._ballast.unlink(missing_ok=True)


@contextlib.contextmanager
def disk(root: Path, kills: int) -> Iterator[Disk]:
    """Give the disk for one run of so many kills, below ``root``, which is made."""
    root.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_SIZE + _PER_KILL * kills}m,mode=0700", "tmpfs", os.fspath(root)]
    try:
        is_mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        is_mounted = False
    try:
        yield Disk(root, can_be_filled=is_mounted)
    finally:
        if is_mounted:
            subprocess.run(["umount", "-l", os.fspath(root)], check=True)
