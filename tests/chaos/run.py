"""One run from beginning to end, and what came of it."""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lotus_durable.config import Config
from lotus_durable.errors import LotusError
from lotus_durable.event.record import RecordError
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.testing import FakeLotusProcess
from lotus_durable.tracker import open_queue

from . import ending
from .crew import Crew
from .disk import disk
from .history import History
from .oracle import Judgement, judge
from .plan import API_KEY, BATCH, Plan, Round
from .points import Arms
from .stage import Stage
from .tally import Tally
from .trouble import READ_TIMEOUT
from .worker import CUSTOMERS


@dataclass(frozen=True, slots=True)
class Outcome:
    """Everything that a run has shown."""

    plan: Plan
    tally: Tally
    judgement: Judgement | None
    """None: it did not come to that."""
    started: dict[str, int]
    """How many processes of each kind."""
    faults: dict[str, int]
    """How often the server failed, by kind."""
    requests: int
    disk: str
    seconds: float
    problems: tuple[str, ...]

    @property
    def is_good(self) -> bool:
        """Whether everything is as promised."""
        return not self.problems


def run(
    plan: Plan,
    rounds: Iterable[Round],
    folder: Path,
    history: History,
    *,
    say: Callable[[str], None] = lambda _line: None,
    may_mount: bool = True,
) -> Outcome:
    """Play ``rounds`` in ``folder``, which must be empty; no process is left behind, whatever happens."""
    began = time.monotonic()
    history.plan(plan)
    (folder / "ledger").mkdir()
    arms = Arms.prepared(folder / "arms")
    token = f"chaos-{uuid.uuid4().hex}"
    with contextlib.ExitStack() as stack:
        stack.callback(arms.close)
        customers = CUSTOMERS if plan.generation == "L22" else None
        server = stack.enter_context(FakeLotusProcess(plan.generation, api_key=API_KEY, customers=customers))
        place = stack.enter_context(disk(folder, arms, may_mount=may_mount))
        options = _options(plan, server.host, place.queue_dir)
        # The sqlite backend counts from this process too; it has no candidate, and nothing is tracked here.
        queue = open_queue(Config.resolve({**options, "api_key": API_KEY}, environ={}), lambda _error: None)
        stack.callback(queue.close)
        QueueDirectory(place.queue_dir).prepare()
        crew = stack.enter_context(Crew(plan, folder, options, arms, place.environment, token))
        crew.start()
        stage = Stage(plan, server=server, disk=place, queue=queue, crew=crew, arms=arms, history=history, say=say)
        stage.play(rounds)
        crew.stop()
        problems = ending.leftovers(token)
        say("all workers are stopped; draining")
        not_drained = ending.drain(place.queue_dir, crew.environment)
        judgement = None
        try:
            judgement = judge(ending.evidence(plan, queue, server, folder / "ledger", not_drained))
        except (RecordError, OSError, LotusError) as error:
            problems.append(f"it cannot be found out where the events are ({error}); the drain: {not_drained}")
        problems += [*stage.tally.problems, *crew.problems, *ending.not_reached(plan, stage.tally)]
        if stage.failed_takeovers():
            problems.append(f"after {stage.failed_takeovers()} kills of a leader nobody took over within 10 s")
        state: dict[str, Any] = server.state()
        outcome = Outcome(
            plan=plan,
            tally=stage.tally,
            judgement=judgement,
            started={str(role): count for role, count in crew.started.items()},
            faults=state["faults"],
            requests=state["requests"],
            disk=place.kind,
            seconds=time.monotonic() - began,
            problems=(*(judgement.problems if judgement else ()), *problems),
        )
    for problem in outcome.problems:
        history.note("problem", problem=problem)
    return outcome


def _options(plan: Plan, host: str, queue_dir: Path) -> dict[str, Any]:
    """Return the options of the clients: everything small and quick, so that much happens in little time."""
    return {
        "api_key": API_KEY,
        "host": host,
        "queue_dir": os.fspath(queue_dir),
        "backend": plan.backend,
        "flusher": plan.flusher,
        "durability": plan.durability,
        "segment_bytes": 64 * 1024,
        "flush_interval": 0.05,
        "max_batch_events": BATCH,
        "parked_retry_interval": 1.0,
        "probe_interval": 0.3,
        "sync_interval": 0.2,
        "exit_timeout": 1.0,
        "timeout": [READ_TIMEOUT, READ_TIMEOUT],
    }
