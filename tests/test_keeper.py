"""The keeper of a flusher: it starts one again when it dies, and never leaves one behind. With small real processes."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lotus_durable import keeper as keeping
from lotus_durable.keeper import FlusherKeeper, RunAs

from .rig import wait_until

LOG = logging.getLogger("tests.keeper")

WAITING = """
import os, signal, sys
from pathlib import Path
note = lambda text: open(sys.argv[1], "a").write(f"{text} {os.getpid()}\\n")
signal.signal(signal.SIGHUP, lambda *_: note("reloaded"))
signal.signal(signal.SIGTERM, lambda *_: (note("terminated"), os._exit(0)))
note(" ".join([*sys.argv[2:], os.environ.get("NOTIFY_SOCKET", "untold"), os.environ.get("LOTUS_HOST", "-")]))
if sys.argv[2] == "flusher":
    while os.read(0, 1):
        pass
    note("ended")
"""

Keep = Callable[..., FlusherKeeper]


@pytest.fixture
def notes(tmp_path: Path) -> Callable[[], list[list[str]]]:
    """Return what the processes noted: words, the last of which is a pid."""
    path = tmp_path / "notes"
    path.touch()
    return lambda: [line.split() for line in path.read_text().splitlines()]


@pytest.fixture
def keep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Keep]:
    monkeypatch.setattr(keeping, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(keeping, "_LOOK_INTERVAL", 0.01)
    monkeypatch.delenv("LOTUS_HOST", raising=False)
    kept: list[FlusherKeeper] = []

    def start(*program: str, run_as: RunAs | None = None) -> FlusherKeeper:
        program = program or (sys.executable, "-c", WAITING, str(tmp_path / "notes"))
        kept.append(FlusherKeeper(LOG, run_as, program))
        kept[-1].start()
        return kept[-1]

    yield start
    for each in kept:
        each.stop()


def test_it_is_started_with_what_it_needs_and_ended_in_order(
    keep: Keep, notes: Callable[[], list[list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/the/master's")
    keeper = keep()
    wait_until(notes, "the flusher to run")
    keeper.stop()
    [started, terminated] = notes()
    assert started[:-1] == ["flusher", "--standby", "--until-eof", "untold", "-"]
    assert terminated == ["terminated", started[-1]]


def test_it_is_started_again_when_it_dies(
    keep: Keep, notes: Callable[[], list[list[str]]], caplog: pytest.LogCaptureFixture
) -> None:
    keep()
    for number in (1, 2):
        wait_until(lambda number=number: len(notes()) == number, "a flusher to run")  # type: ignore[misc]
        os.kill(int(notes()[-1][-1]), signal.SIGKILL)
    wait_until(lambda: len(notes()) == 3, "the third to run")
    assert len({line[-1] for line in notes()}) == 3
    assert "the flusher ended (exit code -9; its own log says why)" in caplog.text


def test_it_is_started_again_when_somebody_else_fetched_its_exit_status(
    keep: Keep, notes: Callable[[], list[list[str]]]
) -> None:
    """As gunicorn's arbiter does, with waitpid(-1)."""
    keep()
    wait_until(notes, "the flusher to run")
    pid = int(notes()[0][-1])
    os.kill(pid, signal.SIGKILL)
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        pytest.skip("the keeper was faster")
    wait_until(lambda: len(notes()) == 2, "another to run")


def test_the_pauses_between_two_starts_grow(keep: Keep, caplog: pytest.LogCaptureFixture) -> None:
    keep("/bin/false")
    wait_until(lambda: caplog.text.count("started again in") >= 4, "four starts")
    assert [line.rpartition(" in ")[2] for line in caplog.messages if "again" in line][:4] == [
        "0.01 s",
        "0.02 s",
        "0.04 s",
        "0.08 s",
    ]


def test_a_program_that_is_not_there_is_tried_again(keep: Keep, caplog: pytest.LogCaptureFixture) -> None:
    keep("/nowhere/lotus-durable")
    wait_until(lambda: caplog.text.count("it cannot be started") >= 2, "two tries")


def test_it_ends_when_its_master_was_killed(tmp_path: Path, notes: Callable[[], list[list[str]]]) -> None:
    code = (
        "import logging, sys, time; from lotus_durable.keeper import FlusherKeeper; "
        "FlusherKeeper(logging.getLogger(), None, sys.argv[1:]).start(); time.sleep(600)"
    )
    command = [sys.executable, "-c", code, sys.executable, "-c", WAITING, str(tmp_path / "notes")]
    with subprocess.Popen(command) as master:
        wait_until(notes, "the flusher to run")
        master.kill()
    wait_until(lambda: [line[0] for line in notes()] == ["flusher", "ended"], "the flusher to end")


def test_it_stays_while_a_process_that_the_master_forked_lives(
    keep: Keep, notes: Callable[[], list[list[str]]]
) -> None:
    """The workers of a master that was killed still have requests to answer, and events to track."""
    keeper = keep()
    wait_until(notes, "the flusher to run")
    reading, writing = os.pipe()
    worker = os.fork()
    if worker == 0:
        os.close(writing)
        keeper.stop()  # not its own: nothing happens
        keeper.reload()
        os.read(reading, 1)
        os._exit(0)
    os.close(reading)
    os.close(keeper._writing)
    keeper._writing = os.dup(keeper._reading)  # for stop() to close
    assert len(notes()) == 1
    os.close(writing)
    os.waitpid(worker, 0)
    wait_until(lambda: "ended" in [line[0] for line in notes()], "the flusher to end")


def test_a_fork_waits_while_the_flusher_is_being_started(keep: Keep, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is forked then would keep Popen waiting."""
    starting, forked, seen = threading.Event(), threading.Event(), []
    start = subprocess.Popen

    def slow(*arguments: Any, **options: Any) -> Any:
        starting.set()
        seen.append(forked.wait(0.3))
        return start(*arguments, **options)

    monkeypatch.setattr(subprocess, "Popen", slow)
    keep()
    assert starting.wait(20)
    worker = os.fork()
    if worker == 0:
        os._exit(0)
    forked.set()
    os.waitpid(worker, 0)
    assert seen == [False]


def test_a_reload_is_passed_on(keep: Keep, notes: Callable[[], list[list[str]]]) -> None:
    keeper = keep()
    wait_until(notes, "the flusher to run")
    keeper.reload()
    wait_until(lambda: notes()[-1][0] == "reloaded", "it to reload")


def test_a_reload_with_another_environment_starts_it_anew(
    keep: Keep, notes: Callable[[], list[list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = keep()
    wait_until(notes, "the flusher to run")
    monkeypatch.setenv("LOTUS_HOST", "https://another.example")
    keeper.reload()
    wait_until(lambda: len(notes()) == 3, "another to run")
    assert [line[0] for line in notes()] == ["flusher", "terminated", "flusher"]
    assert notes()[-1][-2] == "https://another.example"


def test_the_queue_is_drained_for_the_exit_timeout(
    keep: Keep, notes: Callable[[], list[list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOTUS_EXIT_TIMEOUT", "7")
    keeper = keep()
    wait_until(notes, "the flusher to run")
    keeper.drain()
    assert notes()[-1][:3] == ["drain", "--timeout", "7"]


def test_a_drain_that_fails_is_logged_and_raises_nothing(
    keep: Keep, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    keeper = keep("/bin/false")
    keeper.drain()
    assert "was not drained (exit code 1); events stay on disk" in caplog.text
    monkeypatch.setenv("LOTUS_EXIT_TIMEOUT", "soon")
    keeper.drain()
    assert "LOTUS_EXIT_TIMEOUT" in caplog.text
    monkeypatch.setenv("LOTUS_EXIT_TIMEOUT", "0")
    monkeypatch.setattr(keeping, "_STARTING_TIME", 0.0)
    slow = keep("/bin/sleep", "60", "--")
    slow._program = ("/bin/sh", "-c", "sleep 60")
    slow.drain()
    assert "timed out" in caplog.text


def test_one_that_does_not_end_is_killed(
    keep: Keep, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setattr(keeping, "_STOP_TIMEOUT", 0.05)
    keeper = keep("/bin/sh", "-c", f"trap '' TERM; touch {tmp_path}/deaf; while :; do sleep 0.05; done")
    wait_until((tmp_path / "deaf").exists, "it to be deaf")
    keeper.stop()
    assert "does not end, and is killed" in caplog.text
    assert keeper._child is not None
    assert keeper._child.returncode == -signal.SIGKILL


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start another user's process")
def test_it_runs_as_the_user_of_the_workers(keep: Keep) -> None:
    reading, writing = os.pipe()
    stderr = os.dup(2)
    os.dup2(writing, 2)
    try:
        keeper = keep("/bin/sh", "-c", "echo $(id -u) $(id -G) >&2; exec cat", run_as=RunAs(65534, 65534))
        assert os.read(reading, 100).split() == [b"65534", b"65534"]
    finally:
        os.dup2(stderr, 2)
        for descriptor in (stderr, reading, writing):
            os.close(descriptor)
        keeper.stop()
