"""Which servers are fake: the URLs of all FakeLotus of this test run."""

from __future__ import annotations

from collections.abc import Callable

started: set[str] = set()
"""A server that is stopped stays in it: what is tracked for it is still for no other one."""
watchers: list[Callable[[], None]] = []
"""Called when there is another one."""


def add(host: str) -> None:
    """Note a server that was started."""
    started.add(host)
    for watcher in watchers:
        watcher()
