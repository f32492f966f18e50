"""What systemd is told, through a real socket."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from lotus_durable.cli.flusher.service import Service
from lotus_durable.cli.flusher.service_manager import ServiceManager
from lotus_durable.config import Config
from lotus_durable.flusher.destination import AsConfigured
from lotus_durable.testing import FakeLotus

from .conftest import KEY, CommandLine, Start, Track


class Manager:
    """The service manager's end of the socket."""

    def __init__(self, address: str) -> None:
        self.variable = address.replace("\0", "@", 1)
        self.messages: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.settimeout(30)

    def wait_for(self, text: str) -> str:
        """Return the next message that has ``text`` in it."""
        while text not in (message := self._socket.recv(4096).decode()):
            self.messages.append(message)
        self.messages.append(message)
        return message

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["file", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    name = str(tmp_path / "notify")
    manager = Manager(f"\0{name}" if request.param == "abstract" else name)
    yield manager
    manager.close()


def test_systemd_is_told_of_the_start_the_work_a_reload_and_the_end(
    manager: Manager, start: Start, track: Track, fake_lotus: FakeLotus
) -> None:
    service = start(NOTIFY_SOCKET=manager.variable)
    manager.wait_for("READY=1")
    track(3)
    fake_lotus.wait_for(3)
    manager.wait_for("STATUS=idle; 0 pending")
    fake_lotus.rotate_key("another")
    track(2)
    assert "the server refuses the API key" in manager.wait_for("STATUS=blocked: ")
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    service.hang_up()
    first, second = manager.wait_for("RELOADING=1").splitlines()
    assert first == "RELOADING=1"
    assert int(second.removeprefix("MONOTONIC_USEC=")) >= before
    manager.wait_for("READY=1")
    service.process.terminate()
    manager.wait_for("STOPPING=1")
    assert service.process.wait(30) == 0
    assert not [message for message in manager.messages if "WATCHDOG" in message]


def test_the_watchdog_hears_of_a_flusher_that_makes_progress(manager: Manager, start: Start) -> None:
    service = start(NOTIFY_SOCKET=manager.variable, WATCHDOG_USEC="300000")
    for _ in range(3):
        manager.wait_for("WATCHDOG=1")
    service.end()


@pytest.mark.parametrize("is_stuck", [False, True])
def test_the_watchdog_hears_nothing_of_a_flusher_whose_step_takes_longer_than_it_can(
    tmp_path: Path, manager: Manager, monkeypatch: pytest.MonkeyPatch, is_stuck: bool
) -> None:
    told = ServiceManager({"NOTIFY_SOCKET": manager.variable, "WATCHDOG_USEC": "1000000"})
    config = Config.resolve({"queue_dir": tmp_path / "queue", "api_key": KEY}, environ={})
    service = Service(config, lambda: config, told, AsConfigured())
    control = SimpleNamespace(is_stuck=lambda: is_stuck, ending=lambda: None)
    monkeypatch.setattr(service, "_control", lambda: control)
    service.look()
    manager.wait_for("STATUS=")
    assert ("WATCHDOG=1" in manager.messages) == (not is_stuck)


def test_one_that_stands_by_is_ready_and_says_so(
    manager: Manager, start: Start, track: Track, fake_lotus: FakeLotus
) -> None:
    first = start()
    track(1)
    fake_lotus.wait_for(1)
    second = start(NOTIFY_SOCKET=manager.variable, WATCHDOG_USEC="300000")
    manager.wait_for("READY=1")
    manager.wait_for(f"STATUS=standing by: process {first.pid} on ")
    manager.wait_for("WATCHDOG=1")
    first.end()
    manager.wait_for("STATUS=idle")
    second.end()
    manager.wait_for("STOPPING=1")


@pytest.mark.parametrize(
    ("environ", "timeout"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
    ],
)
def test_a_watchdog_that_is_meant_for_another_process_is_not_ours(
    environ: dict[str, str], timeout: float | None
) -> None:
    assert ServiceManager({"NOTIFY_SOCKET": "/run/notify", **environ}).watchdog_timeout == timeout
    assert ServiceManager(environ).watchdog_timeout is None


@pytest.mark.parametrize("address", ["", "vsock:2:1234", "/nowhere/notify", "@nobody"])
def test_a_manager_that_cannot_be_told_is_no_trouble(address: str) -> None:
    manager = ServiceManager({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000000"})
    manager.tell("READY=1")
    manager.tell("RELOADING=1", "MONOTONIC_USEC=1")


def test_a_refused_start_is_not_called_ready(command_line: CommandLine, manager: Manager) -> None:
    result = command_line.run_process("flusher", environment={"NOTIFY_SOCKET": manager.variable, "LOTUS_API_KEY": ""})
    assert result.code == 2
    manager._socket.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.wait_for("READY")
