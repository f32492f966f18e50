"""The work of every task queue under test."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable

from .tracking import track

FOLDER = "TEST_BROKER"
"""The environment variable that names a folder for brokers that need one."""
REDIS = "TEST_REDIS"
"""The one that holds the URL of a Redis."""
LIMIT = 1
"""Seconds that a task may take, where the queue has such limits."""


def track_some(count: int) -> None:
    """Track events, and do nothing after it: some queues end the process at that moment."""
    track(count)


def track_and_die(count: int) -> None:
    """Track events and be killed, as when memory runs out."""
    track(count)
    os.kill(os.getpid(), signal.SIGKILL)


def track_and_hang(count: int) -> None:
    """Track events, and be ended because of the time it takes."""
    track(count)
    time.sleep(3600)


def nothing(count: int) -> None:
    """Track nothing: what this process imports was imported."""
    del count


def enqueue_from_command_line(enqueue: Callable[[str, int], object]) -> None:
    """Enqueue what the arguments of this program say: the job's name, how often, and its argument."""
    name, times, count = sys.argv[1:]
    for _ in range(int(times)):
        enqueue(name, int(count))
