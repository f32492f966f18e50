"""Tracks in greenlets of a process that is monkey-patched, and in children that it forks."""

from __future__ import annotations

from gevent import monkey  # type: ignore[import-untyped]

monkey.patch_all()

import os  # noqa: E402  # gevent must come first
import sys  # noqa: E402  # as above

import gevent  # noqa: E402  # as above

from tests.servers.apps.tracking import track  # noqa: E402  # as above


def track_now_and_then(times: int) -> None:
    """Track, let others, and track again."""
    for _ in range(times):
        track()
        gevent.sleep(0)


def main() -> None:
    """Do it."""
    greenlets = [gevent.spawn(track_now_and_then, 20) for _ in range(50)]
    for _ in range(4):
        gevent.sleep(0)
        if os.fork() == 0:
            gevent.joinall([gevent.spawn(track_now_and_then, 20) for _ in range(10)])
            sys.exit(0)
    gevent.joinall(greenlets, raise_error=True)
    for _ in range(4):
        os.wait()


if __name__ == "__main__":
    main()
