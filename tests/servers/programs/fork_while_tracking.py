"""Forks again and again while other threads are inside track_event; the children track in threads of their own."""

from __future__ import annotations

import os
import signal
import sys
import threading

from tests.servers.apps.tracking import track

THREADS = 4
CHILDREN = 16


def in_threads(count: int, events: int) -> list[threading.Thread]:
    """Start threads that track."""
    threads = [threading.Thread(target=track, args=(events,)) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads


def be_child(number: int) -> None:
    """Track, and end in one of the ways there are."""
    for thread in in_threads(2, 20):
        thread.join()
    match number % 3:
        case 0:
            os.kill(os.getpid(), signal.SIGKILL)
        case 1:
            os._exit(0)
        case _:
            sys.exit(0)


def main() -> None:
    """Do it."""
    threads: list[threading.Thread] = []
    for number in range(CHILDREN):
        threads += in_threads(THREADS, 40)
        if os.fork() == 0:
            be_child(number)
    for thread in threads:
        thread.join()
    for _ in range(CHILDREN):
        os.wait()


if __name__ == "__main__":
    main()
