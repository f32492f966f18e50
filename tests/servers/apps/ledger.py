"""What an application under test writes down about its calls, where the library cannot touch it.

Two append-only files for each process. ``intended-*``: a line *before* each call, the idempotency id it will pass, or
``*`` when the library is to choose one. ``returned-*``: the id, *after* the call came back. One ``os.write`` a line:
what is written survives SIGKILL, and only the last line of a file can be torn.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
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


def read_ledger(folder: Path) -> Entries:
    """Return what is in the files; a torn last line was never completed and does not count."""
    intended = _lines(folder, "intended")
    chosen = [line for line in intended if line != LIBRARY_CHOOSES]
    return Entries(set(chosen), len(intended) - len(chosen), _lines(folder, "returned"))


def _lines(folder: Path, kind: str) -> list[str]:
    lines: list[str] = []
    for path in sorted(folder.glob(f"{kind}-*")):
        whole, _, _torn = path.read_text().rpartition("\n")
        lines += whole.splitlines()
    return lines
