"""The named points at which a process is killed, and how the harness asks for it.

The harness arms one point at a time: it puts a file ``arms/NAME`` there, and a chance into a byte that all processes
map. A process that comes to the point draws; if it is to be, it claims the file (a rename, so one process alone gets
it) and sends SIGKILL to itself. The product knows nothing of this: :mod:`.wrapping` goes around its calls.
"""

from __future__ import annotations

import mmap
import os
import random
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

JOURNAL = ("journal",)
ANY_BACKEND = ("journal", "sqlite")


@dataclass(frozen=True, slots=True)
class Point:
    """One named point."""

    about: str
    leads: bool = True
    """Whether the process that comes here is the leader; else it is one that tracks."""
    backends: tuple[str, ...] = JOURNAL


POINTS: Mapping[str, Point] = {
    "torn-write": Point("in the middle of the write of a frame", leads=False),
    "written-not-returned": Point("after the write, before track_event returns", leads=False, backends=ANY_BACKEND),
    "rotating": Point("a segment is sealed, the next one has no name yet", leads=False),
    "read-not-sent": Point("a batch is read, not sent", backends=ANY_BACKEND),
    "sent-no-answer": Point("a batch is sent, no answer read", backends=ANY_BACKEND),
    "answered-nothing-stored": Point("the answer is read, nothing of it is stored", backends=ANY_BACKEND),
    "stored-cursor-not-moved": Point("parked or dead events are stored, the cursor not moved", backends=ANY_BACKEND),
    "slot-half-written": Point("in the middle of the write of a slot of state.recent"),
    "cursor-written-not-renamed": Point("the new state file is written, not renamed"),
    "renamed-directory-not-synced": Point("the new state file is renamed, the directory not synced"),
    "deleting-segment": Point("right before or after a settled segment is deleted"),
    "quarantining": Point("damaged bytes are being kept aside"),
}

_NAMES = tuple(POINTS)
_DISK_FULL = len(_NAMES)
"""The byte after those of the points: whether writes to the queue directory are to be refused."""
_CERTAIN = 255


def points_of(backend: str) -> list[str]:
    """Return the names of the points that a backend has."""
    return [name for name, point in POINTS.items() if backend in point.backends]


class Arms:
    """The folder and the map through which the harness and its processes speak. One in each process."""

    def __init__(self, folder: Path, *, seed: str = "") -> None:
        self._folder = folder
        self._random = random.Random(seed)
        descriptor = os.open(folder / "map", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(descriptor, len(_NAMES) + 1)
            self._bytes = mmap.mmap(descriptor, len(_NAMES) + 1)
        finally:
            os.close(descriptor)

    @classmethod
    def prepared(cls, folder: Path) -> Arms:
        """Make the folder; for the harness, once."""
        for each in (folder, folder / "arms", folder / "hits"):
            each.mkdir()
        return cls(folder)

    def close(self) -> None:
        """Let go of the map."""
        self._bytes.close()

    # For the harness

    def arm(self, name: str, chance: float) -> None:
        """Have the next process killed that comes to this point, with ``chance`` (0 to 1) for each time."""
        (self._folder / "arms" / name).touch()
        self._bytes[_NAMES.index(name)] = max(1, round(chance * _CERTAIN))

    def disarm(self, name: str) -> None:
        """Ask for nothing any more."""
        self._bytes[_NAMES.index(name)] = 0
        (self._folder / "arms" / name).unlink(missing_ok=True)

    def is_armed(self, name: str) -> bool:
        """Whether nobody has been killed there yet."""
        return (self._folder / "arms" / name).exists()

    def hits(self) -> list[tuple[str, int]]:
        """Return the point and the pid of each process that was killed at one, in no order."""
        found = []
        for entry in os.listdir(self._folder / "hits"):
            name, _, pid = entry.rpartition("-")
            found.append((name, int(pid)))
        return found

    def set_disk_full(self, full: bool) -> None:
        """Have writes to the queue directory refused, where the disk itself cannot be filled."""
        self._bytes[_DISK_FULL] = full

    # For the processes

    def reseed(self, seed: str) -> None:
        """Draw by another seed from now on."""
        self._random.seed(seed)

    def is_disk_full(self) -> bool:
        """Whether writes are to be refused."""
        return bool(self._bytes[_DISK_FULL])

    def reach(self, name: str) -> None:
        """Die here, if it is asked for and the draw is so."""
        if self.claims(name):
            die()

    def claims(self, name: str) -> bool:
        """Whether this process is the one that is to die at this point, now."""
        index = _NAMES.index(name)
        chance = self._bytes[index]
        if not chance or self._random.random() * _CERTAIN > chance:
            return False
        try:
            _rename(self._folder / "arms" / name, self._folder / "hits" / f"{name}-{os.getpid()}")
        except FileNotFoundError:
            return False  # another one was quicker
        self._bytes[index] = 0
        return True


def die() -> NoReturn:
    """SIGKILL for this process, here."""
    while True:
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(1)


_rename = os.rename  # the real one: os.rename itself is one of the calls that are wrapped
