"""Tracks in a signal handler that interrupts track_event in the same thread."""

from __future__ import annotations

import signal
from types import FrameType

from tests.servers.apps.tracking import track

INTERVAL = 0.002  # seconds
EVENTS = 2_000


def main() -> None:
    """Do it."""
    handled = 0

    def handle(_number: int, _frame: FrameType | None) -> None:
        nonlocal handled
        handled += 1
        track()

    track()
    signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, INTERVAL, INTERVAL)
    track(EVENTS)
    while handled < EVENTS // 20:
        track()
    signal.setitimer(signal.ITIMER_REAL, 0)


if __name__ == "__main__":
    main()
