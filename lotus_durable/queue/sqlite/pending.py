"""persist-queue's SQLiteQueue as we use it; imported when the first connection is opened, and not before."""

from __future__ import annotations

import sqlite3
from typing import cast

from persistqueue import SQLiteQueue


class PendingQueue(SQLiteQueue):
    """Without what does not hold when several processes share it, and costs the more the longer the backlog."""

    @property
    def reader(self) -> sqlite3.Connection:
        """The connection that only reads."""
        return cast("sqlite3.Connection", self._getter)

    @property
    def writer(self) -> sqlite3.Connection:
        """The connection that ``put`` and ``task_done`` use."""
        return cast("sqlite3.Connection", self._putter)

    def _count(self) -> int:
        # For qsize(), which is per-process arithmetic; it would read the whole table at each opening.
        return 0

    def __del__(self) -> None:
        """Close nothing: a child must not; see :mod:`.connection`."""
