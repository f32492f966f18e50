"""``lotus-durable demo``, whole."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from lotus_durable.cli.demo.run import Result

from .conftest import CommandLine, wait_until
from .test_every_command import documented


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """Where the demo makes its folder."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


def test_nothing_is_lost_and_nothing_is_left_behind(command_line: CommandLine, temporary: Path) -> None:
    hostile = {
        "LOTUS_SEND": "no",
        "LOTUS_HOST": "https://production.invalid",
        "LOTUS_TIMEOUT": "soon",
        "http_proxy": "http://127.0.0.1:9",
        "TMPDIR": str(temporary),
    }
    result = command_line.run_process("demo", "--events", "2000", "--kills", "4", "--json", environment=hostile)
    figures = result.json()
    assert (result.code, figures["ok"], figures["problems"]) == (0, True, [])
    assert figures["tracked"] == 2000
    assert figures["at_server"] == 2000
    assert (figures["lost"], figures["lost_ids"], figures["never_tracked_ids"]) == (0, [], [])
    assert figures["kills"] == {"workers": 2, "flushers": 2}
    assert max(figures["new_flusher_after"]) > 0
    assert set(figures) == documented(command_line, "demo")
    assert figures["directory"] is None
    assert list(temporary.iterdir()) == []
    assert _processes_about(temporary) == []


def test_the_files_are_kept_where_they_are_asked_for(command_line: CommandLine, tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    result = command_line.run_process("demo", "--events", "400", "--kills", "1", "--queue-dir", str(folder))
    assert result.code == 0
    rows = {line.partition("  ")[0]: line.split() for line in result.output.splitlines()}
    assert rows["tracked"][1] == rows["at the server"][3] == "400"
    assert "by SIGKILL: 1 flusher, 0 workers" in result.output
    assert "Nothing was lost" in result.output
    assert str(folder) in result.output
    status = command_line.run_process("status", "--json", "--queue-dir", str(folder / "queue")).json()
    assert (status["delivered"], status["pending"], status["flusher"]) == (400, 0, None)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_interrupted_or_killed_it_leaves_nothing_behind(
    command_line: CommandLine, temporary: Path, number: signal.Signals
) -> None:
    demo = command_line.start("demo", environment={"TMPDIR": str(temporary)})
    wait_until(lambda: bool(list(temporary.glob("*/queue/heartbeat"))), "a flusher")
    assert len(_processes_about(temporary)) >= 3  # workers, the flusher
    demo.send_signal(number)
    _, errors = demo.communicate(timeout=30)
    if number == signal.SIGINT:
        assert demo.returncode == 130
        assert errors.splitlines()[-1].startswith("lotus-durable demo: interrupted")
    wait_until(lambda: list(temporary.iterdir()) == [], "the folder to be removed")
    wait_until(lambda: _processes_about(temporary) == [], "all processes to end")


def test_a_directory_that_holds_something_is_refused(command_line: CommandLine, temporary: Path) -> None:
    (temporary / "precious").touch()
    result = command_line.run_process("demo", "--queue-dir", str(temporary))
    assert result.code == 2
    assert "is not empty" in result.one_error()
    assert [path.name for path in temporary.iterdir()] == ["precious"]


def test_a_directory_that_cannot_be_made_is_wrong_usage(command_line: CommandLine) -> None:
    result = command_line.run_process("demo", "--queue-dir", "/proc/queue")
    assert result.code == 2
    assert "/proc/queue" in result.one_error()


def result(tracked: list[str], received: dict[str, int], *, not_stored: str = "") -> Result:
    found = Result()
    found.compare(tracked, set(received) - {not_stored}, received)
    return found


def test_what_the_server_has_taken_and_not_stored_is_lost() -> None:
    assert result(["a", "b"], {"a": 1, "b": 1}, not_stored="b").lost_ids == ["b"]


@pytest.mark.parametrize(
    ("tracked", "received", "problem", "is_as_promised", "said"),
    [
        ("abc", {"a": 1, "c": 1}, "", False, "NOT as promised: lost: b"),
        ("a", {"a": 1, "c": 1}, "", False, "NOT as promised: never tracked: c"),
        ("a", {"a": 1}, "the drain failed", False, "NOT as promised: the drain failed"),
        ("abc", {"a": 3, "b": 1, "c": 2}, "", True, "sent again, counted once: a …"),
    ],
    ids=["lost", "tracked by nobody", "whatever else", "duplicates"],
)
def test_what_is_not_as_promised_is_named(
    tracked: str, received: dict[str, int], problem: str, is_as_promised: bool, said: str
) -> None:
    found = result([*tracked], received)
    found.problems += [problem] if problem else []
    text = "\n".join(found.as_lines())
    assert said in text
    assert ("Nothing was lost" in text) == found.ok == found.as_json()["ok"] == is_as_promised
    shown = {name: found.as_json()[name] for name in ("lost", "never_tracked", "duplicates")}
    assert shown == {
        "lost": len(set(tracked) - set(received)),
        "never_tracked": len(set(received) - set(tracked)),
        "duplicates": sum(times > 1 for times in received.values()),
    }


def _processes_about(folder: Path) -> list[int]:
    """Return the pids of workers, flushers and whatever else names the folder in its arguments or environment."""
    pids = []
    for pid in (int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()):
        try:
            about = Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            continue
        if os.fsencode(folder) in about:
            pids.append(pid)
    return pids
