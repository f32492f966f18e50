"""The segments that a process has written and gone on from, for as long as they may not be settled."""

from __future__ import annotations

import os

from .directory import QueueDirectory, released_name

_MANY = 32


class SealedSegments:
    """Names and ends of sealed segments; one that is deleted was settled before."""

    def __init__(self, directory: QueueDirectory) -> None:
        self._journal = directory.journal
        self._ends: dict[str, int] = {}

    def add(self, name: str, end: int) -> None:
        """Take note of one more, by the name that its writer gave it."""
        self._ends[name] = end
        if len(self._ends) > _MANY:
            self._forget_deleted()

    def ends(self) -> dict[str, int]:
        """Return the ends of those that are still there, by name."""
        self._forget_deleted()
        return dict(self._ends)

    def clear(self) -> None:
        """Forget all."""
        self._ends.clear()

    def _forget_deleted(self) -> None:
        for name in tuple(self._ends):
            if not any(os.path.exists(f"{self._journal}/{each}") for each in (name, released_name(name))):
                del self._ends[name]
