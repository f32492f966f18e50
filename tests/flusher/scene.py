"""A queue directory, a server, and the applications and flushers around them, each a real process."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.heartbeat import Beat, read_beat
from tests.waiting import LIMIT
from tests.waiting import wait_until as wait_until  # noqa: PLC0414  # also for who imports it from here

from .lotus import WatchedLotus
from .seen import ended, flushers_under

ROOT = Path(__file__).parent.parent.parent

_PRELUDE = "from tests.flusher.app import *\n"


class Scene:
    """One queue and one server.

    Args:
        root: a folder of this scene's own; made.
        arguments, options: of the server.
    """

    def __init__(self, root: Path, *arguments: Any, **options: Any) -> None:
        root.mkdir()
        self.root = root
        self.queue_dir = root / "queue"
        self.directory = QueueDirectory(self.queue_dir)
        self.server = WatchedLotus(*arguments, **options)
        self._processes: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        self.server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for process in self._processes:
            if process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)
            with process:
                pass
        for pid in flushers_under(self.root):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.server.stop()
        if Path(self.directory.log).exists():  # shown where the test fails
            sys.stderr.write(f"--- the flusher's log:\n{Path(self.directory.log).read_text(errors='replace')[-4000:]}")

    # Applications

    def environment(self, **more: str) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("LOTUS_")}
        return {
            **inherited,
            "PYTHONPATH": str(ROOT),
            "TEST_QUEUE_DIR": str(self.queue_dir),
            "TEST_HOST": self.server.host,
            "TEST_STARTS": str(self.root / "starts"),
            "LOTUS_UPLOAD_CONCURRENCY": "1",  # whether two flush is seen by their connections
            **more,
        }

    def command(self, code: str, *arguments: object, python: str = sys.executable) -> list[str]:
        """Return a command that runs ``code`` with all of :mod:`.app` at hand."""
        return [python, "-W", "error", "-c", _PRELUDE + textwrap.dedent(code), *map(str, arguments)]

    def file(self, code: str) -> Path:
        """Return a script with this code, for what cannot be done from a command line (multiprocessing)."""
        path = self.root / f"script{len(list(self.root.glob('script*')))}.py"
        path.write_text(_PRELUDE + textwrap.dedent(code))
        return path

    def run(self, code: str, *arguments: object, timeout: float = 60.0, **more: str) -> list[str]:
        """Run an application to its good end, and return what it said."""
        return self.finish(self.command(code, *arguments), timeout=timeout, **more)

    def finish(self, command: list[str], *, timeout: float = 60.0, **more: str) -> list[str]:
        """Run a command to its good end, which is when nobody can write to its output any more."""
        result = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, check=False, env=self.environment(**more), cwd="/"
        )
        assert result.returncode == 0, result.stderr + result.stdout
        assert "Traceback" not in result.stderr, result.stderr
        return result.stdout.splitlines()

    def start(
        self,
        code: str,
        *arguments: object,
        python: str = sys.executable,
        prefix: Sequence[str] = (),
        more: Mapping[str, str] | None = None,
        **options: Any,
    ) -> subprocess.Popen[str]:
        """Start an application whose standard input and output are pipes.

        Args:
            code: what it runs.
            arguments: of it.
            python: that runs it.
            prefix: a command that runs the command.
            more: of its environment.
            options: of Popen.
        """
        process = subprocess.Popen(
            [*prefix, *self.command(code, *arguments, python=python)],
            **{"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "cwd": "/", **options},
            text=True,
            env=self.environment(**(more or {})),
        )
        self._processes.append(process)
        return process

    def starts(self) -> int:
        """Return how many flushers the applications have started."""
        with contextlib.suppress(FileNotFoundError):
            return len((self.root / "starts").read_text().splitlines())
        return 0

    # Flushers

    def beat(self) -> Beat | None:
        return read_beat(self.directory)

    def flushers(self) -> set[int]:
        """Return the flushers of this queue that live."""
        return flushers_under(self.queue_dir)

    def flusher(self, other_than: int = 0) -> int:
        """Wait until somebody flushes, and return who."""

        def found() -> int:
            beat = self.beat()
            lives = beat is not None and beat.pid in self.flushers() and not beat.is_over()
            return beat.pid if beat is not None and lives and beat.pid != other_than else 0

        return wait_until(found, "a flusher")

    def kill_flusher(self) -> int:
        """Kill the one that flushes, and return who it was."""
        pid = self.flusher()
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: ended(pid), f"process {pid} to end")
        return pid

    # The server

    def arrived(self, *ids: str, timeout: float = LIMIT) -> None:
        """Wait until the server has these events."""
        wanted = set(ids)
        self.server.wait_until(
            lambda: wanted <= self.server.times_received.keys(), timeout, what=f"{len(wanted)} events, {ids[:3]} ..."
        )

    def settled(self, *ids: str) -> None:
        """Wait until the server has these events, and the flusher knows."""
        self.arrived(*ids)
        wait_until(lambda: (beat := self.beat()) is not None and beat.state == "idle", "it to be idle")

    def not_yet(self, *ids: str) -> bool:
        """Whether the server has none of these events."""
        return not set(ids) & self.server.times_received.keys()


def say(process: subprocess.Popen[str], line: str = "") -> None:
    """Give an application a line."""
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()


def hear(process: subprocess.Popen[str]) -> str:
    """Return the next line of an application."""
    assert process.stdout is not None
    return process.stdout.readline().strip()
