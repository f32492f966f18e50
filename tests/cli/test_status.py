"""``lotus-durable status``."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lotus_durable import Client
from lotus_durable.cli.status import flusher_in_words
from lotus_durable.flusher.starting import Starting
from lotus_durable.queue.stats import FlusherStats
from lotus_durable.testing import FakeLotus

from .conftest import CommandLine, Track, wait_until
from .conftest import Start as StartService
from .test_every_command import documented


def test_it_counts_what_is_pending_and_json_says_the_same(command_line: CommandLine, track: Track) -> None:
    track(1234)
    result = command_line.run("status")
    assert result.code == 0
    assert result.errors == ""
    rows = {words[0]: words[1:] for line in result.output.splitlines() if (words := line.split())}
    assert rows["accepted"] == ["1,234"]
    assert rows["pending"][0] == "1,234"
    assert "kB, the oldest accepted" in result.output
    assert "flusher: nobody flushes this queue now\n" in result.output
    status = command_line.run("status", "--json").json()
    assert status["queue_dir"] == str(command_line.queue_dir)
    assert (status["accepted"], status["pending"], status["delivered"]) == (1234, 1234, 0)
    assert (status["pending_bytes"] > 0, status["oldest_age"] >= 0) == (True, True)
    assert (status["flusher"], status["failed_start"]) == (None, None)


def test_it_changes_nothing_on_disk(command_line: CommandLine, track: Track) -> None:
    track(3)
    before = _tree(command_line.queue_dir)
    assert command_line.run("status").code == 0
    assert _tree(command_line.queue_dir) == before


def test_a_flusher_that_a_program_started_is_shown(
    command_line: CommandLine, program: Client, fake_lotus: FakeLotus
) -> None:
    program.track_event(customer_id="c1", event_name="api_call")
    fake_lotus.wait_for(1)
    wait_until(lambda: command_line.run("status", "--json").json()["delivered"] == 1, "the event to be settled")
    flusher = command_line.run("status", "--json").json()["flusher"]
    assert set(flusher) == documented(command_line, "status", 4)
    assert (flusher["kind"], flusher["state"], flusher["alive"]) == ("auto", "idle", True)
    assert f"flusher: process {flusher['pid']} on {flusher['hostname']}, idle for " in command_line.run("status").output


def test_a_refused_key_is_shown_with_its_reason(
    command_line: CommandLine, start: StartService, track: Track, fake_lotus: FakeLotus
) -> None:
    track(3)
    fake_lotus.rotate_key("another")
    start()
    wait_until(lambda: "blocked" in command_line.run("status").output, "the flusher to be blocked")
    assert "the server refuses the API key" in command_line.run("status").output
    flusher = command_line.run("status", "--json").json()["flusher"]
    assert (flusher["kind"], flusher["state"], flusher["alive"]) == ("external", "blocked", True)
    assert "key" in flusher["reason"]


def test_a_flusher_that_was_killed_is_no_flusher(
    command_line: CommandLine, start: StartService, track: Track, fake_lotus: FakeLotus
) -> None:
    track(1)
    service = start()
    fake_lotus.wait_for(1)
    service.process.kill()
    service.process.wait()
    assert "nobody flushes this queue now" in command_line.run("status").output


@pytest.mark.parametrize(
    ("kind", "what_to_do"),
    [("auto", "the next process that tracks ends it"), ("caller", "nobody ends it but you")],
)
def test_a_flusher_that_hangs_is_named_with_what_ends_it(
    command_line: CommandLine, track: Track, flushing: Callable[..., None], kind: str, what_to_do: str
) -> None:
    track(1)
    flushing("sending", ago=7200.0, kind=kind)
    said = command_line.run("status").output
    assert "process 4711 on web1 has shown no sign of life for 2 hours and holds the flusher's lock" in said
    assert what_to_do in said
    assert command_line.run("status", "--json").json()["flusher"]["alive"] is False


def test_what_the_last_start_had_to_say_is_shown_where_it_failed(command_line: CommandLine, track: Track) -> None:
    track(1)
    words = "Traceback …\nImportError: libssl.so is gone"
    with Starting(command_line.directory).changing() as notes:
        assert notes is not None
        notes.failed(words)
    said = command_line.run("status").output
    assert "nobody flushes this queue now; the last start of one failed: ImportError: libssl.so is gone\n" in said
    assert command_line.run("status", "--json").json()["failed_start"] == words


@pytest.mark.parametrize(
    ("reason", "last_delivery", "words"),
    [
        (None, None, "process 1 on h, idle for 3 minutes"),
        ("no answer", None, "process 1 on h, idle for 3 minutes: no answer"),
        (None, 3, "process 1 on h, idle for 3 minutes (last delivery 3 seconds ago)"),
    ],
)
def test_a_flusher_in_words(reason: str | None, last_delivery: float | None, words: str) -> None:
    now = time.time()
    flusher = FlusherStats(
        pid=1,
        hostname="h",
        kind="auto",
        version="0.1.0",
        state="idle",
        reason=reason,
        since=now - 200,
        waits_until=None,
        beat_age=0.5,
        alive=True,
        last_delivery=None if last_delivery is None else now - last_delivery - 0.2,
    )
    assert flusher_in_words(flusher) == words


def _tree(root: Path) -> dict[str, tuple[int, int]]:
    return {
        os.path.join(folder, name): (status.st_mtime_ns, status.st_size)
        for folder, folders, files in os.walk(root)
        for name in [*folders, *files]
        for status in [os.stat(os.path.join(folder, name))]
    }
