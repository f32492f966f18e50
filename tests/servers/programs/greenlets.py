"""Tracks in greenlets of a process that is monkey-patched, and in children that it forks while it leads.

A forked child has all greenlets of its parent, and they go on: also those of the flusher, which is a greenlet here.
"""

from __future__ import annotations

from gevent import monkey  # type: ignore[import-untyped]

monkey.patch_all()

import os  # noqa: E402  # gevent must come first
import sys  # noqa: E402  # as above

import gevent  # noqa: E402  # as above

import lotus_durable as lotus  # noqa: E402  # as above
from tests.servers.apps.tracking import track  # noqa: E402  # as above

CHILDREN = 3
ROUNDS = 100
PAUSE = 0.02  # seconds


def track_now_and_then() -> None:
    """Track, let others, and track again."""
    for _ in range(ROUNDS):
        track()
        gevent.sleep(PAUSE)


def main() -> None:
    """Do it."""
    track()
    while not lotus.stats().delivered:
        gevent.sleep(PAUSE)
    for _ in range(CHILDREN):
        if os.fork() == 0:
            gevent.joinall([gevent.spawn(track_now_and_then) for _ in range(3)], raise_error=True)
            sys.exit(0)
    track_now_and_then()
    for _ in range(CHILDREN):
        os.wait()


if __name__ == "__main__":
    main()
