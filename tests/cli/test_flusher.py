"""``lotus-durable flusher``, as a service manager runs it."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable

import pytest

from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.heartbeat import read_heartbeat
from lotus_durable.testing import Delay, FakeLotus, RefuseEvents

from .conftest import CommandLine, wait_until

Track = Callable[[int], list[str]]


@pytest.fixture
def start(command_line: CommandLine) -> Callable[[], subprocess.Popen[str]]:
    return lambda: command_line.start("flusher", environment={"LOTUS_FLUSH_INTERVAL": "0.05"})


@pytest.fixture
def leader_pid(command_line: CommandLine) -> Callable[[], int | None]:
    def pid() -> int | None:
        heartbeat = read_heartbeat(QueueDirectory(command_line.queue_dir))
        return None if heartbeat is None else heartbeat.pid

    return pid


def end(process: subprocess.Popen[str], number: int = signal.SIGTERM) -> str:
    """End a flusher in order and return what it logged."""
    process.send_signal(number)
    _, log = process.communicate(timeout=30)
    assert process.returncode == 0
    return log


def test_it_delivers_what_another_process_tracks(
    start: Callable[[], subprocess.Popen[str]], track: Track, fake_lotus: FakeLotus
) -> None:
    flusher = start()
    ids = track(600)
    fake_lotus.wait_for(600)
    ids += track(1)
    fake_lotus.wait_for(601)
    assert set(fake_lotus.times_received) == set(ids)
    log = end(flusher)
    assert "this process is the leader now" in log
    assert "601 events delivered, 0 pending" in log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_request_in_flight_end_and_commits_it(
    command_line: CommandLine,
    start: Callable[[], subprocess.Popen[str]],
    track: Track,
    fake_lotus: FakeLotus,
    number: int,
) -> None:
    track(5)
    fake_lotus.fail_next(Delay(1.0))
    flusher = start()
    fake_lotus.wait_for(5)  # stored, and the answer is on its way
    track(2)
    log = end(flusher, number)
    assert f"{signal.Signals(number).name}: stopping after the request in flight" in log
    assert "5 events delivered, 2 pending" in log
    assert command_line.run("status", "--json").json()["delivered"] == 5
    assert command_line.run("drain").code == 0
    assert fake_lotus.event_count == 7
    assert fake_lotus.duplicates == 0


def test_a_second_signal_ends_it_at_once_and_loses_nothing(
    command_line: CommandLine, start: Callable[[], subprocess.Popen[str]], track: Track, fake_lotus: FakeLotus
) -> None:
    ids = track(5)
    fake_lotus.fail_next(Delay(20.0))
    flusher = start()
    fake_lotus.wait_for(5)
    flusher.terminate()
    assert flusher.stderr is not None
    while "stopping after the request" not in flusher.stderr.readline():
        pass
    flusher.terminate()
    assert flusher.wait(10) == 128 + signal.SIGTERM
    assert command_line.run("status", "--json").json()["pending"] == 5
    assert command_line.run("drain").code == 0
    assert set(fake_lotus.times_received) == set(ids)


def test_a_standby_takes_over_from_one_that_is_killed(
    start: Callable[[], subprocess.Popen[str]],
    leader_pid: Callable[[], int | None],
    track: Track,
    fake_lotus: FakeLotus,
) -> None:
    flushers = [start(), start()]
    track(10)
    fake_lotus.wait_for(10)
    [leader] = [each for each in flushers if each.pid == leader_pid()]
    [standby] = [each for each in flushers if each is not leader]
    assert standby.stderr is not None
    while f"standing by: process {leader.pid}" not in standby.stderr.readline():
        pass
    leader.kill()
    ids = track(10)
    fake_lotus.wait_for(20)
    assert leader_pid() == standby.pid
    assert set(ids) < set(fake_lotus.times_received)
    end(standby)


def test_a_standby_ends_at_a_signal_too(
    start: Callable[[], subprocess.Popen[str]],
    leader_pid: Callable[[], int | None],
    track: Track,
    fake_lotus: FakeLotus,
) -> None:
    leader = start()
    track(1)
    fake_lotus.wait_for(1)
    standby = start()
    assert standby.stderr is not None
    while "standing by" not in standby.stderr.readline():
        pass
    assert "0 events delivered" in end(standby)
    assert leader_pid() == leader.pid


def test_it_logs_why_nothing_can_be_sent_and_does_not_repeat_itself(
    command_line: CommandLine, start: Callable[[], subprocess.Popen[str]], track: Track, fake_lotus: FakeLotus
) -> None:
    track(3)
    fake_lotus.rotate_key("another")
    flusher = start()
    wait_until(lambda: "blocked" in command_line.run("status").output, "the flusher to be blocked")
    log = end(flusher)
    [line] = [line for line in log.splitlines() if "blocked" in line]
    assert "the server refuses the API key" in line
    assert "0 events delivered, 3 pending" in log


def test_it_logs_dead_letters_once(
    start: Callable[[], subprocess.Popen[str]], track: Track, fake_lotus: FakeLotus
) -> None:
    fake_lotus.fail_next(RefuseEvents("No customer_id provided"))
    track(3)
    flusher = start()
    fake_lotus.wait_until(lambda: fake_lotus.request_count > 0)
    assert end(flusher).count("No customer_id provided") == 1


def test_damage_is_logged_though_only_on_error_hears_of_it(
    command_line: CommandLine, start: Callable[[], subprocess.Popen[str]], track: Track, fake_lotus: FakeLotus
) -> None:
    track(3)
    (command_line.queue_dir / "state").write_text("00000000 {}\n")
    flusher = start()
    fake_lotus.wait_for(3)
    assert "the state file is damaged" in end(flusher)


def test_it_starts_before_the_program_that_tracks(
    command_line: CommandLine, start: Callable[[], subprocess.Popen[str]]
) -> None:
    flusher = start()
    wait_until((command_line.queue_dir / "leader.json").exists, "a leader")
    assert oct(command_line.queue_dir.stat().st_mode & 0o777) == oct(0o700)
    end(flusher)


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"LOTUS_API_KEY": ""}, "set LOTUS_API_KEY"),
        ({"LOTUS_SEND": "no"}, "LOTUS_SEND"),
        ({"LOTUS_HOST": "lotus.example"}, "LOTUS_HOST"),
        ({"LOTUS_BACKEND": "sqlite"}, "backend"),
        ({"LOTUS_QUEUE_DIR": "/proc/queue"}, "/proc/queue"),
    ],
)
def test_a_wrong_configuration_is_said_at_the_start(
    command_line: CommandLine, environment: dict[str, str], said: str
) -> None:
    result = command_line.run("flusher", environment=environment)
    assert result.code == 2
    assert said in result.one_error()
