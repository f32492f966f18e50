"""``lotus-durable flusher``, as a service manager runs it."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from lotus_durable.cli import flusher
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.heartbeat import read_heartbeat
from lotus_durable.queue.protocol import Census
from lotus_durable.testing import Delay, FakeLotus, RefuseEvents

from .conftest import PROGRAM, CommandLine, wait_until

if TYPE_CHECKING:
    from lotus_durable.delivery.candidate import Candidate
    from lotus_durable.queue.protocol import EventQueue

Track = Callable[[int], list[str]]


@dataclass
class Flusher:
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def wait_to_log(self, text: str) -> None:
        wait_until(lambda: text in self.log.read_text(), f"the flusher to log {text!r}")

    def end(self, number: int = signal.SIGTERM) -> str:
        """End it in order and return what it logged."""
        self.process.send_signal(number)
        assert self.process.wait(30) == 0
        return self.log.read_text()


Start = Callable[[], Flusher]


@pytest.fixture
def start(command_line: CommandLine, tmp_path: Path) -> Iterator[Start]:
    """Start a flusher; it is killed after the test if it still runs."""
    flushers: list[Flusher] = []

    def start_one() -> Flusher:
        log = tmp_path / f"flusher-{len(flushers)}.log"
        with log.open("w") as stream:
            process = subprocess.Popen(
                [*PROGRAM, "flusher"],
                env={**command_line.environment, "LOTUS_FLUSH_INTERVAL": "0.05"},
                stdin=subprocess.DEVNULL,
                stderr=stream,
            )
        flushers.append(Flusher(process, log))
        return flushers[-1]

    yield start_one
    for each in flushers:
        each.process.kill()
        each.process.wait()


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


def test_a_standby_takes_over_from_one_that_is_killed(
    start: Start,
    leader_pid: Callable[[], int | None],
    track: Track,
    fake_lotus: FakeLotus,
) -> None:
    flushers = [start(), start()]
    track(10)
    fake_lotus.wait_for(10)
    [leader] = [each for each in flushers if each.pid == leader_pid()]
    [standby] = [each for each in flushers if each is not leader]
    standby.wait_to_log(f"standing by: process {leader.pid} on ")
    leader.process.kill()
    leader.process.wait()
    ids = track(10)
    fake_lotus.wait_for(20)
    assert leader_pid() == standby.pid
    assert set(ids) < set(fake_lotus.times_received)
    standby.end()


def test_a_standby_ends_at_a_signal_too(
    start: Start,
    leader_pid: Callable[[], int | None],
    track: Track,
    fake_lotus: FakeLotus,
) -> None:
    leader = start()
    track(1)
    fake_lotus.wait_for(1)
    standby = start()
    standby.wait_to_log("standing by")
    assert "0 events delivered" in standby.end()
    assert leader_pid() == leader.pid


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
        ({"LOTUS_BACKEND": "sqlite"}, "LOTUS_BACKEND"),
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

    monkeypatch.setattr(flusher, "_REPORT_INTERVAL", 0.0)
    candidate = SimpleNamespace(leads=False)
    queue = SimpleNamespace(census=census, directory=QueueDirectory(queue_dir))
    narrator = flusher._Narrator(cast("Candidate", candidate), cast("EventQueue", queue))
    with caplog.at_level("INFO", logger="lotus_durable"):
        for delivered, leads in ((10, False), (30, True), (30, True), (60, True)):
            counts["delivered"], candidate.leads = delivered, leads
            narrator.look()
        narrator.end()
    assert caplog.messages == [
        "delivered 20 events; 70 pending",
        "delivered 30 events; 40 pending",
        "stopped; 50 events delivered, 40 pending",
    ]
