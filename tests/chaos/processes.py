"""The processes of a run: the nursery and its children, and the flushers, which are nobody's. Each is struck by pid."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.heartbeat import read_beat

from .clock import Clock
from .plan import REPOSITORY, Plan
from .points import ARMS, Arms
from .writers import SHORT, WORKER, Folder, Shift, encode

_BOOT = b"/boot.py"  # ours, or the one of this harness in front of it
_STOP_TIMEOUT = 20.0


class Processes:
    """A context manager that leaves no process behind."""

    def __init__(self, plan: Plan, folder: Folder, host: str, queue_dir: Path, arms: Arms, clock: Clock) -> None:
        self._plan = plan
        self._folder = folder
        self._host = host
        self._queue_dir = queue_dir
        self._arms = arms
        self._clock = clock
        self._releases = [REPOSITORY, _next_release(folder.root / "next-release")]
        self._deployments = 0
        self._directory = QueueDirectory(queue_dir)
        self._nursery: subprocess.Popen[bytes] | None = None
        self._resume_at: dict[int, float] = {}
        self.log = folder.root / "processes.log"

    def __enter__(self) -> Self:
        self._begin()
        return self

    def deploy(self) -> list[str]:
        """Stop what tracks, and begin anew with the next release, or again with the one before; return problems."""
        problems = self.stop()
        self._deployments += 1
        self._begin()
        return problems

    def _begin(self) -> None:
        release = self._releases[self._deployments % 2]
        shift = Shift(
            host=self._host,
            queue_dir=os.fspath(self._queue_dir),
            folder=os.fspath(self._folder.root),
            workers=self._plan.workers,
            rate=self._plan.rate,
            seed=f"{self._plan.seed}/{self._deployments}",
            ways=self._plan.ways,
        )
        with self.log.open("ab") as log:
            self._nursery = subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.writers", encode(shift)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=release,
                env=self._environment(release),
                start_new_session=True,  # Ctrl-C in a terminal is for the harness, which then ends it
            )

    def __exit__(self, *exception: object) -> None:
        if self._nursery is not None:
            with self._nursery:
                self._nursery.kill()
        for pid in self.flushers():
            strike(pid, signal.SIGKILL)

    def _environment(self, release: Path) -> dict[str, str]:
        """Of the processes: nothing of this machine's settings."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("LOTUS_", "CHAOS_"))}
        ours = {"PYTHONPATH": os.fspath(release), "NO_PROXY": "*", ARMS: os.fspath(self._arms.folder)}
        return {**kept, **ours, **self._clock.environment()}

    def has_failed(self) -> bool:
        """Whether there is no nursery any more."""
        return self._nursery is not None and self._nursery.poll() is not None

    def workers(self) -> list[int]:
        """Return those that live and are not stopped."""
        return [pid for pid in self._children(WORKER) if pid not in self._resume_at]

    def shorts(self) -> list[int]:
        """Return the short-lived processes that live."""
        return self._children(SHORT)

    def flushers(self) -> set[int]:
        """See :func:`flushers_of`."""
        return flushers_of(self._queue_dir)

    def flusher(self) -> int:
        """See :func:`flusher_of`."""
        return flusher_of(self._directory)

    def stop_for(self, pid: int, seconds: float) -> bool:
        """SIGSTOP now and SIGCONT later; return whether it was there."""
        if not strike(pid, signal.SIGSTOP):
            return False
        self._resume_at[pid] = time.monotonic() + seconds
        return True

    def look(self, *, resume_all: bool = False) -> None:
        """Continue what was stopped for long enough."""
        now = time.monotonic()
        for pid in [pid for pid, at in self._resume_at.items() if at <= now or resume_all]:
            del self._resume_at[pid]
            strike(pid, signal.SIGCONT)

    def stop(self) -> list[str]:
        """Stop the writers as a deploy does; return problems. Flushers end by themselves."""
        self.look(resume_all=True)
        assert self._nursery is not None
        assert self._nursery.stdin is not None
        self._nursery.stdin.close()
        try:
            code = self._nursery.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            return [f"the nursery did not end within {_STOP_TIMEOUT:g} s"]
        return [] if code == 0 else [f"the nursery ended with {code}; see {self.log}"]

    def leftovers(self, patience: float) -> list[str]:
        """Return a problem for each flusher that does not end although nothing is left to do."""
        ends = time.monotonic() + patience
        while (left := self.flushers()) and time.monotonic() < ends:
            time.sleep(0.05)
        return [f"flusher {pid} does not end" for pid in left]

    def _children(self, name: str) -> list[int]:
        assert self._nursery is not None
        pid = self._nursery.pid
        found = [int(each) for each in _read(f"/proc/{pid}/task/{pid}/children").split()]
        return [each for each in found if _read(f"/proc/{each}/comm").strip() == name.encode() and is_alive(each)]


def flushers_of(queue_dir: str | Path) -> set[int]:
    """Return all that were started by an event for this queue and live, also those that do not flush yet."""
    return {int(name) for name in os.listdir("/proc") if name.isdigit() and _is_started_for(queue_dir, int(name))}


def flusher_of(directory: QueueDirectory) -> int:
    """Return the one that flushes, 0 where there is none: one that leaves has let go of the lock, and does not.

    A number alone says nothing: a long run uses each of them for one process after another.
    """
    beat = read_beat(directory)
    if beat is None or not _is_started_for(directory.root, beat.pid):
        return 0
    return beat.pid if has_open(beat.pid, directory.flusher_lock) else 0


def _is_started_for(queue_dir: str | Path, pid: int) -> bool:
    parts = _read(f"/proc/{pid}/cmdline").rstrip(b"\0").split(b"\0")
    return any(part.endswith(_BOOT) for part in parts) and parts[-1] == os.fsencode(queue_dir) and is_alive(pid)


def has_open(pid: int, path: str | Path) -> bool:
    """Whether a process has a file open that is still where it was."""
    with contextlib.suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{pid}/fd/{name}") == os.fspath(path):
                    return True
    return False


def _next_release(folder: Path) -> Path:
    """Make a copy of the package that says it is a later version, beside the same tests."""
    shutil.copytree(
        REPOSITORY / "lotus_durable", folder / "lotus_durable", ignore=shutil.ignore_patterns("__pycache__")
    )
    version = folder / "lotus_durable" / "_version.py"
    version.write_text(re.sub(r'"(\d+)\.(\d+)\.(\d+)', r'"\1.\2.9\3', version.read_text()))
    (folder / "tests").symlink_to(REPOSITORY / "tests")
    return folder


def strike(pid: int, number: signal.Signals) -> bool:
    """Send a signal to a process of this run; return whether it was there."""
    if not is_alive(pid):
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
        return True
    return False


def state_of(pid: int) -> str:
    """Return ``R``, ``S``, ``T`` (stopped), ``Z`` (ended); empty when there is no such process."""
    return _read(f"/proc/{pid}/stat").rpartition(b") ")[2][:1].decode()


def is_alive(pid: int) -> bool:
    return state_of(pid) not in ("", "Z", "X")


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""
