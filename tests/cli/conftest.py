"""The commands as people and service managers run them: a real directory, a real server.

Most of what a process of its own would take is its start. So what only reads and answers is run in the tests' process,
and what is signalled, read from a pipe, or goes on, in one of its own.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from lotus_durable import Client
from lotus_durable.cli import main
from lotus_durable.cli.stop import stop_flusher
from lotus_durable.clock import boot_id, since_boot
from lotus_durable.flusher import locks
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.heartbeat import Beat, HeartbeatFile, Program, read_beat
from lotus_durable.queue.stats import FlusherKind, FlusherState
from lotus_durable.testing import FakeLotus
from tests.waiting import wait_until as wait_until  # noqa: PLC0414  # also for who imports it from here

from .terminal import Terminal

PROGRAM = [sys.executable, "-m", "lotus_durable"]
KEY = "test-key"
_PATIENCE = 30.0

Track = Callable[[int], list[str]]


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

    @property
    def directory(self) -> QueueDirectory:
        return QueueDirectory(self.queue_dir)

    def run(self, *arguments: str, environment: Mapping[str, str] | None = None) -> Result:
        """Run a command here, as its process would, and return what it came to. It leaves this process as it was."""
        output, errors, before = _stream(), _stream(), _process()
        with (
            patch.dict(os.environ, {**self.environment, **(environment or {})}, clear=True),
            open(os.devnull) as nothing,
            patch.object(sys, "stdin", nothing),
            contextlib.redirect_stdout(output),
            contextlib.redirect_stderr(errors),
        ):
            try:
                code = main(arguments)
            except SystemExit as end:  # of argparse
                code = end.code if isinstance(end.code, int) else 0
        assert _process() == before, "it needs a process of its own"
        return Result(code, _written(output), _written(errors))

    def run_process(self, *arguments: str, environment: Mapping[str, str] | None = None) -> Result:
        """Run a command in a process of its own, and return what it came to."""
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


def _process() -> list[object]:
    logger = logging.getLogger("lotus_durable")
    return [logger.level, logger.propagate, *logger.handlers, *map(signal.getsignal, (signal.SIGINT, signal.SIGTERM))]


def _stream() -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding="utf-8")


def _written(stream: io.TextIOWrapper) -> str:
    stream.seek(0)
    return stream.read()


@pytest.fixture
def queue_dir(tmp_path: Path) -> Iterator[Path]:
    """Where the queue is; no flusher that a program started outlives the test."""
    path = tmp_path / "queue"
    yield path
    directory = QueueDirectory(path)
    if Path(directory.journal).is_dir():
        assert stop_flusher(directory, _PATIENCE).stopped


@pytest.fixture
def command_line(queue_dir: Path, fake_lotus: FakeLotus) -> Iterator[CommandLine]:
    """Commands that find the queue and the server by their environment."""
    unwanted = ("LOTUS_", "NO_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NOTIFY_SOCKET", "WATCHDOG_")
    environment = {name: value for name, value in os.environ.items() if not name.upper().startswith(unwanted)}
    environment |= {"LOTUS_QUEUE_DIR": str(queue_dir), "LOTUS_API_KEY": KEY, "LOTUS_HOST": fake_lotus.host}
    line = CommandLine(queue_dir, environment)
    yield line
    line.close()


@dataclass
class Service:
    """A flusher in the foreground that runs, and the file it logs to."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def wait_to_log(self, text: str) -> None:
        wait_until(lambda: text in self.log.read_text(), f"the flusher to log {text!r}, not {self.log.read_text()!r}")

    def wait_to_flush(self) -> None:
        self.wait_to_log(f"process {self.pid} flushes the queue in ")

    def hang_up(self) -> None:
        self.process.send_signal(signal.SIGHUP)

    def end(self, number: int = signal.SIGTERM) -> str:
        """End it in order and return what it logged."""
        self.process.send_signal(number)
        assert self.process.wait(_PATIENCE) == 0
        return self.log.read_text()


Start = Callable[..., Service]


@pytest.fixture
def start(command_line: CommandLine, tmp_path: Path) -> Iterator[Start]:
    """Start a service with arguments and more environment; it is killed after the test if it still runs."""
    services: list[Service] = []

    def start_one(*arguments: str, **more: str) -> Service:
        log = tmp_path / f"flusher-{len(services)}.log"
        with log.open("w") as stream:
            process = subprocess.Popen(
                [*PROGRAM, "flusher", *arguments],
                env={**command_line.environment, "LOTUS_FLUSH_INTERVAL": "0.05", **more},
                stdin=subprocess.DEVNULL,
                stderr=stream,
            )
        services.append(Service(process, log))
        return services[-1]

    yield start_one
    for each in services:
        each.process.kill()
        each.process.wait()


@pytest.fixture
def track(queue_dir: Path) -> Iterator[Track]:
    """Track events in this process, which starts no flusher; returns their ids."""
    client = Client(queue_dir=queue_dir, flusher="external")

    def track_events(number: int) -> list[str]:
        return [client.track_event(customer_id="c1", event_name="api_call") for _ in range(number)]

    yield track_events
    client.release()


@pytest.fixture
def program(command_line: CommandLine, fake_lotus: FakeLotus) -> Iterator[Client]:
    """A program that tracks and starts its own flusher."""
    client = Client(api_key=KEY, host=fake_lotus.host, queue_dir=command_line.queue_dir, flush_interval=0.05)
    yield client
    client.release()


@pytest.fixture
def flushing(queue_dir: Path) -> Iterator[Callable[..., None]]:
    """Return a function that makes it look as if a process flushed that showed its last sign of life so long ago.

    It stays so long ago, however long a command takes to start.
    """
    directory = QueueDirectory(queue_dir)
    directory.prepare()  # the heartbeat is that of one directory
    file = HeartbeatFile(directory)
    shown: list[tuple[Beat, float]] = []
    is_over = threading.Event()

    def beats() -> None:
        while not is_over.wait(0.5):
            beat, ago = shown[-1]
            with contextlib.suppress(OSError):  # the test has removed the queue
                file.write(beat._replace(at=since_boot() - ago), None)

    with contextlib.ExitStack() as stack:
        stack.callback(file.close)

        def show(
            state: FlusherState = "idle",
            *,
            ago: float = 0.0,
            lasts: float = 0.0,
            reason: str | None = None,
            kind: FlusherKind = "auto",
        ) -> None:
            lock = os.open(directory.flusher_lock, os.O_RDWR | os.O_CREAT, 0o600)
            stack.callback(os.close, lock)
            locks.try_hold(lock)
            beat = Beat(
                pid=4711,
                pid_namespace=0,
                start_time=0,
                uid=os.geteuid(),
                hostname="web1",
                boot=boot_id(),
                kind=kind,
                program=Program("0.1.0", "/app", b"", b"", b"", 0.0),
                beats=1,
                at=since_boot() - ago,
                state=state,
                reason=reason,
                since=since_boot() - max(ago, lasts),
            )
            file.write(beat, None)
            shown.append((beat, ago))
            if len(shown) == 1:
                thread = threading.Thread(target=beats)
                thread.start()
                stack.callback(thread.join)
                stack.callback(is_over.set)

        yield show


@pytest.fixture
def terminal(command_line: CommandLine, tmp_path: Path) -> Iterator[Terminal]:
    """A terminal with a shell, in the environment that the commands have."""
    shown = Terminal(tmp_path, {**command_line.environment, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))})
    yield shown
    shown.close()


Refuse = Callable[..., list[str]]


@pytest.fixture
def refuse(queue_dir: Path, fake_lotus: FakeLotus) -> Iterator[Refuse]:
    """Return a function that tracks events and has them refused for good; it returns their ids."""
    client = Client(queue_dir=queue_dir, flusher="external", api_key=KEY, host=fake_lotus.host)

    def refused(number: int, **fields: Any) -> list[str]:
        event = {"customer_id": "c1", "event_name": "api_call", "time_created": "2020-01-01T00:00:00Z", **fields}
        ids = [client.track_event(**event) for _ in range(number)]
        client.drain(_PATIENCE)
        return ids

    yield refused
    client.release()


def flusher_pid(directory: QueueDirectory) -> int | None:
    """The process that flushes, None when nobody does."""
    beat = read_beat(directory)
    return beat.pid if beat is not None and locks.is_held(directory.flusher_lock) else None
