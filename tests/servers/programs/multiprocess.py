"""Tracks in processes of multiprocessing and concurrent.futures, and in a thread of the parent meanwhile.

Argument: the start method.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from tests.servers.apps.tracking import track

TASKS = 40


def track_and_die(count: int) -> None:
    """Track, and end as when memory runs out."""
    track(count)
    os.kill(os.getpid(), signal.SIGKILL)


def main(method: str) -> None:
    """Do it."""
    context: Any = multiprocessing.get_context(method)
    track(5)
    parent = threading.Thread(target=track, args=(500,))
    parent.start()
    with context.Pool(3, maxtasksperchild=5) as pool:
        pool.map(track, [5] * TASKS, chunksize=1)
    with ProcessPoolExecutor(3, mp_context=context) as executor:
        list(executor.map(track, [5] * TASKS))
    children = [context.Process(target=target, args=(5,)) for target in (track, track_and_die) * 2]
    for child in children:
        child.start()
    for child in children:
        child.join()
    parent.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
