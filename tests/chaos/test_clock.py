"""The clock of the processes under test is set for all of them at once, and the monotonic one is left alone."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .clock import Clock

_ASK = """
import sqlite3, time
for _ in iter(input, "end"):
    [[by_sqlite]] = sqlite3.connect(":memory:").execute("SELECT unixepoch()")
    print(time.time(), by_sqlite, time.monotonic(), flush=True)
"""


def test_a_clock_that_is_set_is_seen_by_python_and_by_sqlite(tmp_path: Path) -> None:
    clock = Clock(tmp_path / "clock")
    if not clock.can_be_set:
        pytest.skip("there is no C compiler")
    with subprocess.Popen(
        [sys.executable, "-c", _ASK],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **clock.environment()},
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for ahead in (0, 400 * 86_400, -86_400, 0):
            clock.set(ahead)
            before, began = time.time(), time.monotonic()
            process.stdin.write("\n")
            process.stdin.flush()
            by_python, by_sqlite, monotonic = map(float, process.stdout.readline().split())
            after, ended = time.time(), time.monotonic()
            assert before <= by_python - ahead <= after
            assert int(before) <= by_sqlite - ahead <= after
            assert began <= monotonic <= ended
        process.stdin.write("end\n")
