from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lotus_durable.queue.appender import Appender
from lotus_durable.queue.directory import QueueDirectory

from .faults import kill_children
from .segments import Reports, let_only_told_time_pass, open_appender

MEMORY_DISK = "/dev/shm"


@pytest.fixture
def memory_path(tmp_path: Path) -> Iterator[Path]:
    """A directory on a disk whose syncs cost nothing, for tests that need many of them and never cut the power."""
    if not os.access(MEMORY_DISK, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="lotus_durable-", dir=MEMORY_DISK) as path:
        yield Path(path)


@pytest.fixture(autouse=True)
def _only_told_time_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    let_only_told_time_pass(monkeypatch)


@pytest.fixture(autouse=True)
def children() -> Iterator[None]:
    yield
    kill_children()


@pytest.fixture
def reports() -> Reports:
    return Reports()


@pytest.fixture(params=[False, True], ids=["process", "power"])
def appender(directory: QueueDirectory, reports: Reports, request: pytest.FixtureRequest) -> Iterator[Appender]:
    """What appends to the queue as a process does, with either durability."""
    appender = open_appender(directory, reports, power=request.param)
    appender._trust_lasts = 3600.0  # also where each event is checked: tests say what comes before the next check
    yield appender
    appender.close()
