"""Watching a server from outside while it runs: that at no time two processes upload."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from .processes import connections
from .running import Running
from .site import Site

_INTERVAL = 0.02  # seconds


class Watch:
    """A context manager: looks again and again which processes have a connection to Lotus.

    The leader has one for as long as it leads, and nobody else does.
    """

    def __init__(self, site: Site, server: Running) -> None:
        self._site = site
        self._server = server
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._owners: dict[str, int] = {}
        self.leaders: list[int] = []
        """The pids of the processes that had one, in this order."""
        self.conflicts: list[dict[int, set[str]]] = []
        """What was open when two processes had one each."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def check(self, *, lasting: bool = True) -> None:
        """Raise AssertionError if two processes uploaded at the same time, or (``lasting``) none was ever seen to."""
        assert self.leaders or not lasting, "nobody ever uploaded"
        assert not self.conflicts, f"more than one process uploads: {self.conflicts}"
        # None of these tests asks a leader to let go, so one that follows itself has had company.
        assert len(set(self.leaders)) == len(self.leaders), f"they took turns at uploading: {self.leaders}"

    def _run(self) -> None:
        before: dict[int, set[str]] = {}
        while not self._stop.wait(_INTERVAL):
            seen = self._look()
            self.leaders += [pid for pid in seen if pid not in self.leaders[-1:]]
            # A look takes time: the one may have been killed and the other elected meanwhile. What was there both
            # times was there all the time between them.
            lasting = {pid: both for pid, names in seen.items() if (both := names & before.get(pid, set()))}
            before = seen
            if len(lasting) > 1:
                self.conflicts.append(lasting)

    def _look(self) -> dict[int, set[str]]:
        found = connections(self._server.processes(), self._site.lotus_port)
        # A child has its parent's until it comes to run.
        own = {
            pid: {name for name in names if self._owners.setdefault(name, pid) == pid}
            for pid, names in sorted(found.items())
        }
        return {pid: names for pid, names in own.items() if names}
