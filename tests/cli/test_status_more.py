"""What ``lotus-durable status`` says beside the counts: rate, room, trouble, and which queue it is about."""

from __future__ import annotations

import json
import os
import re
import shlex
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lotus_durable import Client, __version__
from lotus_durable.delivery.rate import Rate
from lotus_durable.testing import Delay, FakeLotus, Faults, Status

from .conftest import KEY, PROGRAM, CommandLine, Refuse, Track, wait_until
from .conftest import Start as StartService
from .terminal import Terminal, needs_tmux


def test_a_rate_and_an_end_are_shown_while_a_backlog_is_sent(
    command_line: CommandLine, start: StartService, track: Track, fake_lotus: FakeLotus
) -> None:
    track(10_000)  # nobody waits for its end
    fake_lotus.faults = Faults(rates={Delay(0.2): 1.0}, path="/api/track/")
    start(LOTUS_MAX_BATCH_EVENTS="10")
    seen: list[dict[str, object]] = []

    def is_shown() -> bool:
        seen.append(command_line.run("status", "--json").json())
        return bool(seen[-1]["flusher"]) and bool(seen[-1]["ends_in"])

    wait_until(is_shown, "a rate")
    flusher = seen[-1]["flusher"]
    assert isinstance(flusher, dict)
    assert flusher["rate"] > 0
    assert " a second, done in " in command_line.run("status").output


def test_a_rate_is_of_the_last_half_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("lotus_durable.delivery.rate.monotonic", lambda: now[0])
    rate = Rate()
    assert rate.now() == 0.0
    for second in range(100):
        now[0] = 1000.0 + second
        rate.note(second * 50)
    assert 45 < rate.now() < 55
    now[0] += 60
    assert rate.now() < 50
    rate.note(99 * 50)
    now[0] += 60
    assert rate.now() == 0.0


def test_since_when_which_version_and_the_last_trouble_are_shown(
    command_line: CommandLine, start: StartService, track: Track, fake_lotus: FakeLotus
) -> None:
    track(1)
    fake_lotus.faults = Faults(rates={Status(503): 1.0}, path="/api/track/")
    service = start()

    def flusher() -> dict[str, object]:
        return dict(command_line.run("status", "--json").json()["flusher"] or {})

    wait_until(lambda: flusher().get("waits_until"), "it to wait")
    waiting = command_line.run("status").output
    assert f"flusher: process {service.pid} on " in waiting
    assert "503" in waiting
    assert "; it tries again in " in waiting
    assert f"a service, lotus-durable {__version__}, since 20" in waiting
    fake_lotus.faults = Faults()
    wait_until(lambda: command_line.run("status", "--json").json()["delivered"] == 1, "the event to be settled")
    over = flusher()
    assert (over["reason"], over["version"]) == (None, __version__)
    assert "503" in str(over["last_error"])
    assert re.search(r"last trouble, .+ ago: .*503", command_line.run("status").output)


@needs_tmux
def test_it_can_be_watched_until_ctrl_c(track: Track, terminal: Terminal) -> None:
    track(2)
    terminal.type(*PROGRAM, "status", "--watch", "0.1")
    terminal.wait_for("accepted       2")
    track(3)
    screen = terminal.wait_for("accepted       5")
    assert screen.count("flusher:") == 1
    terminal.press("C-c")
    terminal.enter("echo ended with $?")
    terminal.wait_for("ended with 0")


def test_watching_with_json_is_a_line_each_time(command_line: CommandLine, track: Track) -> None:
    track(1)
    watching = command_line.start("status", "--json", "--watch", "0.05")
    assert watching.stdout is not None
    lines = [watching.stdout.readline() for _ in range(3)]
    assert [json.loads(line)["accepted"] for line in lines] == [1, 1, 1]


def test_which_directory_it_is_and_why_is_said(command_line: CommandLine, track: Track, tmp_path: Path) -> None:
    track(1)
    named = command_line.run(
        "status", "--queue-dir", str(command_line.queue_dir), environment={"LOTUS_QUEUE_DIR": str(tmp_path)}
    )
    assert f"queue in {command_line.queue_dir} (--queue-dir)" in named.output
    assert f"queue in {command_line.queue_dir} (LOTUS_QUEUE_DIR)" in command_line.run("status").output
    home = {"LOTUS_QUEUE_DIR": "", "XDG_STATE_HOME": str(tmp_path / "state")}
    nowhere = command_line.run("status", environment=home)
    assert nowhere.code == 2
    assert f"{tmp_path}/state/lotus_durable does not exist (the default of this user)" in nowhere.one_error()
    (tmp_path / "state").mkdir()
    command_line.queue_dir.rename(tmp_path / "state" / "lotus_durable")
    found = command_line.run("parked", environment=home)
    assert found.code == 0
    assert found.one_error() == f"queue directory: {tmp_path}/state/lotus_durable (the default of this user)"
    (tmp_path / "state" / "lotus_durable").rename(command_line.queue_dir)


def test_other_queues_that_a_process_of_this_user_uses_are_named(
    command_line: CommandLine, track: Track, tmp_path: Path
) -> None:
    track(1)
    client = Client(queue_dir=tmp_path / "other", flusher="external", api_key=KEY)
    for _ in range(4):
        client.track_event(customer_id="c1", event_name="call")  # its segment stays open in this process

    def is_named() -> bool:
        others = command_line.run("status", "--json").json()["other_queues"]
        return {"queue_dir": str(tmp_path / "other"), "events": 4} in others

    wait_until(is_named, "the other queue to be named")  # among those of other programs; a look is short
    client.release()


def test_quarantine_and_room_are_shown(command_line: CommandLine, track: Track) -> None:
    track(1)
    Path(command_line.directory.quarantine, "x-1.bin").write_bytes(b"x" * 1500)
    text = command_line.run("status").output
    assert "damaged: 1 file in quarantine/, 1.5 kB" in text
    assert " of 1.1 GB used, " in text
    found = command_line.run("status", "--json", environment={"LOTUS_MAX_QUEUE_BYTES": "100000000"}).json()
    assert (found["limit_bytes"], found["quarantine_files"], found["quarantine_bytes"]) == (100_000_000, 1, 1500)
    assert found["used_bytes"] > 1500
    assert found["disk_left"] > 0


def test_events_parked_for_the_future_are_counted(command_line: CommandLine, refuse: Refuse) -> None:
    refuse(2, time_created=datetime.now(UTC) + timedelta(days=3))
    assert command_line.run("status", "--json").json()["parked_for_future"] == 2
    assert "2 of them not before their time" in command_line.run("status").output


def test_when_the_server_will_refuse_the_oldest_event_is_said(
    command_line: CommandLine, track: Track, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    monkeypatch.setattr("lotus_durable.event.encoder.time", lambda: now - 27 * 86_400.0)
    track(1)
    assert "27 days ago (the server refuses it in 2 days)" in command_line.run("status").output


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_root_is_shown_the_command_to_run_as_the_queues_user(command_line: CommandLine, track: Track) -> None:
    track(1)
    os.chown(command_line.queue_dir, 65534, 65534)
    named = ["--queue-dir", str(command_line.queue_dir)]
    for arguments, more in (
        (["status"], named),
        (["dead-letters", "purge", "--reason", "too old", *named], []),
        (["import", os.devnull, "--json"], named),
        (["flusher"], named),
    ):
        said = command_line.run(*arguments).one_error()
        assert said.endswith(f": {shlex.join(['sudo', '-u', 'nobody', 'lotus-durable', *arguments, *more])}")
    os.chown(command_line.queue_dir, 0, 0)


def test_what_waits_in_the_memory_of_a_program_is_shown_until_the_disk_takes_it(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client(queue_dir=command_line.queue_dir, flusher="external", api_key=KEY)
    client.track_event(customer_id="c1", event_name="call")
    pwrite = os.pwrite

    def refused(descriptor: int, data: bytes, offset: int) -> int:
        if "/journal/" in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(28, "No space left on device")
        return pwrite(descriptor, data, offset)

    monkeypatch.setattr("lotus_durable.queue.writer.os.pwrite", refused)
    client.track_event(customer_id="c1", event_name="call")
    assert command_line.run("status", "--json").json()["in_memory"] == 1
    assert "memory:  1 event in the memory of programs" in command_line.run("status").output
    monkeypatch.undo()
    client.track_event(customer_id="c1", event_name="call")
    client._tracker.look_now()
    status = command_line.run("status", "--json").json()
    assert (status["in_memory"], status["pending"]) == (0, 3)
    client.release()


def test_what_went_into_sqlite_is_counted_where_nobody_flushes(command_line: CommandLine) -> None:
    with Client(queue_dir=command_line.queue_dir, flusher="external", backend="sqlite") as client:
        for _ in range(3):
            client.track_event(customer_id="c1", event_name="api_call")
    for settled in (0, 3):
        status = command_line.run("status", "--json").json()
        assert (status["accepted"], status["delivered"], status["pending"]) == (3, settled, 3 - settled)
        assert (status["oldest_age"] is None) == bool(settled)
        assert command_line.run("health", "--max-pending", "2").code == (0 if settled else 1)
        assert command_line.run("drain").code == 0


def test_a_queue_db_that_cannot_be_read_is_not_taken_for_an_empty_one(command_line: CommandLine, track: Track) -> None:
    track(2)
    Path(command_line.directory.queue_db).write_bytes(b"no database" * 1000)
    status = command_line.run("status", "--json")
    assert (status.code, status.json()["pending"]) == (0, 3)
    assert command_line.run("health", "--max-pending", "2").code == 1
    assert command_line.run("check").code == 3
