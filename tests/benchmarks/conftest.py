from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.bench import Bench
from benchmarks.scale import TINY
from benchmarks.server import Server, serving


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """As little of everything as shows that it works; nobody else's clients."""
    return Bench(TINY, tmp_path, rivals=False)


@pytest.fixture
def sink() -> Iterator[Server]:
    with serving() as server:
        yield server
