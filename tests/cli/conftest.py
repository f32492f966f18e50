"""The commands as people and service managers run them: real processes, a real directory, a real server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lotus_durable import Client
from lotus_durable.testing import FakeLotus

PROGRAM = [sys.executable, "-m", "lotus_durable"]
KEY = "test-key"
_PATIENCE = 30.0


@dataclass(frozen=True)
class Result:
    code: int
    output: str
    errors: str

    def json(self) -> Any:
        return json.loads(self.output)

    def one_error(self) -> str:
        """The line on standard error, after making sure that it is one."""
        [line] = self.errors.splitlines()
        return line


@dataclass
class CommandLine:
    """Runs commands, in an environment that has none of this machine's settings."""

    queue_dir: Path
    environment: dict[str, str]
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def run(self, *arguments: str, environment: Mapping[str, str] | None = None) -> Result:
        process = self.start(*arguments, environment=environment)
        output, errors = process.communicate(timeout=_PATIENCE * 3)
        return Result(process.returncode, output, errors)

    def start(self, *arguments: str, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*PROGRAM, *arguments],
            env={**self.environment, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def close(self) -> None:
        for process in self.started:
            process.kill()
            process.communicate()


@pytest.fixture
def queue_dir(tmp_path: Path) -> Path:
    return tmp_path / "queue"


@pytest.fixture
def command_line(queue_dir: Path, fake_lotus: FakeLotus) -> Iterator[CommandLine]:
    """Commands that find the queue and the server by their environment."""
    unwanted = ("LOTUS_", "NO_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
    environment = {name: value for name, value in os.environ.items() if not name.upper().startswith(unwanted)}
    environment |= {"LOTUS_QUEUE_DIR": str(queue_dir), "LOTUS_API_KEY": KEY, "LOTUS_HOST": fake_lotus.host}
    line = CommandLine(queue_dir, environment)
    yield line
    line.close()


@dataclass
class Flusher:
    """A flusher that runs, and the file it logs to."""

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


Start = Callable[..., Flusher]


@pytest.fixture
def start(command_line: CommandLine, tmp_path: Path) -> Iterator[Start]:
    """Start a flusher with arguments and more environment; it is killed after the test if it still runs."""
    flushers: list[Flusher] = []

    def start_one(*arguments: str, stdin: int = subprocess.DEVNULL, **more: str) -> Flusher:
        log = tmp_path / f"flusher-{len(flushers)}.log"
        with log.open("w") as stream:
            process = subprocess.Popen(
                [*PROGRAM, "flusher", *arguments],
                env={**command_line.environment, "LOTUS_FLUSH_INTERVAL": "0.05", **more},
                stdin=stdin,
                stderr=stream,
            )
        flushers.append(Flusher(process, log))
        return flushers[-1]

    yield start_one
    for each in flushers:
        each.process.kill()
        if each.process.stdin is not None:
            each.process.stdin.close()
        each.process.wait()


@pytest.fixture
def track(queue_dir: Path) -> Iterator[Callable[[int], list[str]]]:
    """Track events in this process, which never uploads; returns their ids."""
    client = Client(queue_dir=queue_dir, flusher="external")

    def track_events(number: int) -> list[str]:
        return [client.track_event(customer_id="c1", event_name="api_call") for _ in range(number)]

    yield track_events
    client.release()


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition that another process brings about."""
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited {_PATIENCE:g} s for {what}"
        threading.Event().wait(0.02)
