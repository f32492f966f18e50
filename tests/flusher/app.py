"""What the applications in these tests are made of: imported by each of them, in a process of its own.

It imports nothing that an application would not: what is in ``sys.modules`` is looked at.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from lotus_durable.client import Client
from lotus_durable.config import Config
from lotus_durable.flusher import look, spawn

QUEUE_DIR = Path(os.environ["TEST_QUEUE_DIR"])
HOST = os.environ["TEST_HOST"]
STARTS = os.environ["TEST_STARTS"]
"""A file with a line for each start of a flusher."""

_T = TypeVar("_T")
_start_flusher = spawn.start_flusher


def _start_and_count(*arguments: Any) -> None:
    descriptor = os.open(STARTS, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    os.close(descriptor)
    _start_flusher(*arguments)


look.start_flusher = _start_and_count  # type: ignore[assignment,attr-defined]


def configuration(*, constants: dict[str, Any] | None = None, **options: Any) -> Config:
    """Return options for the test's queue and server, with some constants changed."""
    config = Config.resolve({"api_key": "test-key", "host": HOST, "queue_dir": QUEUE_DIR, **options})
    return config._replace(constants=config.constants._replace(**(constants or {})))


def make(**options: Any) -> Client:
    return Client.from_config(configuration(**options))


def track(client: Client, *ids: str, **fields: Any) -> None:
    for each in ids:
        client.track_event(**{"customer_id": "c", "event_name": "x", "idempotency_id": each, **fields})


def allow_forks_beside_threads() -> None:
    """Have no warning about the application's own threads: with ``-W error`` 3.15 raises it in the parent."""
    import warnings

    warnings.filterwarnings("ignore", "This process", DeprecationWarning)


def say(*words: object) -> None:
    """Write a line at once; two processes' lines do not mix."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def hear() -> str:
    """Wait for a line from the test."""
    return sys.stdin.readline().strip()


def wait_until(condition: Callable[[], _T], timeout: float = 20.0) -> _T:
    deadline = time.monotonic() + timeout
    while not (result := condition()):
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.005)
    return result


def exit_code(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
