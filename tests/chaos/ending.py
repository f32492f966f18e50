"""When all is over: the drain, as a deploy hook runs it, and where each event is then."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from lotus_durable.cli.demo.evidence import dead_ids, parked_ids, pending_ids

from lotus_durable.event.record import decode_record
from lotus_durable.queue.books import decode_stored_event
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.protocol import EventQueue
from lotus_durable.testing import FakeLotusProcess
from tests.servers.apps.ledger import read_ledger

from .crew import REPOSITORY, processes_of
from .oracle import Evidence
from .plan import Plan
from .points import POINTS, points_of
from .stage import books_of
from .tally import Tally
from .wrapping import ARMS

_DRAIN_TIMEOUT = 120.0
_LEFTOVER_PATIENCE = 10.0
"""Seconds that processes which workers have started may take to notice that these are gone."""


def drain(queue_dir: Path, environment: Mapping[str, str]) -> str | None:
    """Run ``lotus-durable drain``; return why it was not complete."""
    command = [sys.executable, "-m", "lotus_durable", "drain", "--json", "--timeout", f"{_DRAIN_TIMEOUT:g}"]
    done = subprocess.run(
        [*command, "--queue-dir", os.fspath(queue_dir)],
        cwd=REPOSITORY,
        env={name: value for name, value in environment.items() if name not in (ARMS, "PYTHONPATH")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        reason: str | None = json.loads(done.stdout)["reason"]
    except ValueError:
        return done.stderr.strip() or f"the drain ended with {done.returncode}"
    return reason


def leftovers(run: str) -> list[str]:
    """Return a problem for each process of the run that outlived those who started it."""
    ends = time.monotonic() + _LEFTOVER_PATIENCE
    while (left := processes_of(run)) and time.monotonic() < ends:
        time.sleep(0.05)
    return [f"process {pid} was left behind: {_command(pid)}" for pid in left]


def evidence(
    plan: Plan, queue: EventQueue, server: FakeLotusProcess, ledger: Path, not_drained: str | None
) -> Evidence:
    """Collect where each event is.

    Raises:
        RecordError: a dead letter or a parked event has no record any more.
    """
    directory = queue.directory
    return Evidence(
        entries=read_ledger(ledger),
        at_server=server.ids(),
        parked=parked_ids(directory) if plan.backend == "journal" else _sqlite_ids(directory, "parked"),
        dead=dead_ids(directory) if plan.backend == "journal" else _sqlite_ids(directory, "dead"),
        pending=pending_ids(directory) if plan.backend == "journal" else [],
        books=books_of(queue.census()),
        not_drained=not_drained,
    )


def _sqlite_ids(directory: QueueDirectory, table: str) -> list[str]:
    with contextlib.closing(sqlite3.connect(directory.store / "events.db")) as connection:
        rows = connection.execute(f"SELECT _id, data FROM queue_{table}").fetchall()
    return [decode_record(decode_stored_event(row, data).record).idempotency_id for row, data in rows]


def not_reached(plan: Plan, tally: Tally) -> list[str]:
    """Return a problem for each named point at which nobody was killed: then nothing is proven of it.

    Not for a run that is over before each could have its turn.
    """
    if tally.kills < 5 * len(POINTS):
        return []
    return [f"nobody was killed at the point {name}" for name in points_of(plan.backend) if not tally.points[name]]


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ").strip()
    except OSError:
        return "gone meanwhile"
