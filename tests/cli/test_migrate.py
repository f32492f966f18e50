"""``lotus-durable migrate``, as an operator runs it: between two lives of a program."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from lotus_durable import Client
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.heartbeat import read_heartbeat
from lotus_durable.testing import FakeLotus

from .conftest import CommandLine, wait_until

BOTH = pytest.mark.parametrize(("old", "new"), [("journal", "sqlite"), ("sqlite", "journal")])


def fill(queue_dir: Path, backend: str, number: int) -> list[str]:
    client = Client(queue_dir=queue_dir, backend=backend, flusher="external")  # type: ignore[arg-type]
    ids = [client.track_event(customer_id="c1", event_name="api_call") for _ in range(number)]
    client.release()
    return ids


@BOTH
def test_a_queue_is_moved_and_delivered_by_the_other_backend(
    command_line: CommandLine, queue_dir: Path, fake_lotus: FakeLotus, old: str, new: str
) -> None:
    ids = fill(queue_dir, old, 50)
    refused = command_line.run("status", environment={"LOTUS_BACKEND": new})
    assert refused.code == 2
    assert f"`lotus-durable migrate --to {new}`" in refused.one_error()
    result = command_line.run("migrate", "--to", new, "--json")
    assert (result.code, result.errors) == (0, "")
    assert result.json() == {
        "queue_dir": str(queue_dir), "backend": new, "accepted": 50, "delivered": 0, "pending": 50, "parked": 0,
        "dead_lettered": 0, "discarded": 0,
    }  # fmt: skip
    assert command_line.run("status", environment={"LOTUS_BACKEND": old}).code == 2
    assert command_line.run("drain", environment={"LOTUS_BACKEND": new}).code == 0
    assert set(fake_lotus.times_received) == set(ids)


def test_a_person_is_told_what_to_set(command_line: CommandLine, queue_dir: Path) -> None:
    fill(queue_dir, "journal", 3)
    result = command_line.run("migrate", "--to", "sqlite")
    assert result.code == 0
    assert "is kept by backend sqlite now: 3 events pending of 3 accepted; set backend (LOTUS_BACKEND)" in result.output


@BOTH
def test_while_a_program_writes_nothing_is_moved(
    command_line: CommandLine, queue_dir: Path, old: str, new: str
) -> None:
    client = Client(queue_dir=queue_dir, backend=old, flusher="external")  # type: ignore[arg-type]
    client.track_event(customer_id="c1", event_name="api_call")
    result = command_line.run("migrate", "--to", new)
    assert result.code == 1
    assert "not moved: " in result.one_error()
    client.track_event(customer_id="c1", event_name="api_call")
    assert client.stats().pending == 2
    client.release()


@BOTH
def test_while_an_uploader_is_alive_nothing_is_moved(
    command_line: CommandLine, queue_dir: Path, old: str, new: str
) -> None:
    fill(queue_dir, old, 1)
    flusher = command_line.start("flusher", environment={"LOTUS_BACKEND": old})
    wait_until(lambda: read_heartbeat(QueueDirectory(queue_dir)) is not None, "the flusher to lead")
    result = command_line.run("migrate", "--to", new)
    assert result.code == 1
    assert "a process uploads from the queue" in result.one_error()
    flusher.terminate()
    flusher.communicate()
    assert command_line.run("migrate", "--to", new).code == 0


@BOTH
def test_a_killed_migration_is_finished_by_the_next(
    command_line: CommandLine, queue_dir: Path, fake_lotus: FakeLotus, old: str, new: str
) -> None:
    ids = fill(queue_dir, old, 3000)
    marker = QueueDirectory(queue_dir).backend
    process = command_line.start("migrate", "--to", new)
    wait_until(lambda: marker.read_text() != f"{old}\n", "the migration to begin")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    result = command_line.run("migrate", "--to", new, "--json")
    assert result.code == 0
    assert (result.json()["accepted"], result.json()["pending"]) == (3000, 3000)
    assert command_line.run("drain", environment={"LOTUS_BACKEND": new}).code == 0
    assert set(fake_lotus.times_received) == set(ids)
    assert fake_lotus.duplicates == 0


@pytest.mark.parametrize("arguments", [(), ("--to", "redis"), ("--to", "sqlite")])
def test_wrong_usage_and_no_queue_change_nothing(
    command_line: CommandLine, queue_dir: Path, arguments: tuple[str, ...]
) -> None:
    result = command_line.run("migrate", *arguments)
    assert result.code == 2
    assert not queue_dir.exists()


def test_a_directory_that_holds_no_queue_is_refused(
    command_line: CommandLine, track: Callable[[int], list[str]], queue_dir: Path
) -> None:
    track(1)
    os.rename(queue_dir / "journal", queue_dir / "gone")
    assert command_line.run("migrate", "--to", "sqlite").code == 2
