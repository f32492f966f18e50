"""Where the benchmarks run: folders that go away again, and child processes with nothing inherited by accident."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The checkout: children find the package ``benchmarks`` there."""

API_KEY = "benchmark-key"

_NOT_PASSED_ON = ("LOTUS_", "PYTHONDONTWRITEBYTECODE")  # without bytecode an import takes several times as long


_FLUSHER = b"flusher/boot.py"
"""In the command line of a flusher that a process started; its queue is there too."""
_GONE_TIMEOUT = 10.0  # seconds; a flusher whose directory is gone ends within one
_LOOK_INTERVAL = 0.02  # seconds


def environment(**more: str) -> dict[str, str]:
    """Return the environment for a child: without anybody's settings of ours."""
    kept: Mapping[str, str] = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_PASSED_ON)}
    return {**kept, "PYTHONPATH": str(ROOT), **more}


@cache
def only_benchmarks() -> Path:
    """Return a folder where ``benchmarks`` is found and nothing else, for environments with a build of their own."""
    folder = tempfile.TemporaryDirectory(prefix="lotus-benchmarks-")
    _kept.append(folder)
    (Path(folder.name) / "benchmarks").symlink_to(ROOT / "benchmarks")
    return Path(folder.name)


_kept: list[tempfile.TemporaryDirectory[str]] = []
"""Removed when this process ends."""


def flushers_of(folder: Path) -> list[int]:
    """Return the processes that flush a queue in ``folder`` and were started by one that tracks."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                command = (process / "cmdline").read_bytes()
            except OSError:
                continue  # it has ended
            if _FLUSHER in command and os.fsencode(folder) in command:
                found.append(int(process.name))
    return found


@contextmanager
def scratch(parent: Path) -> Iterator[Path]:
    """Make a folder in ``parent`` and remove it, with what is in it, afterwards."""
    made = Path(tempfile.mkdtemp(prefix="lotus-benchmark-", dir=parent))
    try:
        yield made
    finally:
        _remove(made)


def _remove(folder: Path) -> None:
    """Remove a folder, and wait for its flusher to end: it would be in the way of whoever is measured next."""
    ends = time.monotonic() + _GONE_TIMEOUT
    while True:
        shutil.rmtree(folder, ignore_errors=True)  # a flusher may make a file meanwhile
        if (not folder.exists() and not flushers_of(folder)) or time.monotonic() > ends:
            return
        time.sleep(_LOOK_INTERVAL)
