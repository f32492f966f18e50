"""A flusher that a server's master keeps: started as its child, started again when it dies, ended with it.

Written for masters that fork, and that fetch every child with ``waitpid(-1)``, as gunicorn's does:

- That somebody else may fetch the flusher's exit status is no trouble: all that is lost is what it was.
- The flusher reads from a pipe, whose other end the master has, and inherits to what it forks. When all of those are
  gone, however they ended, the flusher ends after its request in flight: it does not outlive those it works for, and
  learns of their end from no pid.
- A fork in another thread waits while the flusher is being started. Else what is forked would have a copy of the pipe
  by which ``Popen`` learns that the new program runs, and that would wait for as long as a worker lives (seen: a reload
  that no flusher heard of).
- The flusher has a process group of its own: a Ctrl-C at the terminal is for the master, which ends it in order.
- A second master (an upgrade without interruption) has a flusher that stands by until the first one's ends.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lotus_durable.config import ENVIRONMENT_PREFIX, Config
from lotus_durable.errors import ConfigurationError

PROGRAM = (sys.executable, "-m", "lotus_durable")

_LOOK_INTERVAL = 0.5  # seconds
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
"""Seconds before a flusher that died is started again; doubled each time, unless it ran for longer than the longest."""
_STOP_TIMEOUT = 35.0  # seconds: a request in flight may take as long as its timeout
_STARTING_TIME = 10.0  # seconds that a command may take beside what it is told to
_OF_THE_MASTER = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")
"""What systemd tells the master and nobody else: the flusher must not speak for it."""


@dataclass(frozen=True, slots=True)
class RunAs:
    """Whose process the flusher is: the queue belongs to the user who writes it."""

    user: int
    group: int


class FlusherKeeper:
    """Keeps one flusher running; belongs to the process that made it, and does nothing in those it forks.

    Args:
        log: where it says what it does.
        run_as: None: as this process.
        program: the command line of the library's commands.
    """

    def __init__(self, log: logging.Logger, run_as: RunAs | None = None, program: Sequence[str] = PROGRAM) -> None:
        self._log = log
        self._run_as = run_as
        self._program = program
        self._pid = os.getpid()
        self._reading, self._writing = os.pipe()  # not inheritable: whoever is forked has it, whoever is executed not
        self._stopping = threading.Event()
        self._child: subprocess.Popen[bytes] | None = None
        self._told: dict[str, str] = {}
        self._starting = threading.Lock()
        self._thread = threading.Thread(target=self._keep, name="lotus_durable keeper", daemon=True)

    def start(self) -> None:
        """Start it, and keep it running."""
        os.register_at_fork(
            before=self._starting.acquire,
            after_in_parent=self._starting.release,
            after_in_child=self._starting.release,
        )
        self._thread.start()

    def reload(self) -> None:
        """Have it read its configuration again: from its files, or anew where the environment is another now."""
        if self._is_ours() and self._child is not None:
            self._child.send_signal(signal.SIGHUP if _settings() == self._told else signal.SIGTERM)

    def drain(self) -> None:
        """Have what is pending delivered, for ``exit_timeout`` at the most; the rest stays on disk, and is logged."""
        if not self._is_ours():
            return
        try:
            timeout = Config.resolve().exit_timeout
            command = [*self._program, "drain", "--timeout", f"{timeout:g}"]
            result = self._run(command, timeout + _STARTING_TIME)
        except (ConfigurationError, OSError, subprocess.SubprocessError) as error:
            self._log.warning("lotus_durable: the queue was not drained: %s", error)
        else:
            if result:
                self._log.warning(
                    "lotus_durable: the queue was not drained (exit code %d); events stay on disk", result
                )

    def stop(self) -> None:
        """End it after its request in flight."""
        if not self._is_ours() or self._stopping.is_set():
            return
        self._stopping.set()
        self._thread.join()
        if self._child is not None and self._child.poll() is None:
            self._child.terminate()
            try:
                self._child.wait(_STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                self._log.warning("lotus_durable: the flusher does not end, and is killed; its events stay on disk")
                self._child.kill()
                self._child.wait()
        os.close(self._reading)
        os.close(self._writing)

    def _is_ours(self) -> bool:
        return os.getpid() == self._pid

    def _keep(self) -> None:
        pause = _FIRST_PAUSE
        while not self._stopping.is_set():
            started = time.monotonic()
            how = self._run_one()
            if self._stopping.is_set():
                return
            if time.monotonic() - started > _LONGEST_PAUSE or self._told != _settings():
                pause = _FIRST_PAUSE
            self._log.error("lotus_durable: the flusher ended (%s); it is started again in %g s", how, pause)
            self._stopping.wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _run_one(self) -> str:
        """Start a flusher and wait until it ends; say how it did."""
        self._told = _settings()
        try:
            self._child = self._start([*self._program, "flusher", "--standby", "--until-eof"], self._reading)
        except (OSError, subprocess.SubprocessError) as error:
            return f"it cannot be started: {error}"
        self._log.info("lotus_durable: the flusher runs as process %d", self._child.pid)
        while (code := self._child.poll()) is None and not self._stopping.wait(_LOOK_INTERVAL):
            pass
        # 0 also where the master has fetched the exit status before us.
        return f"exit code {code}; its own log says why" if code else "see its own log"

    def _run(self, command: Sequence[str], timeout: float) -> int:
        process = self._start(command, subprocess.DEVNULL)
        try:
            return process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise

    def _start(self, command: Sequence[str], stdin: int) -> subprocess.Popen[bytes]:
        environment = {name: value for name, value in os.environ.items() if name not in _OF_THE_MASTER}
        identity: dict[str, Any] = {}
        if self._run_as is not None:
            group = self._run_as.group
            identity = {"user": self._run_as.user, "group": group, "extra_groups": [group]}
        with self._starting:
            return subprocess.Popen(command, stdin=stdin, env=environment, process_group=0, **identity)  # noqa: S603  # our own


def _settings() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith(ENVIRONMENT_PREFIX)}
