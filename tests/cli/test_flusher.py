"""``lotus-durable flusher``, as a service manager runs it."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest

from lotus_durable import Client
from lotus_durable.testing import Delay, FakeLotus, RefuseEvents

from .conftest import CommandLine, Start, Track, flusher_pid, wait_until


def test_it_delivers_what_another_process_tracks(start: Start, track: Track, fake_lotus: FakeLotus) -> None:
    service = start()
    ids = track(600)
    fake_lotus.wait_for(600)
    ids += track(1)
    fake_lotus.wait_for(601)
    assert set(fake_lotus.times_received) == set(ids)
    log = service.end()
    assert "flushes the queue in " in log
    assert "SIGTERM: stopping after the request in flight" in log
    assert "stopped (SIGTERM); 0 pending" in log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_request_in_flight_end_and_commits_it(
    command_line: CommandLine, start: Start, track: Track, fake_lotus: FakeLotus, number: int
) -> None:
    track(5)
    fake_lotus.fail_next(None, Delay(1.0))
    service = start(LOTUS_EXIT_TIMEOUT="0")
    fake_lotus.wait_for(5)  # stored, and the answer is on its way
    track(2)
    log = service.end(number)
    assert f"stopped ({signal.Signals(number).name}); 2 pending" in log
    assert command_line.run_process("status", "--json").json()["delivered"] == 5
    assert command_line.run_process("drain").code == 0
    assert fake_lotus.event_count == 7
    assert fake_lotus.duplicates == 0


def test_what_can_be_sent_before_the_end_is_sent(start: Start, track: Track, fake_lotus: FakeLotus) -> None:
    ids = track(5)
    fake_lotus.fail_next(None, Delay(1.0))
    service = start(LOTUS_EXIT_TIMEOUT="20")
    fake_lotus.wait_for(5)
    ids += track(2)
    assert "stopped (SIGTERM); 0 pending" in service.end()
    assert set(fake_lotus.times_received) == set(ids)


def test_a_server_that_is_away_does_not_hold_up_the_end(start: Start, track: Track, fake_lotus: FakeLotus) -> None:
    track(3)
    fake_lotus.pause()
    service = start(LOTUS_EXIT_TIMEOUT="600")
    service.wait_to_log("connection refused")
    assert "stopped (SIGTERM); 3 pending" in service.end()


def test_a_second_signal_ends_it_at_once_and_loses_nothing(
    command_line: CommandLine, start: Start, track: Track, fake_lotus: FakeLotus
) -> None:
    ids = track(5)
    fake_lotus.fail_next(None, Delay(20.0))
    service = start()
    fake_lotus.wait_for(5)
    service.process.terminate()
    service.wait_to_log("stopping after the request")
    service.process.terminate()
    assert service.process.wait(10) == 128 + signal.SIGTERM
    assert command_line.run_process("status", "--json").json()["pending"] == 5
    assert command_line.run_process("drain").code == 0
    assert set(fake_lotus.times_received) == set(ids)


def test_a_second_one_stands_by_and_takes_over_when_the_first_is_killed(
    command_line: CommandLine, start: Start, track: Track, fake_lotus: FakeLotus
) -> None:
    first = start()
    track(10)
    fake_lotus.wait_for(10)
    second = start()
    second.wait_to_log(f"process {first.pid} on ")
    first.process.kill()
    first.process.wait()
    ids = track(10)
    fake_lotus.wait_for(20)
    assert flusher_pid(command_line.directory) == second.pid
    assert set(ids) < set(fake_lotus.times_received)
    second.end()


def test_one_that_stands_by_ends_at_a_signal_too(
    command_line: CommandLine, start: Start, track: Track, fake_lotus: FakeLotus
) -> None:
    first = start()
    track(1)
    fake_lotus.wait_for(1)
    second = start()
    second.wait_to_log("this one stands by")
    assert "flushes the queue" not in second.end()
    assert flusher_pid(command_line.directory) == first.pid


def test_the_flusher_of_a_program_makes_way_for_it_and_no_other_one_is_started(
    command_line: CommandLine, start: Start, program: Client, fake_lotus: FakeLotus
) -> None:
    program.track_event(customer_id="c1", event_name="api_call")
    fake_lotus.wait_for(1)
    auto = flusher_pid(command_line.directory)
    service = start()
    service.wait_to_log(f"process {auto} on ")
    service.wait_to_log("it is asked to make way")
    service.wait_to_flush()
    for _ in range(3):
        program.track_event(customer_id="c1", event_name="api_call")
    fake_lotus.wait_for(4)
    assert flusher_pid(command_line.directory) == service.pid
    assert "stopped (SIGTERM); 0 pending" in service.end()
    assert fake_lotus.duplicates == 0


def test_it_waits_for_one_with_a_key_of_which_nobody_says_that_it_is_the_same_organisation_s(
    command_line: CommandLine, start: Start, program: Client, fake_lotus: FakeLotus
) -> None:
    program.track_event(customer_id="c1", event_name="api_call")
    fake_lotus.wait_for(1)
    auto = flusher_pid(command_line.directory)
    service = start(LOTUS_API_KEY="somebody-else's")
    service.wait_to_log(f"process {auto} on ")
    service.wait_to_log("this one stands by")
    assert flusher_pid(command_line.directory) == auto
    service.end()


@pytest.mark.parametrize("what", ["its lock", "the directory"])
def test_when_something_is_removed_under_it_it_stands_by_and_goes_on(
    command_line: CommandLine, start: Start, fake_lotus: FakeLotus, tmp_path: Path, what: str
) -> None:
    service = start()
    service.wait_to_flush()
    if what == "its lock":
        Path(command_line.directory.flusher_lock).unlink()
    else:
        command_line.queue_dir.rename(tmp_path / "removed")  # at once: there is no moment with half of it
        shutil.rmtree(tmp_path / "removed", ignore_errors=True)
    service.wait_to_log("standing by: ")
    client = Client(queue_dir=command_line.queue_dir, flusher="external")
    client.track_event(customer_id="c1", event_name="api_call")
    client.release()
    fake_lotus.wait_for(1)
    assert service.log.read_text().count("flushes the queue in ") == 2
    service.end()


def test_it_logs_why_nothing_can_be_sent_and_does_not_repeat_itself(
    command_line: CommandLine, start: Start, track: Track, fake_lotus: FakeLotus
) -> None:
    track(3)
    fake_lotus.rotate_key("another")
    service = start()
    wait_until(lambda: "blocked" in command_line.run_process("status").output, "the flusher to be blocked")
    log = service.end()
    [line] = [line for line in log.splitlines() if "blocked" in line]
    assert "the server refuses the API key" in line
    assert "stopped (SIGTERM); 3 pending" in log


def test_it_logs_dead_letters_once(start: Start, track: Track, fake_lotus: FakeLotus) -> None:
    fake_lotus.fail_next(None, RefuseEvents("No customer_id provided"))
    track(3)
    service = start()
    service.wait_to_log("No customer_id provided")
    assert service.end().count("No customer_id provided") == 1


def test_it_starts_before_the_program_that_tracks(command_line: CommandLine, start: Start) -> None:
    service = start()
    service.wait_to_flush()
    assert oct(command_line.queue_dir.stat().st_mode & 0o777) == oct(0o700)
    assert command_line.run_process("health", environment={"LOTUS_FLUSHER": "external"}).code == 0
    service.end()


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
    result = command_line.run_process("flusher", environment=environment)
    assert result.code == 2
    assert said in result.one_error()
