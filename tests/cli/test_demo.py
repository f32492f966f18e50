"""``lotus-durable demo``, whole."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from lotus_durable.cli.demo import run as demo_run
from lotus_durable.cli.demo.command import COMMAND
from lotus_durable.cli.demo.stage import Performance
from lotus_durable.cli.entry import main

from .conftest import CommandLine, wait_until
from .test_demo_judge import evidence
from .test_demo_parts import _performance


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """Where the demo makes its folder."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


def test_nothing_is_lost_and_the_figures_add_up(command_line: CommandLine, temporary: Path) -> None:
    (temporary / "hidden").mkdir()
    (temporary / "hidden" / "rich.py").write_text("raise ImportError('not installed')\n")
    hostile = {
        "LOTUS_SEND": "no",
        "LOTUS_HOST": "https://production.invalid",
        "LOTUS_TIMEOUT": "soon",
        "http_proxy": "http://127.0.0.1:9",
        "PYTHONPATH": str(temporary / "hidden"),
        "TMPDIR": str(temporary),
    }
    arguments = ("--events", "2000", "--kills", "4", "--seed", "5", "--json")
    result = command_line.run("demo", *arguments, environment=hostile)
    figures = result.json()
    assert (result.code, figures["ok"], figures["problems"]) == (0, True, [])
    assert figures["accepted"] == 2000
    assert figures["accepted"] == figures["delivered"] + figures["parked"] + figures["dead_lettered"]
    assert figures["parked"] > 0
    assert figures["dead_lettered"] > 0
    assert figures["duplicates"] > 0
    assert (figures["lost"], figures["lost_ids"], figures["pending"]) == (0, [], 0)
    assert figures["kills"] == {"workers": 2, "leaders": 2}
    assert len(figures["takeover_seconds"]["all"]) == 2
    assert figures["takeover_seconds"]["slowest"] == max(figures["takeover_seconds"]["all"])
    assert 0 < figures["enqueue_microseconds"]["p50"] <= figures["enqueue_microseconds"]["p99"]
    # While it backs off the uploader asks for nothing, so that on a slow machine it may miss one or the other.
    assert len({"Status", "Reset", "RateLimited", "Delay", "Drip", "Truncate"} & set(figures["server_failures"])) >= 4
    assert figures["books"]["accepted"] == 2000 + figures["unrecorded"]
    assert not {key for key in figures if key not in COMMAND.description}
    assert [path.name for path in temporary.iterdir()] == ["hidden"]


def test_interrupted_it_leaves_nothing_behind(command_line: CommandLine, temporary: Path) -> None:
    demo = command_line.start("demo", environment={"TMPDIR": str(temporary)})
    wait_until(lambda: bool(list(temporary.glob("*/accepted-*"))), "the workers to track")
    assert _processes_about(temporary)
    demo.send_signal(signal.SIGINT)
    _, errors = demo.communicate(timeout=30)
    assert demo.returncode == 130
    assert errors.splitlines()[-1] == "lotus-durable demo: interrupted"
    assert list(temporary.iterdir()) == []
    assert _processes_about(temporary) == []


def test_killed_it_leaves_no_processes_behind(command_line: CommandLine, temporary: Path) -> None:
    demo = command_line.start("demo", environment={"TMPDIR": str(temporary)})
    wait_until(lambda: bool(list(temporary.glob("*/accepted-*"))), "the workers to track")
    demo.kill()
    demo.wait()
    wait_until(lambda: _processes_about(temporary) == [], "the workers to notice")


def test_a_directory_that_holds_something_is_refused(command_line: CommandLine, temporary: Path) -> None:
    (temporary / "precious").touch()
    result = command_line.run("demo", "--queue-dir", str(temporary))
    assert result.code == 2
    assert "is not empty" in result.one_error()
    assert [path.name for path in temporary.iterdir()] == ["precious"]


def test_a_directory_that_cannot_be_made_is_wrong_usage(command_line: CommandLine) -> None:
    result = command_line.run("demo", "--queue-dir", "/proc/queue")
    assert result.code == 2
    assert "/proc/queue" in result.one_error()


@pytest.mark.parametrize(
    ("performance", "code"),
    [
        (_performance(), 0),
        (_performance(evidence=evidence(received={"a": 2})), 1),
        (_performance(evidence=evidence(pending=["b"], received={"a": 2}, not_drained="too slow")), 1),
    ],
    ids=["all is there", "one is lost", "one is still pending"],
)
@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_the_exit_code_is_the_judgement_and_what_is_wrong_is_kept(
    performance: Performance,
    code: int,
    as_json: list[str],
    temporary: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("tempfile.mkdtemp", lambda prefix: _made(temporary / prefix))
    monkeypatch.setattr(demo_run, "_play", lambda *_arguments: performance)
    assert main(["demo", *as_json]) == code
    assert len(list(temporary.iterdir())) == code
    assert (str(temporary) in capsys.readouterr().out) == bool(code)


def test_what_takes_too_long_is_given_up(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def play_for_ever(*_arguments: object) -> Performance:
        signal.pause()
        raise AssertionError("the time limit did not strike")

    monkeypatch.setattr("tempfile.mkdtemp", lambda prefix: _made(temporary / prefix))
    monkeypatch.setattr(demo_run, "_LIMIT", 0.05)
    monkeypatch.setattr(demo_run, "_play", play_for_ever)
    before = signal.getsignal(signal.SIGALRM)
    assert main(["demo"]) == 1
    assert "did not come to an end" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGALRM) == before


def _made(folder: Path) -> str:
    folder.mkdir()
    return str(folder)


def _processes_about(folder: Path) -> list[int]:
    """Return the pids of the workers whose arguments name the folder."""
    pids = []
    for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if os.fsencode(folder) in command and b"demo.worker" in command:
            pids.append(pid)
    return pids
