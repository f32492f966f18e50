"""What happens in the demo: workers track, some are killed, the flusher is killed, the server goes away for a while."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from lotus_durable.cli.progress import Progress
from lotus_durable.cli.wording import count
from lotus_durable.flusher import locks
from lotus_durable.flusher.surroundings import process_status
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.heartbeat import Beat, read_beat
from lotus_durable.testing.faults import Delay, Faults
from lotus_durable.testing.process import FakeLotusProcess

from .worker import event_id

WORKERS = 4

_EVENTS_PER_SECOND = 2000
_SECONDS_PER_KILL = 1.2
_SHORTEST = 3.0
_SLOW_ANSWERS = Faults(rates={Delay(0.15): 0.5})
"""So that some kills come in the middle of a request: the server has its events, and nobody heard the answer."""
_AWAY_AT, _AWAY = 0.5, 1.5
"""After which part of the events the server goes away, and for how many seconds."""
_MIDDLE_OF_REQUEST = 0.5  # seconds to wait for one, before a flusher is killed all the same
_TRACKING_ENDS = 60.0  # seconds after the start, whatever happens
_FLUSHER_COMES = 10.0  # seconds after a kill
_WORKER_ENDS = 20.0  # seconds
_TICK = 0.005  # seconds
_ID_LINE = len(event_id(0, 0)) + 1


@dataclass(slots=True)
class _Place:
    """A worker, and those who replace it."""

    number: int
    quota: int
    """How many events are accepted here in the end."""
    record: Path
    first: int = 0
    """The number of the first event of the one who is here now."""
    process: subprocess.Popen[bytes] | None = None

    def accepted(self) -> int:
        """Return how many events are in the record."""
        return self.record.stat().st_size // _ID_LINE

    def ids(self) -> list[str]:
        """Return their ids."""
        return self.record.read_text().split()

    def at_work_on(self) -> int:
        """Return the number of the event after the last one in the record: whether it was accepted is not known."""
        ids = self.ids()
        return max(self.first, int(ids[-1].rpartition("-")[2]) + 1 if ids else 0)


@dataclass(slots=True)
class Played:
    """What happened."""

    tracked: list[str] = field(default_factory=list)
    in_doubt: list[str] = field(default_factory=list)
    worker_kills: int = 0
    flusher_kills: int = 0
    new_flusher_after: list[float] = field(default_factory=list)
    """For each kill of a flusher while events were tracked: after how many seconds another one flushed."""
    problems: list[str] = field(default_factory=list)


class Play:
    """Plays once; use it in a ``with`` statement, which ends the workers.

    Args:
        events: how many are tracked.
        kills: how many processes are killed, a flusher and a worker by turns.
        directory: of the queue.
        folder: for the workers' records.
        server: runs.
        environment: of the workers, and so of the flushers that they start.
        progress: where steps are shown.
    """

    def __init__(
        self,
        events: int,
        kills: int,
        directory: QueueDirectory,
        folder: Path,
        server: FakeLotusProcess,
        environment: Mapping[str, str],
        progress: Progress,
    ) -> None:
        self._events = events
        self._kills = kills
        self._directory = directory
        self._folder = folder
        self._server = server
        self._environment = environment
        self._progress = progress
        self._started = time.monotonic()
        self._rate = events / WORKERS / max(_SHORTEST, events / _EVENTS_PER_SECOND, kills * _SECONDS_PER_KILL)
        self._places = [self._place(number) for number in range(WORKERS)]
        self._kills_done = 0
        self._kill_due_since: float | None = None
        self._killed: tuple[int, int] | None = None
        self._killed_at = 0.0
        self._has_been_away = False
        self._played = Played()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for place in self._places:
            if place.process is not None:
                place.process.kill()
                place.process.wait()

    def play(self) -> Played:
        """Do it all; return what happened."""
        self._server.set_faults(_SLOW_ANSWERS)
        for place in self._places:
            self._start(place)
        while not self._is_over():
            self._tick()
            time.sleep(_TICK)
        self._end()
        self._played.tracked = [each for place in self._places for each in place.ids()]
        return self._played

    def _is_over(self) -> bool:
        if time.monotonic() - self._started > _TRACKING_ENDS:
            self._played.problems.append(f"the workers did not come to an end within {_TRACKING_ENDS:g} s")
            return True
        return bool(self._played.problems) or self._accepted() >= self._events

    def _tick(self) -> None:
        accepted = self._accepted()
        self._progress.show({"tracked": (accepted, self._events)})
        for place in self._places:
            code = None if place.process is None else place.process.poll()
            if code:
                self._played.problems.append(f"worker {place.number} ended with status {code}, see {self._folder}/log")
        if self._killed is not None:
            self._look_for_new_flusher()
        elif accepted >= self._events * (self._kills_done + 1) / (self._kills + 1) and self._kills_done < self._kills:
            self._kill()
        if not self._has_been_away and accepted >= self._events * _AWAY_AT:
            self._has_been_away = True
            self._server.go_away(_AWAY)
            self._tell(f"the server is gone for {_AWAY:g} s")

    # Kills

    def _kill(self) -> None:
        """Do the kill that is due: of a flusher or a worker, by turns."""
        done = self._kill_flusher() if self._kills_done % 2 == 0 else self._kill_worker()
        if done:
            self._kills_done += 1
            self._kill_due_since = None

    def _kill_flusher(self) -> bool:
        beat = read_beat(self._directory)
        now = time.monotonic()
        self._kill_due_since = self._kill_due_since or now
        if beat is None or beat.is_over() or not self._flushes(beat):
            return False
        if beat.in_flight is None and now - self._kill_due_since < _MIDDLE_OF_REQUEST:
            return False
        os.kill(beat.pid, signal.SIGKILL)
        self._killed, self._killed_at = (beat.pid, beat.start_time), time.monotonic()
        self._played.flusher_kills += 1
        where = "at work" if beat.in_flight is None else "in the middle of a request"
        self._tell(f"the flusher, process {beat.pid}, is killed {where}")
        return True

    def _flushes(self, beat: Beat) -> bool:
        status = process_status(beat.pid)
        is_there = status is not None and status.start_time == beat.start_time and status.state != "Z"
        return is_there and bool(locks.is_held(self._directory.flusher_lock))

    def _look_for_new_flusher(self) -> None:
        after = time.monotonic() - self._killed_at
        beat = read_beat(self._directory)
        if beat is not None and (beat.pid, beat.start_time) != self._killed and self._flushes(beat):
            self._killed = None
            self._played.new_flusher_after.append(after)
            self._tell(f"process {beat.pid} flushes, {after:.2f} s after the kill")
        elif after > _FLUSHER_COMES:
            self._played.problems.append(f"no flusher came within {_FLUSHER_COMES:g} s of a kill")

    def _kill_worker(self) -> bool:
        for number in range(WORKERS):
            place = self._places[(self._kills_done // 2 + number) % WORKERS]
            if place.process is not None and place.process.poll() is None and place.accepted() < place.quota:
                place.process.kill()
                place.process.wait()
                self._played.worker_kills += 1
                self._tell(f"worker {place.number}, process {place.process.pid}, is killed; another one goes on")
                place.first = place.at_work_on() + 1  # not the one in doubt: it would be tracked twice
                self._played.in_doubt.append(event_id(place.number, place.first - 1))
                self._start(place)
                return True
        return True  # all have done their part: there is none to kill

    # Workers

    def _place(self, number: int) -> _Place:
        record = self._folder / f"accepted-by-worker-{number}"
        record.touch()
        return _Place(number, self._events // WORKERS + (number < self._events % WORKERS), record)

    def _start(self, place: _Place) -> None:
        left = place.quota - place.accepted()
        arguments = (os.getpid(), place.number, place.first, left, self._rate, place.record)
        with (self._folder / "log").open("ab") as log:
            place.process = subprocess.Popen(  # noqa: S603  # our own module
                [sys.executable, "-m", "lotus_durable.cli.demo.worker", *map(str, arguments)],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _accepted(self) -> int:
        return sum(place.accepted() for place in self._places)

    def _end(self) -> None:
        """Wait until the workers have ended, as any program does."""
        self._tell(f"{count(self._accepted(), 'event')} tracked, the workers end; then: lotus-durable drain")
        for place in self._places:
            if place.process is not None and not self._played.problems:
                place.process.wait(_WORKER_ENDS)

    def _tell(self, what: str) -> None:
        self._progress.tell(f"{time.monotonic() - self._started:5.1f} s  {what}")
