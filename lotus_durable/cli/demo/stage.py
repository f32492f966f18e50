"""The demo as it happens: workers track, some are killed, the server fails; then it gets well and all is drained."""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lotus_durable.cli.progress import Progress
from lotus_durable.config import Config
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.stats import collect
from lotus_durable.testing.process import FakeLotusProcess
from lotus_durable.tracker import open_queue

from .crew import Crew, clean_environment
from .evidence import dead_ids, parked_ids, pending_ids
from .judge import Evidence
from .outages import Outages
from .plan import API_KEY, Plan
from .records import Accepted
from .succession import Succession

_TRACKING_ENDS = 38.0
_DRAINING_ENDS = 52.0
"""Seconds after the start at which each part gives up, so that there is an answer within a minute."""

_CALM = 0.06
"""The part of all events that are at the server before anything is done to anybody: the events that the server refuses
for good are among the first, and one that it stores in silence, before it breaks down, it can refuse no more."""

_TICK = 0.005  # seconds
_SHOW_INTERVAL = 0.2  # seconds


@dataclass(frozen=True, slots=True)
class Performance:
    """What was seen, besides the events."""

    evidence: Evidence
    accepted: Accepted
    worker_kills: int
    leader_kills: int
    recycled: int
    takeovers: tuple[float, ...]
    """Seconds."""
    requests: int
    failures: dict[str, int]
    """How often the server failed, by kind."""


class Stage:
    """Plays one plan once. The server runs, and is stopped by whoever started it."""

    def __init__(self, plan: Plan, folder: Path, queue_dir: Path, server: FakeLotusProcess, progress: Progress) -> None:
        self._plan = plan
        self._folder = folder
        self._directory = QueueDirectory(queue_dir)
        self._server = server
        self._progress = progress
        self._started = time.monotonic()
        self._chance = random.Random(plan.seed)  # noqa: S311  # repeatable, not secret
        self._outages = Outages(server, plan.all_refused_ids(), plan.seed)
        self._succession = Succession(self._directory)
        self._kills = deque(plan.kill_list())
        self._leader_kills = 0
        self._stored = 0
        self._struck = 0
        self._next_show = 0.0

    def play(self) -> Performance:
        """Play it; what happens is shown as it does.

        Raises:
            DemoFailed: it does not work here.
        """
        self._outages.begin()
        with Crew(self._plan, self._folder, self._directory.root, self._server.host) as crew:
            while not self._is_over(crew) and self._elapsed() < _TRACKING_ENDS:
                self._tick(crew)
                time.sleep(_TICK)
            while not self._outages.end():
                time.sleep(_TICK)
            self._progress.tell(f"{self._clock()}  all workers are stopped (SIGTERM), then: lotus-durable drain")
            crew.stop()
        not_drained = self._drain(crew.accepted)
        return self._performance(crew, not_drained)

    def _is_over(self, crew: Crew) -> bool:
        all_tracked = len(crew.accepted.ids) >= self._plan.events
        return all_tracked and not self._kills and not self._succession.is_open() and self._outages.is_over()

    def _tick(self, crew: Crew) -> None:
        crew.look()
        self._show(crew.accepted)
        if self._stored >= _CALM * self._plan.events:
            part = len(crew.accepted.ids) / self._plan.events
            what = self._outages.look(part, self._struck)
            if what is not None:
                self._tell(what)
            self._kill_if_due(crew, part)
        took = self._succession.look()
        if took is not None:
            self._tell(f"process {self._succession.leader()} leads, {took * 1000:.0f} ms after the kill")

    def _kill_if_due(self, crew: Crew, part: float) -> None:
        """Kill a leader or another worker; while a takeover is being timed nobody else is touched."""
        if not self._kills or self._kills[0].due > part or self._succession.is_open():
            return
        leader = self._succession.leader()
        pids = crew.pids()
        if leader not in pids:
            return  # it was just recycled: wait for the next one
        if self._kills[0].leader:
            self._succession.leader_is_killed(leader)
            crew.kill(leader)
            self._leader_kills += 1
            self._tell(f"SIGKILL for process {leader}, the leader")
        elif pids - {leader}:
            victim = self._chance.choice(sorted(pids - {leader}))
            crew.kill(victim)
            self._tell(f"SIGKILL for process {victim}, a worker")
        self._kills.popleft()

    def _drain(self, accepted: Accepted) -> str | None:
        """Run the drain command, as a deploy hook would; return why it was not complete."""
        timeout = max(1.0, _DRAINING_ENDS - self._elapsed())
        command = [sys.executable, "-m", "lotus_durable", "drain", "--json"]
        command += ["--queue-dir", os.fspath(self._directory.root), "--timeout", f"{timeout:.1f}"]
        with subprocess.Popen(  # noqa: S603  # our own module
            command,
            env=clean_environment({"LOTUS_API_KEY": API_KEY, "LOTUS_HOST": self._server.host}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        ) as process:
            try:
                while process.poll() is None:
                    self._show(accepted)
                    time.sleep(_TICK)
            except BaseException:
                process.kill()
                raise
            output, errors = process.communicate()
        self._show(accepted, now=True)
        try:
            reason: str | None = json.loads(output)["reason"]
        except ValueError:
            return errors.decode(errors="replace").strip() or f"the drain ended with {process.returncode}"
        return reason

    def _performance(self, crew: Crew, not_drained: str | None) -> Performance:
        config = Config.resolve({"queue_dir": self._directory.root}, environ={})
        evidence = Evidence(
            expected=self._plan.events,
            accepted=crew.accepted.ids,
            received=self._server.ids(),
            parked=parked_ids(self._directory),
            dead=dead_ids(self._directory),
            pending=pending_ids(self._directory),
            kills=crew.kills,
            missing_takeovers=self._succession.failures,
            not_drained=not_drained,
            books=collect(open_queue(config, lambda _error: None), buffered=0),
        )
        state: dict[str, Any] = self._server.state()
        return Performance(
            evidence=evidence,
            accepted=crew.accepted,
            worker_kills=crew.kills - self._leader_kills,
            leader_kills=self._leader_kills,
            recycled=crew.recycled,
            takeovers=tuple(self._succession.takeovers),
            requests=state["requests"],
            failures=Outages.failures(state),
        )

    def _show(self, accepted: Accepted, *, now: bool = False) -> None:
        if time.monotonic() < self._next_show and not now:
            return
        self._next_show = time.monotonic() + _SHOW_INTERVAL
        with contextlib.suppress(OSError):  # while it is away: as many as before
            state = self._server.state()
            self._stored = state["events"]
            self._struck = sum(Outages.failures(state).values())
        total = self._plan.events
        self._progress.show({"tracked": (len(accepted.ids), total), "delivered": (self._stored, total)})

    def _tell(self, what: str) -> None:
        self._progress.tell(f"{self._clock()}  {what}")

    def _clock(self) -> str:
        return f"{self._elapsed():5.1f} s"

    def _elapsed(self) -> float:
        return time.monotonic() - self._started
