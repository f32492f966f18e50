"""Where the benchmarks run: folders that go away again, and child processes with nothing inherited by accident."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The checkout: children find the package ``benchmarks`` there."""

API_KEY = "benchmark-key"

_NOT_PASSED_ON = ("LOTUS_", "PYTHONDONTWRITEBYTECODE")  # without bytecode an import takes several times as long


def environment(**more: str) -> dict[str, str]:
    """Return the environment for a child: without anybody's settings of ours."""
    kept: Mapping[str, str] = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_PASSED_ON)}
    return {**kept, "PYTHONPATH": str(ROOT), **more}


@contextmanager
def scratch(parent: Path) -> Iterator[Path]:
    """Make a folder in ``parent`` and remove it, with what is in it, afterwards."""
    made = Path(tempfile.mkdtemp(prefix="lotus-benchmark-", dir=parent))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
