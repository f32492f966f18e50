"""Where the workers come from: a process that has imported everything and forks one for each order.

So as many can be started as are killed, and it is how a web server with ``preload_app`` does it. Orders come on
standard input, a :class:`~.worker.Shift` as JSON on each line. Standard output tells ``born PID`` for each order and
``ended PID CODE`` for each end. It ends with its standard input, or with its starter; its children end with it.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from lotus_durable.imports import import_for_delivery, import_for_tracking

from .worker import Shift, Worker
from .wrapping import end_with_starter, reseed

_START_TIMEOUT = 60.0  # seconds


class Child:
    """A worker, seen from the harness: what :class:`subprocess.Popen` is for the others."""

    def __init__(self, nursery: Nursery, pid: int) -> None:
        self._nursery = nursery
        self.pid = pid

    @property
    def returncode(self) -> int | None:
        return self._nursery.ended.get(self.pid)

    def poll(self) -> int | None:
        self._nursery.listen(0.0)
        return self.returncode

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def wait(self, timeout: float = _START_TIMEOUT) -> int:
        """Wait for the end; raises subprocess.TimeoutExpired."""
        ends = time.monotonic() + timeout
        while self.returncode is None:
            left = ends - time.monotonic()
            if left <= 0:
                raise subprocess.TimeoutExpired(f"worker {self.pid}", timeout)
            self._nursery.listen(left)
        return self.returncode


class Nursery:
    """The harness's side."""

    def __init__(self, environment: Mapping[str, str], cwd: Path, log: Path) -> None:
        self._buffer = b""
        self._born: list[int] = []
        self.ended: dict[int, int] = {}
        """Exit codes by pid."""
        self._environment = dict(environment)
        self._cwd = cwd
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def open(self) -> None:
        """Start it."""
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.nursery"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                cwd=self._cwd,
                env=self._environment,
                start_new_session=True,
                bufsize=0,
            )

    def close(self) -> None:
        """End it, and the workers with it."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def start(self, shift: Shift) -> Child:
        """Have a worker forked.

        Raises:
            RuntimeError: none comes.
        """
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(f"{shift.encode()}\n".encode())
        ends = time.monotonic() + _START_TIMEOUT
        while not self._born:
            self.listen(1.0)
            if time.monotonic() > ends or self._process.poll() is not None:
                raise RuntimeError("the nursery does not start workers")
        return Child(self, self._born.pop())

    def listen(self, timeout: float) -> None:
        """Hear what is told within ``timeout`` seconds."""
        assert self._process is not None
        assert self._process.stdout is not None
        while select.select([self._process.stdout], [], [], timeout)[0]:
            heard = os.read(self._process.stdout.fileno(), 65_536)
            if not heard:
                raise RuntimeError("the nursery is gone")
            *lines, self._buffer = (self._buffer + heard).split(b"\n")
            for line in lines:
                what, *numbers = line.split()
                if what == b"born":
                    self._born.append(int(numbers[0]))
                else:
                    self.ended[int(numbers[0])] = int(numbers[1])
            if lines:
                return


def main() -> None:
    """Serve orders; a child returns from here too, to end as any program does, with its exit hooks."""
    import_for_tracking()
    import_for_delivery()
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    buffer = b""
    while True:
        ready, _, _ = select.select([0, reading], [], [])
        if reading in ready:
            os.read(reading, 512)
            _tell_ends()
        if 0 in ready:
            heard = os.read(0, 65_536)
            if not heard:
                return
            *lines, buffer = (buffer + heard).split(b"\n")
            for line in lines:
                pid = os.fork()
                if pid == 0:
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    os.close(reading)
                    os.close(writing)
                    _be_worker(Shift.decode(line.decode()))
                    return
                _tell(f"born {pid}")


def _be_worker(shift: Shift) -> None:
    end_with_starter()
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    reseed(shift.seed)
    Worker(shift).serve()


def _tell_ends() -> None:
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            _tell(f"ended {ended[0]} {os.waitstatus_to_exitcode(ended[1])}")


def _tell(line: str) -> None:
    os.write(1, f"{line}\n".encode())


if __name__ == "__main__":
    main()
