"""One run from beginning to end, and what came of it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from lotus_durable.event.record import decode_record
from lotus_durable.queue.consumer import Consumer
from lotus_durable.queue.counting import count
from lotus_durable.queue.directory import QueueDirectory
from tests.pages import read_page
from tests.servers.apps.ledger import read_ledger

from .clock import Clock
from .disk import disk
from .hands import damage_in, id_of, ids_of
from .harness import STALL, Harness, Tally
from .oracle import Comparison, Evidence, compare
from .plan import API_KEY, CUSTOMERS, READ_TIMEOUT, REPOSITORY, Plan
from .points import Arms
from .processes import Processes
from .server import ServerProcess
from .strikes import STRIKES, WORLD, rounds
from .writers import Folder

_DESTROYED = re.compile(r"segment .*/(.+\.seg) .*events (?:destroyed|lost), at the most: (\d+)")
_LONGEST_PAUSE = 0.15
_DRAIN_TIMEOUT = 60.0
_END_PATIENCE = 10.0
"""Seconds in which a flusher with nothing to do must have ended."""
_INSERTING = 2.0
"""Seconds between two drains of two directories: the server of 2022 loses events to a repeat that comes at once."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Everything that a run has shown."""

    plan: Plan
    tally: Tally
    comparison: Comparison
    requests: int
    faults: dict[str, int]
    seconds: float
    problems: tuple[str, ...]


def run(plan: Plan, root: Path, *, say: Callable[[str], None] = lambda _line: None) -> Outcome:
    """Strike in ``root``, which must be empty; no process is left behind, whatever happens."""
    began = time.monotonic()
    folder = Folder(root)
    folder.make()
    arms = Arms(root / "arms")
    with contextlib.ExitStack() as stack:
        customers = CUSTOMERS if plan.generation == "L22" else None
        server = stack.enter_context(
            ServerProcess(root / "requests", plan.generation, api_key=API_KEY, customers=customers)
        )
        place = stack.enter_context(disk(root / "disk", plan.kills))
        queue_dir = place.root / "app" / "queue"
        clock = Clock(root / "clock")
        processes = stack.enter_context(Processes(plan, folder, server.host, queue_dir, arms, clock))
        harness = Harness(
            plan,
            folder=folder,
            server=server,
            disk=place,
            queue_dir=queue_dir,
            processes=processes,
            arms=arms,
            clock=clock,
        )
        play(harness, folder, ends_at=began + plan.seconds, say=say)
        problems = processes.stop()
        say("all writers are stopped; draining")
        not_drained = drain(queue_dir, server.host)
        problems += processes.leftovers(_END_PATIENCE)
        for aside in harness.asides:
            if (aside / "journal").exists():
                time.sleep(_INSERTING)
                not_drained += drain(aside, server.host)
        comparison = compare(collect(harness, folder, [queue_dir, *harness.asides], not_drained))
        problems += folder.ends.read_text().splitlines() if folder.ends.exists() else []
        state: dict[str, Any] = server.state()
        if comparison.problems:
            # What can be asked no more when this is over.
            shutil.copytree(place.root, root / "files")
            received = server.ids()
            (root / "lost").write_text("\n".join(f"{each} {received.get(each, 0)}" for each in comparison.lost))
    return Outcome(
        plan=plan,
        tally=harness.tally,
        comparison=comparison,
        requests=state["requests"],
        faults=state["faults"],
        seconds=time.monotonic() - began,
        problems=(*comparison.problems, *harness.tally.problems, *problems),
    )


def play(harness: Harness, folder: Folder, *, ends_at: float, say: Callable[[str], None]) -> None:
    """Strike until what was asked for is reached, or the time is up."""
    plan, tally = harness.plan, harness.tally
    harness.get_well()
    if not harness.wait(harness.server.look, STALL):
        tally.problems.append(f"nothing was delivered {STALL:g} s after the start")
    kinds = {**STRIKES, **WORLD}
    said = 0
    for strikes in rounds(plan, harness.chance):
        if tally.kills >= plan.kills and tally.events >= plan.events:
            return
        if time.monotonic() > ends_at or harness.processes.has_failed():
            tally.problems.append(f"it ended after {tally.kills} kills and {tally.events} events")
            return
        for name in strikes:
            began = time.monotonic()
            is_struck = kinds[name].do(harness)
            (tally.struck if is_struck else tally.missed)[name] += 1
            folder.note(folder.root / "history", f"{began:.3f} {name}{'' if is_struck else ' (found nobody)'}")
            harness.pass_(harness.chance.uniform(0, _LONGEST_PAUSE))
        harness.get_well()
        say(f"{tally.kills} kills, {tally.events} events, {len(tally.problems)} problems")
        for problem in tally.problems[said:]:
            say(f"  {problem}")
        said = len(tally.problems)


def drain(queue_dir: Path, host: str) -> list[str]:
    """Run ``lotus-durable drain``, as a deploy hook does; return why it was not complete."""
    options = {"API_KEY": API_KEY, "HOST": host, "QUEUE_DIR": os.fspath(queue_dir), "TIMEOUT": f"{READ_TIMEOUT:g}"}
    done = subprocess.run(
        [sys.executable, "-m", "lotus_durable", "drain", "--json", "--timeout", f"{_DRAIN_TIMEOUT:g}"],
        cwd=REPOSITORY,
        env={**os.environ, "NO_PROXY": "*", **{f"LOTUS_{name}": value for name, value in options.items()}},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        report = json.loads(done.stdout)
        return [] if report["complete"] else [str(report["reason"])]
    except (ValueError, KeyError):
        return [done.stderr.strip() or f"the drain ended with {done.returncode}"]


def collect(harness: Harness, folder: Folder, queue_dirs: Sequence[Path], not_drained: Sequence[str]) -> Evidence:
    """Find out where each event is."""
    directories, unreadable = [], []
    for each in (QueueDirectory(each) for each in queue_dirs if (each / "journal").exists()):
        try:
            read_page(each.books, "parked", 0, 1)
        except OSError as error:
            unreadable.append(f"{each.root}: {error}")
        else:
            directories.append(each)
    counts = [count(each) for each in directories]
    said = harness.said_of_books()
    told = folder.told.read_text() if folder.told.exists() else ""
    return Evidence(
        entries=read_ledger(folder.ledger),
        database=harness.server.database(),
        received=harness.server.ids(),
        parked=[id_ for each in directories for id_ in ids_of(each, "parked")],
        dead=[id_ for each in directories for id_ in ids_of(each, "dead")],
        given_up=[id_ for each in directories for id_ in _given_up(each)],
        pending=[id_ for each in directories for id_ in _pending_ids(each)],
        counts=counts,
        struck=harness.struck,
        cut=harness.cut,
        told=_told(told),
        damage=[*harness.damage, *(damage_in(each) for each in directories)],
        books_gone=[(ids, bool(said - before)) for ids, before in harness.books_gone],
        served=harness.server.look(),
        one_at_a_time=harness.plan.generation == "L22",
        kills=harness.tally.flusher_kills,
        not_drained=[*not_drained, *unreadable],
        counts_are_exact=harness.counts_are_exact,
    )


def _told(lines: str) -> Mapping[str, int]:
    """Return how many destroyed events the writers have told of, by segment."""
    told: Counter[str] = Counter()
    for segment, events in _DESTROYED.findall(lines):
        told[segment] += int(events)
    return told


def _given_up(directory: QueueDirectory) -> list[str]:
    """Return the dead letters whose time is not one that the server refuses for good: too long ago."""
    oldest = datetime.now(UTC) - timedelta(days=29)
    records = [each.record for each in read_page(directory.books, "dead", 0, 1 << 30) if each.record]
    events = [decode_record(record) for record in records]
    return [each.idempotency_id for each in events if datetime.fromisoformat(each.time_created) > oldest]


def _pending_ids(directory: QueueDirectory) -> list[str]:
    """Read the journal as the next flusher would; nobody flushes any more."""
    with contextlib.closing(Consumer(directory, lambda _: None)) as consumer:
        found: list[str] = []
        while (chunk := consumer.read(1000)) is not None:
            found += [id_of(record) for record in chunk.records]
        return found
