"""``lotus-durable health``, as probes run it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lotus_durable import Client
from lotus_durable.clock import since_boot
from lotus_durable.flusher.starting import Starting
from lotus_durable.flusher.stats import collect
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.heartbeat import HeartbeatFile, read_beat
from lotus_durable.testing import FakeLotus

from .conftest import CommandLine, Start, Track, wait_until

Flushing = Callable[..., None]
Health = Callable[..., tuple[int, str]]
EXTERNAL = {"LOTUS_FLUSHER": "external"}


@pytest.fixture
def health(command_line: CommandLine) -> Health:
    """Run the command; return its exit code and its line."""

    def run(*arguments: str, **environment: str) -> tuple[int, str]:
        result = command_line.run("health", *arguments, environment=environment)
        assert result.errors == ""
        return result.code, result.output.strip()

    return run


def test_a_queue_that_a_service_flushes_is_healthy(
    health: Health, start: Start, track: Track, fake_lotus: FakeLotus
) -> None:
    track(3)
    start()
    fake_lotus.wait_for(3)
    for arguments in ([], ["--live"]):
        code, line = health(*arguments, **EXTERNAL)
        assert code == 0
        assert line.startswith("healthy: ")


def test_an_empty_queue_that_nobody_flushes_is_healthy_because_programs_start_their_flusher(
    command_line: CommandLine, health: Health, program: Client, fake_lotus: FakeLotus
) -> None:
    program.track_event(customer_id="c1", event_name="api_call")
    fake_lotus.wait_for(1)
    wait_until(lambda: program.stats().pending == 0, "the event to be settled")
    assert command_line.run("stop").code == 0
    assert health() == (0, "healthy: 0 events pending; nobody flushes this queue now")
    assert health("--live")[0] == 0


@pytest.mark.parametrize("days", [-400, -1, 8])
def test_a_wall_clock_that_jumps_is_no_trouble_that_lasts(
    track: Track, flushing: Flushing, queue_dir: Path, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    track(1)
    flushing("retrying", lasts=5, reason="no answer")
    clock = time.time
    monkeypatch.setattr(time, "time", lambda: clock() + days * 86_400)
    flusher = collect(QueueDirectory(queue_dir)).flusher
    assert flusher is not None
    assert 5 <= time.time() - flusher.since < 30


@pytest.mark.parametrize(("days", "waits"), [(-1, 600), (8, 600), (8, 30)])
def test_how_long_the_oldest_event_waits_is_told_by_the_boot_clock_where_somebody_flushes(
    track: Track, flushing: Flushing, queue_dir: Path, monkeypatch: pytest.MonkeyPatch, days: int, waits: float
) -> None:
    """A probe with --max-age neither fails nor passes because a wall clock jumped."""
    track(1)
    flushing("retrying", reason="no answer")
    directory = QueueDirectory(queue_dir)
    beat = read_beat(directory)
    assert beat is not None
    since = since_boot() - waits
    HeartbeatFile(directory).write(beat._replace(caught_up_at=since - 1, trouble_since=since), None)
    clock = time.time
    monkeypatch.setattr(time, "time", lambda: clock() + days * 86_400)
    age = collect(directory).oldest_age
    assert age is not None
    assert waits <= age < waits + 60


def test_a_flusher_notes_when_all_is_settled_and_not_while_events_wait_for_another_key(
    track: Track, start: Start, command_line: CommandLine
) -> None:
    def caught_up() -> float | None:
        beat = read_beat(command_line.directory)
        return None if beat is None else beat.caught_up_at

    track(1)
    service = start()
    service.wait_to_flush()
    wait_until(lambda: caught_up() is not None, "the flusher to say that it has caught up")
    began = since_boot()
    wait_until(lambda: (caught_up() or 0.0) > began, "it to go on saying that")
    service.end()
    other = Client(queue_dir=command_line.queue_dir, flusher="external", api_key="another organisation's")
    other.track_event(customer_id="c1", event_name="api_call")
    other.release()
    service = start()
    service.wait_to_log("tracked under another API key")
    noted, beat = caught_up(), read_beat(command_line.directory)
    assert beat is not None
    wait_until(lambda: (read_beat(command_line.directory) or beat).beats > beat.beats + 3, "some beats")
    assert caught_up() == noted


def test_with_a_service_somebody_must_flush_also_an_empty_queue(track: Track, health: Health) -> None:
    track(1)
    assert health(**EXTERNAL) == (1, "nobody flushes this queue")
    assert health("--live", **EXTERNAL) == (1, "nobody flushes this queue")


def test_events_that_wait_for_a_flusher_in_vain_are_not_healthy_and_the_last_start_says_why(
    command_line: CommandLine, track: Track, health: Health, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lotus_durable.event.encoder.time", lambda: time.time() - 60.0)
    track(2)
    code, line = health("--live")
    assert (code, line) == (1, "nobody flushes this queue, and 2 events pending")
    with Starting(command_line.directory).changing() as notes:
        assert notes is not None
        notes.failed("Traceback …\nImportError: no ssl")
    assert health("--live")[1] == f"{line}; the last start of a flusher failed: ImportError: no ssl"


def test_a_flusher_without_a_sign_of_life_is_named(track: Track, health: Health, flushing: Flushing) -> None:
    track(1)
    flushing(ago=60.0)
    for arguments in ([], ["--live"]):
        code, line = health(*arguments)
        assert code == 1
        assert "process 4711 on web1 has shown no sign of life" in line


def test_a_blocked_delivery_is_not_healthy_but_alive(track: Track, health: Health, flushing: Flushing) -> None:
    track(1)
    flushing("blocked", reason="the server refuses the API key")
    assert health() == (1, "delivery is blocked: the server refuses the API key")
    assert health("--live")[0] == 0


def test_trouble_with_the_server_is_not_healthy_when_it_lasts(track: Track, health: Health, flushing: Flushing) -> None:
    track(1)
    flushing("retrying", lasts=5.0, reason="connection refused")
    assert health()[0] == 0
    flushing("retrying", lasts=40.0, reason="connection refused")
    code, line = health()
    assert code == 1
    assert line.startswith("nothing is delivered for ")
    assert line.endswith(" seconds: connection refused")
    assert health("--live")[0] == 0


def test_the_oldest_pending_event_may_have_waited_for_so_long(track: Track, health: Health, flushing: Flushing) -> None:
    track(2)
    flushing()
    assert health()[0] == 0
    flushing()
    code, line = health("--max-age", "0")
    assert code == 1
    assert line.startswith("the oldest pending event was accepted ")
    flushing()
    assert health("--max-age", "0", "--live")[0] == 0


def test_so_many_may_be_pending(track: Track, health: Health, flushing: Flushing) -> None:
    track(2)
    flushing()
    assert health("--max-pending", "2")[0] == 0
    flushing()
    assert health("--max-pending", "1") == (1, "2 events pending")


def test_json_says_the_same(command_line: CommandLine, track: Track) -> None:
    track(2)
    result = command_line.run("health", "--json", "--max-pending", "1", environment=EXTERNAL)
    assert result.code == 1
    found = result.json()
    assert (found["healthy"], found["pending"], found["flusher"]) == (False, 2, None)
    assert found["problems"] == ["nobody flushes this queue", "2 events pending"]


def test_it_loads_nothing_that_is_slow_to_load(command_line: CommandLine, track: Track) -> None:
    track(1)
    code = (
        "import sys; from lotus_durable.cli import main; code = main(); "
        "print([name for name in ('requests', 'urllib3', 'persistqueue', 'sqlite3', 'filelock') "
        "if name in sys.modules]); raise SystemExit(code)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, "health"], env=command_line.environment, capture_output=True, text=True, check=True
    )
    assert result.stdout.splitlines()[-1] == "[]"
