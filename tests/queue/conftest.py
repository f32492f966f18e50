from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.journal import JournalQueue

from .events import Reports
from .faults import kill_children

OpenQueue = Callable[..., JournalQueue]

MEMORY_DISK = "/dev/shm"


@pytest.fixture
def directory(tmp_path: Path) -> QueueDirectory:
    """A queue directory that exists and is empty."""
    directory = QueueDirectory(tmp_path / "queue")
    directory.prepare()
    return directory


@pytest.fixture
def memory_path(tmp_path: Path) -> Iterator[Path]:
    """A directory on a disk whose syncs cost nothing, for tests that need many of them and never cut the power."""
    if not os.access(MEMORY_DISK, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="lotus_durable-", dir=MEMORY_DISK) as path:
        yield Path(path)


@pytest.fixture
def eager_switching() -> Iterator[None]:
    """Let threads take turns fifty times as often: more places to meet in, and less time to wait for a turn."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.0001)
    yield
    sys.setswitchinterval(before)


@pytest.fixture(autouse=True)
def children() -> Iterator[None]:
    yield
    kill_children()


@pytest.fixture
def reports() -> Reports:
    return Reports()


@pytest.fixture
def open_queue(directory: QueueDirectory, reports: Reports) -> Iterator[OpenQueue]:
    """Opens queues on one directory, each like a process of its own, and closes them."""
    opened: list[JournalQueue] = []

    def open_one(
        *,
        at: QueueDirectory = directory,
        segment_bytes: int = 1 << 20,
        max_queue_bytes: int = 1 << 30,
        power: bool = False,
        sync_interval: float = 1.0,
    ) -> JournalQueue:
        queue = JournalQueue(
            at,
            segment_bytes=segment_bytes,
            max_queue_bytes=max_queue_bytes,
            power=power,
            sync_interval=sync_interval,
            report=reports,
        )
        opened.append(queue)
        return queue

    yield open_one
    for queue in opened:
        queue.close()


@pytest.fixture
def queue(open_queue: OpenQueue) -> JournalQueue:
    return open_queue()
