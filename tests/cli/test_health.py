"""``lotus-durable health``, as probes run it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from lotus_durable.cli import entry
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.heartbeat import FlusherState, Heartbeat, read_heartbeat, write_heartbeat
from lotus_durable.testing import FakeLotus

from .conftest import CommandLine, Start, wait_until

Track = Callable[[int], list[str]]
Health = Callable[..., tuple[int, str]]


@pytest.fixture
def health(command_line: CommandLine, capsys: pytest.CaptureFixture[str]) -> Health:
    """Run the command in this process; return its exit code and its line."""

    def run(*arguments: str) -> tuple[int, str]:
        code = entry.main(["health", "--queue-dir", str(command_line.queue_dir), *arguments])
        return code, capsys.readouterr().out.strip()

    return run


def beat(command_line: CommandLine, state: FlusherState = "idle", *, ago: float = 0.0, reason: str = "") -> None:
    """Be a leader that showed a sign of life so long ago."""
    then = time.time() - ago
    heartbeat = Heartbeat(4711, "web1", state, reason or None, then, then, None, time.monotonic() - ago)
    write_heartbeat(QueueDirectory(command_line.queue_dir), heartbeat)


def test_a_queue_that_is_delivered_is_healthy(
    command_line: CommandLine, start: Start, track: Track, fake_lotus: FakeLotus
) -> None:
    track(3)
    start()
    fake_lotus.wait_for(3)
    wait_until(lambda: read_heartbeat(QueueDirectory(command_line.queue_dir)) is not None, "a heartbeat")
    result = command_line.run("health")
    assert result.code == 0
    assert result.output.startswith("healthy: ")


def test_nobody_uploads(track: Track, health: Health) -> None:
    track(1)
    assert health() == (1, "nobody uploads from this queue")
    assert health("--live") == (1, "nobody uploads from this queue")


def test_a_leader_without_a_sign_of_life_is_named(command_line: CommandLine, track: Track, health: Health) -> None:
    track(1)
    beat(command_line, ago=60.0)
    for arguments in ([], ["--live"]):
        code, line = health(*arguments)
        assert code == 1
        assert "process 4711 on web1" in line
        assert "no sign of life" in line


def test_a_blocked_delivery_is_not_healthy_but_alive(command_line: CommandLine, track: Track, health: Health) -> None:
    track(1)
    beat(command_line, "blocked", reason="the server refuses the API key")
    assert health() == (1, "delivery is blocked: the server refuses the API key")
    assert health("--live")[0] == 0


def test_the_oldest_pending_event_may_have_waited_for_so_long(
    command_line: CommandLine, track: Track, health: Health
) -> None:
    track(2)
    beat(command_line)
    assert health()[0] == 0
    code, line = health("--max-age", "0")
    assert code == 1
    assert line.startswith("the oldest pending event was accepted ")
    assert health("--max-age", "0", "--live")[0] == 0


def test_so_many_may_be_pending(command_line: CommandLine, track: Track, health: Health) -> None:
    track(2)
    beat(command_line)
    assert health("--max-pending", "2")[0] == 0
    assert health("--max-pending", "1") == (1, "2 events pending")


def test_json_has_the_documented_keys(command_line: CommandLine, track: Track) -> None:
    track(2)
    result = command_line.run("health", "--json", "--max-pending", "1")
    assert result.code == 1
    found = result.json()
    assert set(found) == {"healthy", "problems", "pending", "oldest_age", "flusher"}
    assert (found["healthy"], found["pending"], found["flusher"]) == (False, 2, None)
    assert found["problems"] == ["nobody uploads from this queue", "2 events pending"]
    text = command_line.run("health", "--help").output
    assert not {key for key in found if key not in text}


def test_it_loads_nothing_that_is_slow_to_load(command_line: CommandLine, track: Track) -> None:
    track(1)
    beat(command_line)
    code = (
        "import sys; from lotus_durable.cli import main; code = main(); "
        "print([name for name in ('requests', 'urllib3', 'persistqueue', 'sqlite3', 'rich', 'filelock') "
        "if name in sys.modules]); raise SystemExit(code)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, "health"], env=command_line.environment, capture_output=True, text=True, check=True
    )
    assert result.stdout.splitlines()[-1] == "[]"
