"""``lotus-durable status``."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lotus_durable.cli.status import flusher_in_words
from lotus_durable.flusher.lock import Leadership
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.heartbeat import Heartbeat, write_heartbeat
from lotus_durable.queue.stats import FlusherStats
from lotus_durable.testing import FakeLotus

from .conftest import CommandLine, wait_until

Track = Callable[[int], list[str]]

KEYS = {
    "queue_dir",
    "accepted",
    "delivered",
    "pending",
    "parked",
    "dead_lettered",
    "discarded",
    "pending_bytes",
    "oldest_age",
    "flusher",
}
FLUSHER_KEYS = {"pid", "hostname", "state", "reason", "since", "beat_age", "alive", "hung", "last_delivery"}


def test_it_counts_what_is_pending(command_line: CommandLine, track: Track) -> None:
    track(1234)
    result = command_line.run("status")
    assert result.code == 0
    assert result.errors == ""
    rows = {words[0]: words[1:] for line in result.output.splitlines() if (words := line.split())}
    assert rows["accepted"] == ["1,234"]
    assert rows["pending"][0] == "1,234"
    assert "kB, the oldest accepted" in result.output
    assert "nobody uploads" in result.output


def test_json_has_the_documented_keys(command_line: CommandLine, track: Track) -> None:
    track(3)
    status = command_line.run("status", "--json").json()
    assert set(status) == KEYS
    assert status["queue_dir"] == str(command_line.queue_dir)
    assert (status["accepted"], status["pending"], status["delivered"]) == (3, 3, 0)
    assert status["pending_bytes"] > 0
    assert status["oldest_age"] >= 0
    assert status["flusher"] is None


def test_the_documented_keys_are_in_the_help(command_line: CommandLine) -> None:
    text = command_line.run("status", "--help").output
    assert not {key for key in KEYS | FLUSHER_KEYS if key not in text}


def test_it_changes_nothing_on_disk(command_line: CommandLine, track: Track) -> None:
    track(3)
    before = _tree(command_line.queue_dir)
    assert command_line.run("status").code == 0
    assert _tree(command_line.queue_dir) == before


def test_the_argument_wins_over_the_variable(command_line: CommandLine, track: Track, tmp_path: Path) -> None:
    track(3)
    result = command_line.run(
        "status", "--json", "--queue-dir", str(command_line.queue_dir), environment={"LOTUS_QUEUE_DIR": str(tmp_path)}
    )
    assert result.json()["accepted"] == 3


def test_a_refused_key_is_shown_with_its_reason(command_line: CommandLine, track: Track, fake_lotus: FakeLotus) -> None:
    track(3)
    fake_lotus.rotate_key("another")
    command_line.start("flusher")
    wait_until(lambda: "blocked" in command_line.run("status").output, "the flusher to be blocked")
    assert "key" in command_line.run("status").output
    flusher = command_line.run("status", "--json").json()["flusher"]
    assert set(flusher) == FLUSHER_KEYS
    assert (flusher["state"], flusher["alive"]) == ("blocked", True)
    assert "key" in flusher["reason"]


def test_a_flusher_that_has_ended_without_a_word_is_called_so(command_line: CommandLine, track: Track) -> None:
    track(1)
    long_ago = time.time() - 7200
    write_heartbeat(
        QueueDirectory(command_line.queue_dir), Heartbeat(4711, "web1", "sending", None, long_ago, long_ago, None)
    )
    said = command_line.run("status").output
    assert "none; process 4711 on web1 has shown no sign of life for 2 hours and has ended" in said
    flusher = command_line.run("status", "--json").json()["flusher"]
    assert (flusher["alive"], flusher["hung"]) == (False, False)


def test_a_flusher_that_hangs_is_named_with_what_to_do(command_line: CommandLine, track: Track) -> None:
    track(1)
    directory = QueueDirectory(command_line.queue_dir)
    long_ago = time.time() - 7200
    leadership = Leadership(directory.leader_lock)
    assert leadership.acquire()
    try:
        write_heartbeat(directory, Heartbeat(4711, "web1", "sending", None, long_ago, long_ago, None))
        said = command_line.run("status").output
        assert "process 4711 on web1 has shown no sign of life for 2 hours and holds the leader lock" in said
        assert "kill -CONT 4711" in said
        assert command_line.run("status", "--json").json()["flusher"]["hung"] is True
    finally:
        leadership.release()


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
    delivered_at = None if last_delivery is None else now - last_delivery - 0.2
    flusher = FlusherStats(
        pid=1,
        hostname="h",
        state="idle",
        reason=reason,
        since=now - 200,
        beat_age=0.5,
        alive=True,
        hung=False,
        last_delivery=delivered_at,
    )
    assert flusher_in_words(flusher) == words


def _tree(root: Path) -> dict[str, tuple[int, int]]:
    return {
        os.path.join(folder, name): (status.st_mtime_ns, status.st_size)
        for folder, folders, files in os.walk(root)
        for name in [*folders, *files]
        for status in [os.stat(os.path.join(folder, name))]
    }
