"""The harness itself, at a size that fits into the tests. The long run is a command: see docs/reliability.md."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.rig import wait_until

from .crew import REPOSITORY
from .decisions import rounds
from .history import History, read_history
from .plan import Plan, Round, Strike
from .points import points_of
from .run import Outcome, run
from .table import as_lines

SEED = 20_221_122


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inside = tmp_path / "run"
    inside.mkdir()
    return inside


def play(plan: Plan, played: Iterator[Round] | list[Round], folder: Path, *, may_mount: bool = True) -> Outcome:
    with closing(History(folder.parent / "history")) as history:
        outcome = run(plan, played, folder, history, may_mount=may_mount)
    print("\n".join(as_lines(outcome)))  # noqa: T201  # pytest shows it when the test fails
    return outcome


def test_a_hundred_kills_at_every_named_point_and_at_random_lose_nothing(folder: Path) -> None:
    plan = Plan(seed=SEED, workers=4, kills=100, events=10_000, minutes=1.5)
    outcome = play(plan, rounds(plan), folder)
    assert outcome.problems == ()
    assert outcome.tally.kills >= 100
    assert {name for name, times in outcome.tally.points.items() if times} == set(points_of("journal"))
    assert outcome.tally.full_disks
    assert outcome.judgement is not None
    assert outcome.judgement.acknowledged >= 10_000


def test_a_history_is_played_again_and_a_disk_that_cannot_be_filled_refuses(folder: Path) -> None:
    strikes = (Strike(0.0, point="written-not-returned"), Strike(0.1, "worker", "SIGKILL", choice=1))
    plan = Plan(seed=SEED, workers=2, flushers=0, rate=400.0)
    full = Round(1, None, 1.0, hurried=False, strikes=())
    with closing(History(folder.parent / "before")) as before:
        before.plan(plan)
        before.begins(full)
        before.begins(Round(2, "stored, then reset", 0.0, hurried=True, strikes=strikes))
    outcome = play(*read_history(before.path), folder, may_mount=False)
    assert outcome.problems == ()
    assert (outcome.tally.kills, outcome.tally.full_disks, outcome.faults["Reset"] > 0) == (2, 1, True)
    assert read_history(folder.parent / "history") == read_history(before.path)
    assert any((folder / "ledger").glob("kept-*"))  # the disk did refuse


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_interrupted_or_killed_it_leaves_no_process_behind(number: signal.Signals, tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    harness = subprocess.Popen(
        [sys.executable, "-m", "tests.chaos", "--workers", "2", "--minutes", "1", "--seed", "3"],
        cwd=REPOSITORY,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: any(tmp_path.glob("*/run/ledger/returned-*")))
        assert _processes_about(tmp_path)
        harness.send_signal(number)
        assert harness.wait(30) == (-number if number == signal.SIGKILL else 130)
        wait_until(lambda: not _processes_about(tmp_path))
    finally:
        harness.kill()
        harness.wait()
        # Killed, it could not take down the disk that it had put up.
        for disk in tmp_path.glob("*/run/disk"):
            subprocess.run(["umount", "-l", str(disk)], capture_output=True, check=False)


def _processes_about(folder: Path) -> list[int]:
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
