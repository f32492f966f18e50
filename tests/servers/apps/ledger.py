"""What an application under test writes down about its calls, where the library cannot touch it.

Two append-only files for each process. ``intended-*``: a line *before* each call, the idempotency id it will pass, or
``*`` when the library is to choose one. ``returned-*``: the id, *after* the call came back. One ``os.write`` a line:
what is written survives SIGKILL, and only the last line of a file can be torn. Who can tell that an event came no
further than the memory of its process, because the disk is full, writes it to ``kept-*`` first, and to ``returned-*``
when it is on disk.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

LIBRARY_CHOOSES = "*"


class Ledger:
    """Writes lines; usable across forks, in threads, coroutines and signal handlers."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[tuple[int, str], int] = {}

    def intend(self, idempotency_id: str | None) -> None:
        """Note that a call is about to be made."""
        self._write("intended", idempotency_id or LIBRARY_CHOOSES)

    def returned(self, idempotency_id: str) -> None:
        """Note that a call came back: from now on the event must not be lost."""
        self._write("returned", idempotency_id)

    def kept(self, idempotency_id: str) -> None:
        """Note that a call came back while the disk took nothing: the event is in memory, and is lost with that."""
        self._write("kept", idempotency_id)

    def _write(self, kind: str, line: str) -> None:
        key = (os.getpid(), kind)
        descriptor = self._files.get(key)
        if descriptor is None:
            # Two threads may both open one: the loser's file stays empty.
            name = f"{kind}-{os.getpid()}-{os.urandom(4).hex()}"
            descriptor = self._files[key] = os.open(
                self._folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o644
            )
        os.write(descriptor, f"{line}\n".encode())


@dataclass(frozen=True, slots=True)
class Entries:
    """What all processes wrote down."""

    intended: set[str]
    """Ids that the application chose, and was about to pass or did."""
    left_to_library: int
    """Calls, made or about to be, that left the choice of the id to the library."""
    returned: list[str]
    """What the calls returned, in no order."""
    kept: set[str] = field(default_factory=set)
    """What they returned of events that were in memory alone at that time."""

    def missing_in(self, found: Collection[str]) -> set[str]:
        """Return the ids that a call returned and that were not found."""
        return set(self.returned) - set(found)

    def collided(self) -> set[str]:
        """Return the ids that more than one call returned."""
        return {id_ for id_, times in Counter(self.returned).items() if times > 1}

    def never_tracked_in(self, found: Collection[str]) -> int:
        """Return how many of the ids that were found no call can have made.

        An id that the library chose and whose call was killed before it was written down is known to nobody, so of
        those as many are allowed as there are calls that did not return.
        """
        known = {*self.returned, *self.kept}
        unknown = set(found) - self.intended - known
        unreturned = self.left_to_library - len(known - self.intended)
        return max(0, len(unknown) - unreturned)


def read_ledger(folder: Path) -> Entries:
    """Return what is in the files; a torn last line was never completed and does not count."""
    intended = _lines(folder, "intended")
    chosen = [line for line in intended if line != LIBRARY_CHOOSES]
    return Entries(set(chosen), len(intended) - len(chosen), _lines(folder, "returned"), set(_lines(folder, "kept")))


def _lines(folder: Path, kind: str) -> list[str]:
    lines: list[str] = []
    for path in sorted(folder.glob(f"{kind}-*")):
        whole, _, _torn = path.read_text().rpartition("\n")
        lines += whole.splitlines()
    return lines
