"""The workers' own records of what was accepted: files of lines ``id nanoseconds``, each written with one write."""

from __future__ import annotations

import os
from dataclasses import dataclass, field


@dataclass(slots=True)
class Accepted:
    """All that was recorded, by all workers."""

    ids: list[str] = field(default_factory=list)
    nanoseconds: list[int] = field(default_factory=list)
    """How long each ``track_event`` took."""

    def percentile(self, part: float) -> float:
        """Return the time in µs that this part (0 to 1) of the calls did not exceed; 0 when there were none."""
        if not self.nanoseconds:
            return 0.0
        ordered = sorted(self.nanoseconds)
        return ordered[min(len(ordered) - 1, int(part * len(ordered)))] / 1000


class RecordFile:
    """Reads one worker's record while the worker writes it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._offset = 0
        self.lines = 0

    def read_into(self, accepted: Accepted) -> None:
        """Read what is new. An incomplete last line is left: the writer will end it, or was killed in mid-write."""
        if not os.path.exists(self._path):
            return
        with open(self._path, "rb") as file:
            file.seek(self._offset)
            whole, newline, _ = file.read().rpartition(b"\n")
        self._offset += len(whole) + len(newline)
        for line in whole.splitlines():
            accepted_id, nanoseconds = line.split()
            accepted.ids.append(accepted_id.decode())
            accepted.nanoseconds.append(int(nanoseconds))
            self.lines += 1
