"""``lotus-durable flusher``, as a service manager runs it."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from lotus_durable import Client
from lotus_durable.cli.flusher import narrator
from lotus_durable.cli.flusher.service_manager import ServiceManager
from lotus_durable.config import Config
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.heartbeat import Heartbeat, read_heartbeat, write_heartbeat
from lotus_durable.queue.protocol import Census
from lotus_durable.testing import Delay, FakeLotus, RefuseEvents

from .conftest import CommandLine, Start, wait_until

if TYPE_CHECKING:
    from lotus_durable.cli.flusher.service import Term

Track = Callable[[int], list[str]]


@pytest.fixture
def leader_pid(command_line: CommandLine) -> Callable[[], int | None]:
    def pid() -> int | None:
        heartbeat = read_heartbeat(QueueDirectory(command_line.queue_dir))
        return None if heartbeat is None else heartbeat.pid

    return pid


def test_it_delivers_what_another_process_tracks(start: Start, track: Track, fake_lotus: FakeLotus) -> None:
    uploader = start()
    ids = track(600)
    fake_lotus.wait_for(600)
    ids += track(1)
    fake_lotus.wait_for(601)
    assert set(fake_lotus.times_received) == set(ids)
    log = uploader.end()
    assert "this process is the leader now" in log
    assert "601 events delivered, 0 pending" in log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_request_in_flight_end_and_commits_it(
    command_line: CommandLine,
    start: Start,
    track: Track,
    fake_lotus: FakeLotus,
    number: int,
) -> None:
    track(5)
    fake_lotus.fail_next(Delay(1.0))
    uploader = start()
    fake_lotus.wait_for(5)  # stored, and the answer is on its way
    track(2)
    log = uploader.end(number)
    assert f"{signal.Signals(number).name}: stopping after the request in flight" in log
    assert "5 events delivered, 2 pending" in log
    assert command_line.run("status", "--json").json()["delivered"] == 5
    assert command_line.run("drain").code == 0
    assert fake_lotus.event_count == 7
    assert fake_lotus.duplicates == 0


def test_a_second_signal_ends_it_at_once_and_loses_nothing(
    command_line: CommandLine, start: Start, track: Track, fake_lotus: FakeLotus
) -> None:
    ids = track(5)
    fake_lotus.fail_next(Delay(20.0))
    uploader = start()
    fake_lotus.wait_for(5)
    uploader.process.terminate()
    uploader.wait_to_log("stopping after the request")
    uploader.process.terminate()
    assert uploader.process.wait(10) == 128 + signal.SIGTERM
    assert command_line.run("status", "--json").json()["pending"] == 5
    assert command_line.run("drain").code == 0
    assert set(fake_lotus.times_received) == set(ids)


def test_a_second_flusher_is_refused_and_told_which_one_runs(
    command_line: CommandLine, start: Start, track: Track, fake_lotus: FakeLotus
) -> None:
    first = start()
    first.wait_to_log("started as process")
    for arguments in ([], ["--once"]):
        second = command_line.run("flusher", *arguments)
        assert second.code == 2
        assert f"runs already: process {first.pid} on " in second.one_error()
    ids = track(3)
    fake_lotus.wait_for(3)
    assert set(fake_lotus.times_received) == set(ids)
    first.end()


def test_that_a_flusher_runs_is_told_by_its_lock_and_not_by_the_pid_in_it(
    command_line: CommandLine, start: Start, track: Track
) -> None:
    track(1)
    lock = QueueDirectory(command_line.queue_dir).flusher_lock
    lock.write_text("process 1 on this very machine, which runs\n")
    uploader = start()
    uploader.wait_to_log("started as process")
    assert lock.read_text().startswith(f"process {uploader.pid} on ")
    uploader.process.kill()
    uploader.process.wait()
    start().wait_to_log("started as process")


def test_a_flusher_that_stands_by_takes_over_from_one_that_is_killed(
    start: Start,
    leader_pid: Callable[[], int | None],
    track: Track,
    fake_lotus: FakeLotus,
) -> None:
    leader = start()
    track(10)
    fake_lotus.wait_for(10)
    standby = start("--standby")
    standby.wait_to_log(f"waiting for another flusher of this queue to end: process {leader.pid} on ")
    leader.process.kill()
    leader.process.wait()
    ids = track(10)
    fake_lotus.wait_for(20)
    assert leader_pid() == standby.pid
    assert set(ids) < set(fake_lotus.times_received)
    standby.end()


def test_a_flusher_that_waits_for_another_ends_at_a_signal_too(
    start: Start,
    leader_pid: Callable[[], int | None],
    track: Track,
    fake_lotus: FakeLotus,
) -> None:
    leader = start()
    track(1)
    fake_lotus.wait_for(1)
    standby = start("--standby")
    standby.wait_to_log("waiting for another flusher")
    assert "started" not in standby.end()
    assert leader_pid() == leader.pid


def test_while_a_worker_uploads_it_stands_by_and_takes_over_when_that_ends(
    command_line: CommandLine, start: Start, leader_pid: Callable[[], int | None], fake_lotus: FakeLotus
) -> None:
    worker = Client(api_key="test-key", host=fake_lotus.host, queue_dir=command_line.queue_dir)
    worker.track_event(customer_id="c1", event_name="api_call")
    fake_lotus.wait_for(1)
    uploader = start()
    uploader.wait_to_log("standing by: process")
    worker.release(30.0)
    wait_until(lambda: leader_pid() == uploader.pid, "the flusher to lead")
    assert "0 events delivered" in uploader.end()


def test_it_ends_when_the_other_end_of_its_input_is_gone(start: Start, track: Track, fake_lotus: FakeLotus) -> None:
    uploader = start("--until-eof", stdin=subprocess.PIPE)
    track(3)
    fake_lotus.wait_for(3)
    assert uploader.process.stdin is not None
    uploader.process.stdin.close()
    assert uploader.process.wait(30) == 0
    assert "end of standard input: stopping after the request in flight" in uploader.log.read_text()


def test_it_logs_why_nothing_can_be_sent_and_does_not_repeat_itself(
    command_line: CommandLine, start: Start, track: Track, fake_lotus: FakeLotus
) -> None:
    track(3)
    fake_lotus.rotate_key("another")
    uploader = start()
    wait_until(lambda: "blocked" in command_line.run("status").output, "the flusher to be blocked")
    log = uploader.end()
    [line] = [line for line in log.splitlines() if "blocked" in line]
    assert "the server refuses the API key" in line
    assert "0 events delivered, 3 pending" in log


def test_it_logs_dead_letters_once(start: Start, track: Track, fake_lotus: FakeLotus) -> None:
    fake_lotus.fail_next(RefuseEvents("No customer_id provided"))
    track(3)
    uploader = start()
    fake_lotus.wait_until(lambda: fake_lotus.request_count > 0)
    assert uploader.end().count("No customer_id provided") == 1


def test_damage_is_logged_though_only_on_error_hears_of_it(
    command_line: CommandLine, start: Start, track: Track, fake_lotus: FakeLotus
) -> None:
    track(3)
    (command_line.queue_dir / "state").write_text("00000000 {}\n")
    uploader = start()
    fake_lotus.wait_for(3)
    assert "the state file is damaged" in uploader.end()


def test_it_starts_before_the_program_that_tracks(command_line: CommandLine, start: Start) -> None:
    uploader = start()
    wait_until((command_line.queue_dir / "leader.json").exists, "a leader")
    assert oct(command_line.queue_dir.stat().st_mode & 0o777) == oct(0o700)
    uploader.end()


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"LOTUS_API_KEY": ""}, "set LOTUS_API_KEY"),
        ({"LOTUS_SEND": "no"}, "LOTUS_SEND"),
        ({"LOTUS_HOST": "lotus.example"}, "LOTUS_HOST"),
        ({"LOTUS_BACKEND": "redis"}, "LOTUS_BACKEND"),
        ({"LOTUS_QUEUE_DIR": "/proc/queue"}, "/proc/queue"),
    ],
)
def test_a_wrong_configuration_is_said_at_the_start(
    command_line: CommandLine, environment: dict[str, str], said: str
) -> None:
    result = command_line.run("flusher", environment=environment)
    assert result.code == 2
    assert said in result.one_error()


def test_deliveries_are_logged_now_and_then_and_only_this_process_s(
    queue_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    counts = {"delivered": 0}

    def census() -> Census:
        return Census(100, counts["delivered"], 100 - counts["delivered"], 0, 0, 0, 0, None)

    monkeypatch.setattr(narrator, "_REPORT_INTERVAL", 0.0)
    candidate = SimpleNamespace(leads=False, looked_at=0.0)
    queue = SimpleNamespace(census=census, directory=QueueDirectory(queue_dir))
    term = SimpleNamespace(candidate=candidate, process=SimpleNamespace(queue=queue), config=Config.resolve({}, {}, {}))
    teller = narrator.Narrator(lambda: cast("Term", term), ServiceManager({}))
    QueueDirectory(queue_dir).prepare()
    now = time.time()
    write_heartbeat(QueueDirectory(queue_dir), Heartbeat(4711, "web1", "sending", None, now, now, None))
    with caplog.at_level("INFO", logger="lotus_durable"):
        for delivered, leads in ((10, False), (30, True), (30, True), (60, True)):
            counts["delivered"], candidate.leads = delivered, leads
            teller.look()
        teller.end()
    assert caplog.messages == [
        "standing by: process 4711 on web1 uploads",
        "delivered 20 events; 70 pending",
        "delivered 30 events; 40 pending",
        "stopped; 50 events delivered, 40 pending",
    ]


def test_it_refuses_a_queue_of_another_server(command_line: CommandLine, track: Track) -> None:
    track(1)
    QueueDirectory(command_line.queue_dir).destination.write_text('{"host": "https://lotus.example.com"}')
    result = command_line.run("flusher")
    assert result.code == 2
    assert "its events are for https://lotus.example.com" in result.errors
    assert command_line.run("status").code == 0, "a command that only looks is not refused"
