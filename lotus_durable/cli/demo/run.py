"""What happens in the demo: workers track, processes are killed, the server goes away; then a drain and the result."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from lotus_durable.cli.output import ExitCode, aligned, report
from lotus_durable.cli.progress import Progress
from lotus_durable.cli.stop import still_runs, stop_flusher
from lotus_durable.cli.wording import count
from lotus_durable.errors import QueueDirectoryError
from lotus_durable.flusher import locks
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.heartbeat import Beat, read_beat
from lotus_durable.testing.faults import Delay, Faults
from lotus_durable.testing.process import FakeLotusProcess

from .worker import event_id

_WORKERS = 4
_KEY = "demo-key"
_EVENTS_PER_SECOND = 2000
_SECONDS_PER_KILL = 1.2
_SHORTEST = 3.0
_SLOW_ANSWERS = Faults(rates={Delay(0.15): 0.5})
"""So that some kills come in the middle of a request: the server has its events, and nobody heard the answer."""
_AWAY = 1.5  # seconds, when half of the events are tracked
_LONGEST = 60.0  # seconds of tracking, whatever happens
_FLUSHER_COMES = 10.0  # seconds after a kill
_DRAIN = 60.0  # seconds: what a killed flusher may have had in flight is waited out for half as long
_STOP = 10.0  # seconds
_TICK = 0.005  # seconds
_SHOWN_IDS = 100
_ID_LINE = len(event_id(0, 0)) + 1
_CLEANER = 'cat >/dev/null; for again in 1 2 3 4 5; do rm -rf -- "$1"; sleep 0.3; done'
"""Removes the folder when its input ends because the demo was killed; without the folder its flusher ends too. Again,
because a worker that was just tracking has made the folder anew."""


def run(arguments: argparse.Namespace) -> ExitCode:
    """Run the demo and say how it went."""
    started = time.monotonic()
    with _folder(arguments.queue_dir) as folder:
        with Progress("tracked") as progress, FakeLotusProcess(api_key=_KEY) as server:
            demo = Demo(folder, server, arguments.events, arguments.kills, progress)
            try:
                demo.track_and_kill()
                demo.drain_and_compare()
            finally:
                demo.end()
        result = demo.result
        result.seconds = time.monotonic() - started
        result.directory = None if arguments.queue_dir is None else str(folder)
        report(arguments, result.as_json(), *result.as_lines())
    return ExitCode.DONE if result.ok else ExitCode.NOT_COMPLETE


@dataclass(slots=True)
class Result:
    """What became of the events; the help of the command says what each is."""

    tracked: int = 0
    at_server: int = 0
    lost_ids: list[str] = field(default_factory=list)
    never_tracked_ids: list[str] = field(default_factory=list)
    duplicate_ids: list[str] = field(default_factory=list)
    kills: dict[str, int] = field(default_factory=lambda: {"workers": 0, "flushers": 0})
    new_flusher_after: list[float] = field(default_factory=list)
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)
    directory: str | None = None

    def compare(self, tracked: Sequence[str], stored: set[str], received: Mapping[str, int]) -> None:
        """Enter the ids in the workers' records, those in the server's database, and how often it got which id."""
        known = set(tracked)
        self.tracked, self.at_server = len(known), len(stored)
        self.lost_ids = sorted(known - stored)
        self.never_tracked_ids = sorted(stored - known)
        self.duplicate_ids = sorted(each for each, times in received.items() if times > 1)

    @property
    def ok(self) -> bool:
        """Whether everything is as promised."""
        return not (self.lost_ids or self.never_tracked_ids or self.problems)

    def as_json(self) -> dict[str, object]:
        """Return what ``--json`` prints."""
        found = {"ok": self.ok, **asdict(self)}
        for name in ("lost_ids", "never_tracked_ids", "duplicate_ids"):
            found[name] = getattr(self, name)[:_SHOWN_IDS]
            found[{"duplicate_ids": "duplicates"}.get(name, name.removesuffix("_ids"))] = len(getattr(self, name))
        return found

    def as_lines(self) -> list[str]:
        """Return a table, and below it whether all is as promised."""
        again = f"sent again, counted once: {self.duplicate_ids[0]} …" if self.duplicate_ids else ""
        killed = f"by SIGKILL: {count(self.kills['flushers'], 'flusher')}, {count(self.kills['workers'], 'worker')}"
        rows = [
            ("tracked", count(self.tracked), "by the workers' own records"),
            ("at the server", count(self.at_server), "in its database"),
            ("lost", count(len(self.lost_ids)), "tracked, and not at the server"),
            ("never tracked", count(len(self.never_tracked_ids)), "at the server, and tracked by nobody"),
            ("duplicates", count(len(self.duplicate_ids)), again),
            ("killed", count(sum(self.kills.values())), killed),
        ]
        if self.new_flusher_after:
            rows.append(("new flusher", f"{max(self.new_flusher_after):.2f} s", "after a kill, at the most"))
        wrong = [*self.problems, *(f"lost: {each}" for each in self.lost_ids[:_SHOWN_IDS])]
        wrong += [f"never tracked: {each}" for each in self.never_tracked_ids[:_SHOWN_IDS]]
        lines = [*aligned(rows), ""]
        lines += [f"NOT as promised: {each}" for each in wrong] or [f"Nothing was lost ({self.seconds:.0f} s)."]
        if self.directory is not None:
            lines.append(f"The queue and the workers' records are in {self.directory}")
        return lines


class Demo:
    """One run. Killed are a flusher and a worker by turns."""

    def __init__(self, folder: Path, server: FakeLotusProcess, events: int, kills: int, progress: Progress) -> None:
        self.result: Result = Result()
        self._folder = folder
        self._directory = QueueDirectory(folder / "queue")
        self._server = server
        self._environment = _environment(self._directory, server)
        self._events, self._kills, self._progress = events, kills, progress
        self._rate = events / _WORKERS / max(_SHORTEST, events / _EVENTS_PER_SECOND, kills * _SECONDS_PER_KILL)
        self._records = [folder / f"accepted-by-worker-{number}" for number in range(_WORKERS)]
        self._workers: list[subprocess.Popen[bytes]] = []
        self._killed: tuple[int, float] | None = None
        """The flusher that was killed, and when, until there is another one."""
        self._started = time.monotonic()

    def track_and_kill(self) -> None:
        """Have all events tracked, while processes are killed and the server is away for a while."""
        self._server.set_faults(_SLOW_ANSWERS)
        for number, record in enumerate(self._records):
            record.touch()
            self._workers.append(self._started_worker(number))
        was_away = False
        while (accepted := sum(map(_accepted, self._records))) < self._events and not self.result.problems:
            self._progress.show(accepted, self._events)
            if not was_away and accepted >= self._events / 2:
                was_away = True
                self._server.go_away(_AWAY)
                self._tell(f"the server is gone for {_AWAY:g} s")
            kills = sum(self.result.kills.values())
            if self._killed is not None:
                self._look_for_new_flusher(*self._killed)
            elif kills < self._kills and accepted >= self._events * (kills + 1) / (self._kills + 1):
                self._kill_worker() if kills % 2 else self._kill_flusher()
            self._look_for_trouble()
            time.sleep(_TICK)
        for worker in self._workers:
            if not self.result.problems:
                worker.wait(_DRAIN)  # it ends as any program does

    def drain_and_compare(self) -> None:
        """Drain as a deploy hook would, and compare."""
        self._tell("all is tracked and the workers have ended; then: lotus-durable drain")
        self._server.set_faults(None)
        drain = subprocess.run(  # noqa: S603  # our own command
            [sys.executable, "-m", "lotus_durable", "drain", "--quiet", "--timeout", str(_DRAIN)],
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        if drain.returncode != 0:
            self.result.problems.append(drain.stderr.strip())
        tracked = [each for record in self._records for each in record.read_text().split()]
        self.result.compare(tracked, self._server.database(), self._server.ids())

    def end(self) -> None:
        """End all processes."""
        for worker in self._workers:
            worker.kill()
            worker.wait()
        stop_flusher(self._directory, _STOP)

    def _kill_flusher(self) -> None:
        if (beat := self._flusher()) is not None:
            os.kill(beat.pid, signal.SIGKILL)
            self._killed = beat.pid, time.monotonic()
            self.result.kills["flushers"] += 1
            where = "at work" if beat.in_flight is None else "in the middle of a request"
            self._tell(f"the flusher, process {beat.pid}, is killed {where}")

    def _look_for_new_flusher(self, killed: int, killed_at: float) -> None:
        after = time.monotonic() - killed_at
        beat = self._flusher()
        if beat is not None and beat.pid != killed:
            self._killed = None
            self.result.new_flusher_after.append(after)
            self._tell(f"process {beat.pid} flushes, {after:.2f} s after the kill")
        elif after > _FLUSHER_COMES:
            self.result.problems.append(f"no flusher came within {_FLUSHER_COMES:g} s of a kill")

    def _flusher(self) -> Beat | None:
        """Return the last beat of who flushes, None where nobody does."""
        beat = read_beat(self._directory)
        flushes = beat is not None and still_runs(beat) and not beat.is_over()
        return beat if flushes and locks.is_held(self._directory.flusher_lock) else None

    def _kill_worker(self) -> None:
        """Kill the one that has most to track, and let another one go on where it was: with the same id, if need be."""
        number = max(range(_WORKERS), key=lambda each: self._quota(each) - _accepted(self._records[each]))
        worker = self._workers[number]
        worker.kill()
        worker.wait()
        self.result.kills["workers"] += 1
        self._tell(f"worker {number}, process {worker.pid}, is killed; another one goes on")
        self._workers[number] = self._started_worker(number)

    def _started_worker(self, number: int) -> subprocess.Popen[bytes]:
        record = self._records[number]
        given = (os.getpid(), number, _accepted(record), self._quota(number), self._rate, record)
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(  # noqa: S603  # our own module
                [sys.executable, "-m", "lotus_durable.cli.demo.worker", *map(str, given)],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _quota(self, number: int) -> int:
        return self._events // _WORKERS + (number < self._events % _WORKERS)

    def _look_for_trouble(self) -> None:
        for number, worker in enumerate(self._workers):
            if worker.poll():
                self.result.problems.append(
                    f"worker {number} ended with status {worker.poll()}, see {self._folder}/log"
                )
        if time.monotonic() - self._started > _LONGEST:
            self.result.problems.append(f"the workers did not come to an end within {_LONGEST:g} s")

    def _tell(self, what: str) -> None:
        self._progress.tell(f"{time.monotonic() - self._started:5.1f} s  {what}")


def _accepted(record: Path) -> int:
    return record.stat().st_size // _ID_LINE


def _environment(directory: QueueDirectory, server: FakeLotusProcess) -> dict[str, str]:
    """Return that of this process without its own settings of ours."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("LOTUS_")}
    return {**others, "LOTUS_QUEUE_DIR": directory.root, "LOTUS_API_KEY": _KEY, "LOTUS_HOST": server.host}


@contextlib.contextmanager
def _folder(chosen: str | None) -> Iterator[Path]:
    """Give a folder: the one that was chosen, or one that is removed even when this process is killed.

    Raises:
        QueueDirectoryError: the one that is asked for holds something.
    """
    if chosen is not None:
        folder = Path(chosen).absolute()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise QueueDirectoryError(f"{folder} is not empty; the demo needs a directory of its own")
        yield folder
        return
    folder = Path(tempfile.mkdtemp(prefix="lotus-durable-demo-"))
    cleaner = subprocess.Popen(  # noqa: S603  # nothing of it comes from elsewhere
        ["/bin/sh", "-c", _CLEANER, "lotus-durable-demo", str(folder)],
        stdin=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for the demo
    )
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
        cleaner.kill()
        cleaner.communicate()
