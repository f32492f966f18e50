"""What a test has started ends with it: no flusher goes on trying a port that is another test's by then.

Every process that a test starts inherits a mark in its environment: a shell, a flusher, and whatever these start. One
that is given another environment is known by the test's folder in its command line, as a flusher's is.

Only processes that are younger than the test are looked at, by their numbers. So what fixtures of a module or of the
session have started before stays, and a look costs little.
"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from tests.flusher.seen import ended
from tests.waiting import wait_until

_NAME = "TEST_THAT_STARTED_THIS"


class Leftovers:
    """The processes of one test.

    Args:
        mark: of no other test.
    """

    def __init__(self, mark: str) -> None:
        self._mark = f"{_NAME}={mark}".encode()
        self._before = _last_process()
        os.environ[_NAME] = mark

    def end(self, folder: Path | None) -> None:
        """Kill them, and those that they start meanwhile.

        Args:
            folder: the test's own, if it has one.
        """
        os.environ.pop(_NAME, None)
        while found := self._find(folder):
            for pid in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            wait_until(lambda: all(map(ended, found)), "killed processes to end", pause=0.001)

    def _find(self, folder: Path | None) -> list[int]:
        now = _last_process()
        if now == self._before:
            return []  # nobody on the whole machine has started a process, or a thread
        place = None if folder is None else os.fsencode(folder)
        found = []
        for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))):
            if _is_between(self._before, pid, now) and not ended(pid):
                is_marked = self._mark in _read(f"/proc/{pid}/environ").split(b"\0")
                if is_marked or (place is not None and place in _read(f"/proc/{pid}/cmdline")):
                    found.append(pid)
        return found


def _last_process() -> int:
    """Return the number that the last process, or thread, was given."""
    return int(_read("/proc/loadavg").rpartition(b" ")[2])


def _is_between(before: int, number: int, now: int) -> bool:
    """Whether a number was given later than one and not later than another; after the largest they begin anew."""
    return before < number <= now if before <= now else not now < number <= before


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""
