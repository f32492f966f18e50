"""The two ways of a record to disk: a segment that is this process's own, or SQLite."""

from __future__ import annotations

from collections.abc import Callable

from .appender import Appender, Mark

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class WayToDisk(Protocol):
        """Where a lane's records go."""

        def append(self, record: bytes, now: float, /, *, is_accepted: bool = False) -> Mark | None: ...
        def append_again(self, record: bytes, now: float, mark: Mark, /) -> Mark: ...
        def check(self) -> None: ...
        def written(self) -> dict[str, int]: ...
        def close(self) -> None: ...
        def abandon(self) -> None: ...


def way_to_disk(backend: str) -> Callable[..., WayToDisk]:
    """Return what makes a lane's way to disk; SQLite is imported when a client is made, for those who chose it."""
    if backend == "journal":
        return Appender
    from .sqlite import SqliteAppender

    return SqliteAppender
