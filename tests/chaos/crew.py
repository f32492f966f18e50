"""All processes of a run: started, replaced when they end or are killed, struck, and stopped. Each by its pid."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from .nursery import Child, Nursery
from .plan import API_KEY, Plan, Signal
from .points import Arms
from .worker import Shift
from .wrapping import ARMS, SEED, STARTER

REPOSITORY = Path(__file__).parents[2]
RUN = "CHAOS_RUN"
"""The environment variable by which every process of a run can be found, whoever started it."""

_STOP_TIMEOUT = 15.0
"""Seconds in which a process must have ended after SIGTERM: a request may take its timeout."""

Role = Literal["worker", "flusher"]


@dataclass(slots=True)
class _Place:
    """One process's place, in which others follow when it ends."""

    role: Role
    slot: int
    process: subprocess.Popen[bytes] | Child
    incarnation: int = 0
    terminated_at: float | None = None


class Crew:
    """A context manager that leaves no process behind."""

    def __init__(
        self, plan: Plan, folder: Path, options: Mapping[str, Any], arms: Arms, environment: Mapping[str, str], run: str
    ) -> None:
        self._plan = plan
        self._folder = folder
        self._options = dict(options)
        self._arms = arms
        self._run = run
        self._environment = self._clean_environment(environment)
        self._places: list[_Place] = []
        self._expected: set[int] = set()
        self._stopped: dict[int, float] = {}
        self.log = folder / "processes.log"
        self._slow_mark = folder / "slow"
        self.started: Counter[Role] = Counter()
        self.problems: list[str] = []
        self.replaces = True
        """False while a takeover is timed: a new process stands for election at once, and would win it."""
        self._nursery = Nursery(self._environment, REPOSITORY, self.log)

    def __enter__(self) -> Self:
        return self

    def start(self) -> None:
        """Start all."""
        self._nursery.open()
        for slot in range(self._plan.workers):
            self._places.append(_Place("worker", slot, self._start("worker", slot, 0)))
        for slot in range(self._plan.flushers):
            self._places.append(_Place("flusher", slot, self._start("flusher", slot, 0)))

    def __exit__(self, *exception: object) -> None:
        for place in self._places:
            place.process.kill()
            if isinstance(place.process, subprocess.Popen):
                place.process.wait()
        self._nursery.close()
        for pid in processes_of(self._run):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    @property
    def environment(self) -> dict[str, str]:
        """Of the processes: nothing of this machine's settings."""
        return dict(self._environment)

    def look(self) -> None:
        """Continue what was stopped for long enough, and replace processes that have ended."""
        now = time.monotonic()
        for pid in [pid for pid, until in self._stopped.items() if until <= now]:
            self._continue(pid)
        for place in self._places:
            if place.process.poll() is not None:
                if not self.replaces:
                    continue
                self._judge_end(place)
                place.incarnation += 1
                place.terminated_at = None
                place.process = self._start(place.role, place.slot, place.incarnation)
            elif place.terminated_at is not None and now - place.terminated_at > _STOP_TIMEOUT:
                self.problems.append(f"a {place.role} did not end within {_STOP_TIMEOUT:g} s of SIGTERM")
                self._expected.add(place.process.pid)
                place.process.kill()
                place.process.wait()

    def living(self, role: Role) -> list[int]:
        """Return the pids of those that live and were not struck in a way that lasts, by their places."""
        return [
            place.process.pid
            for place in self._places
            if place.role == role
            and place.terminated_at is None
            and place.process.pid not in self._stopped
            and place.process.poll() is None
        ]

    def strike(self, pid: int, name: Signal, seconds: float) -> bool:
        """Send a signal to a process of this run; return whether it was there."""
        if pid in self._stopped and name == "SIGSTOP":
            return False
        self._expected.add(pid)
        try:
            os.kill(pid, getattr(signal, name))
        except ProcessLookupError:
            return False
        if name == "SIGSTOP":
            self._stopped[pid] = time.monotonic() + seconds
        elif name == "SIGTERM":
            for place in self._places:
                if place.process.pid == pid:
                    place.terminated_at = time.monotonic()
        return True

    def owns(self, pid: int) -> bool:
        """Whether the process is of this run, whoever started it."""
        return self._run in _environment_of(pid)

    def go_slowly(self, slowly: bool) -> None:
        """Have the workers track no more than a trickle, or all that they can."""
        if slowly:
            self._slow_mark.touch()
        else:
            self._slow_mark.unlink(missing_ok=True)

    def continue_all(self) -> None:
        """SIGCONT for whoever is stopped."""
        for pid in list(self._stopped):
            self._continue(pid)

    def stop(self) -> None:
        """Stop all as a deploy does: SIGTERM, the workers first; those that do not end are killed, and a problem."""
        self.continue_all()
        for role in ("worker", "flusher"):
            places = [place for place in self._places if place.role == role]
            for place in places:
                place.process.send_signal(signal.SIGTERM)
            ends = time.monotonic() + _STOP_TIMEOUT
            for place in places:
                try:
                    place.process.wait(max(0.1, ends - time.monotonic()))
                except subprocess.TimeoutExpired:
                    self.problems.append(f"a {role} did not end within {_STOP_TIMEOUT:g} s of SIGTERM")
                    place.process.kill()
                    place.process.wait()
        self._places.clear()
        self._nursery.close()

    def _continue(self, pid: int) -> None:
        del self._stopped[pid]
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)

    def _judge_end(self, place: _Place) -> None:
        pid, code = place.process.pid, place.process.returncode
        self._stopped.pop(pid, None)
        hit = any(pid == victim for _, victim in self._arms.hits())
        if (code == -signal.SIGKILL and (hit or pid in self._expected)) or (code == 0 and pid in self._expected):
            return
        if code == -signal.SIGTERM and pid in self._expected:
            return  # it came before the handler was there
        self.problems.append(f"{place.role} {pid} ended by itself with {code}: {last_line(self.log)}")

    def _start(self, role: Role, slot: int, incarnation: int) -> subprocess.Popen[bytes] | Child:
        self.started[role] += 1
        seed = f"{self._plan.seed}/{role}/{slot}/{incarnation}"
        if role == "worker":
            return self._nursery.start(self._shift(seed))
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "lotus_durable", "flusher", "--standby"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=REPOSITORY,
                env={**self._environment, SEED: seed},
                start_new_session=True,  # Ctrl-C in a terminal is for the harness, which then ends them
            )

    def _shift(self, seed: str) -> Shift:
        return Shift(
            options=self._options,
            ledger=os.fspath(self._folder / "ledger"),
            slow_when=os.fspath(self._slow_mark),
            rate=self._plan.rate / self._plan.workers,
            seed=seed,
        )

    def _clean_environment(self, extra: Mapping[str, str]) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("LOTUS_", "CHAOS_"))}
        settings = {
            f"LOTUS_{name.upper()}": ",".join(map(str, value)) if isinstance(value, list) else str(value)
            for name, value in self._options.items()
        }
        path = os.pathsep.join([os.fspath(REPOSITORY / "tests" / "chaos" / "startup"), os.fspath(REPOSITORY)])
        ours = {"PYTHONPATH": path, "NO_PROXY": "*", ARMS: os.fspath(self._folder / "arms"), STARTER: str(os.getpid())}
        return {**kept, **settings, "LOTUS_API_KEY": API_KEY, **ours, RUN: self._run, **extra}


def processes_of(run: str) -> list[int]:
    """Return the pids of all processes of a run that live."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and run in _environment_of(int(name))]


def _environment_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/environ").read_text(errors="replace")
    except OSError:
        return ""  # it is gone, or a zombie, or somebody else's


def last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return lines[-1] if lines else "no message"
