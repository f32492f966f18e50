"""The harness itself, at a size that fits into the tests. The long run is a command: see docs/reliability.md."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.rig import wait_until

from .plan import REPOSITORY, Plan
from .run import run
from .strikes import STRIKES, UNTIDY, WORLD
from .table import as_lines

pytestmark = pytest.mark.timeout(170)  # they take some 40 seconds of two processors that do nothing else

SLOW = ("flusher stopped for good", "at: lock released", "server slower than anybody waits", "server slow")
"""Strikes of some seconds each."""
OPERATORS = (
    "directory moved",
    "directory swapped",
    "journal swapped",
    "mounted over",
    "restored",
    "cloned",
    "clock set",
    "deployed",
)


def play(plan: Plan, root: Path) -> None:
    outcome = run(plan, root)
    print("\n".join(as_lines(outcome)))  # noqa: T201  # pytest shows it when the test fails
    assert outcome.problems == ()
    assert outcome.tally.kills >= plan.kills
    assert outcome.comparison.acknowledged >= plan.events * 0.9


def test_a_dozen_kills_among_hands_on_all_files_lose_nothing_that_they_did_not_destroy(tmp_path: Path) -> None:
    play(Plan(seed=5, kills=12, events=300, workers=2, rate=200.0, without=SLOW), tmp_path)


def test_what_operators_do_to_a_queue_in_use_loses_nothing_that_they_did_not_destroy(tmp_path: Path) -> None:
    others = tuple(name for name in STRIKES if name not in OPERATORS)
    play(Plan(seed=6, kills=0, events=600, workers=4, rate=150.0, without=(*others, *WORLD)), tmp_path)


def test_on_the_server_of_2022_kills_lose_nothing_and_every_event_is_counted_once(tmp_path: Path) -> None:
    tidy = (*SLOW, *UNTIDY)
    play(Plan(seed=5, kills=6, events=200, workers=2, rate=200.0, generation="L22", without=tidy), tmp_path)


def test_interrupted_it_leaves_no_process_behind(tmp_path: Path) -> None:
    harness = subprocess.Popen(
        [sys.executable, "-m", "tests.chaos", "--workers", "2", "--seed", "3"],
        cwd=REPOSITORY,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: any(tmp_path.glob("*/run/ledger/returned-*")))
        assert _processes_about(tmp_path)
        harness.send_signal(signal.SIGTERM)
        assert harness.wait(30) == 130
        wait_until(lambda: not _processes_about(tmp_path))
        assert not list(tmp_path.iterdir())
    finally:
        harness.kill()
        harness.wait()


def _processes_about(folder: Path) -> list[int]:
    """Return all processes whose variables name the folder: those of a run know it by its points."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            try:
                environment = Path(f"/proc/{name}/environ").read_text(errors="replace")
            except OSError:
                continue
            if str(folder) in environment:
                found.append(int(name))
    return found
