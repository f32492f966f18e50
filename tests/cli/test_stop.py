"""``lotus-durable stop``."""

from __future__ import annotations

from lotus_durable import Client
from lotus_durable.testing import Delay, FakeLotus

from .conftest import CommandLine, Start, Track, flusher_pid


def test_the_flusher_of_a_program_ends_and_its_process_is_gone(
    command_line: CommandLine, program: Client, fake_lotus: FakeLotus
) -> None:
    program.track_event(customer_id="c1", event_name="api_call")
    fake_lotus.wait_for(1)
    pid = flusher_pid(command_line.directory)
    assert pid is not None
    result = command_line.run("stop")
    assert (result.code, result.output, result.errors) == (0, f"the flusher, process {pid}, has ended\n", "")
    assert not _runs(pid)


def test_one_that_is_just_starting_ends_too(command_line: CommandLine, program: Client) -> None:
    program.track_event(customer_id="c1", event_name="api_call")
    result = command_line.run("stop", "--json")
    assert result.code == 0
    assert result.json()["stopped"] is True
    assert flusher_pid(command_line.directory) is None
    assert not _runs(result.json()["pid"])


def test_a_service_ends_in_order(command_line: CommandLine, start: Start, track: Track, fake_lotus: FakeLotus) -> None:
    track(3)
    service = start()
    fake_lotus.wait_for(3)
    result = command_line.run("stop", "--json")
    assert (result.code, result.json()) == (0, {"stopped": True, "pid": service.pid})
    assert service.process.wait(30) == 0
    assert "stopped (it was asked to stop); 0 pending" in service.log.read_text()


def test_where_nobody_flushes_there_is_nothing_to_do(command_line: CommandLine, track: Track) -> None:
    track(1)
    assert command_line.run("stop").output == "nobody flushed\n"
    result = command_line.run("stop", "--json")
    assert (result.code, result.json()) == (0, {"stopped": True, "pid": None})


def test_the_request_in_flight_is_waited_for_and_not_for_ever(
    command_line: CommandLine, start: Start, track: Track, fake_lotus: FakeLotus
) -> None:
    track(3)
    fake_lotus.fail_next(None, Delay(3.0))  # the first request asks which server it is
    service = start()
    fake_lotus.wait_for(3)
    result = command_line.run("stop", "--timeout", "0.2")
    assert result.code == 1
    assert result.one_error() == f"lotus-durable stop: process {service.pid} still flushes after 0.2 s"
    assert command_line.run("stop").code == 0
    assert command_line.run("status", "--json").json()["delivered"] == 3


def _runs(pid: int) -> bool:
    """Whether the process is there; one that has ended and that nobody has waited for yet is not."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] != b"Z"
    except FileNotFoundError:
        return False
