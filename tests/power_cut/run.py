"""One recording, the states that a disk may hold after a cut at each of its moments, and what the queue makes of it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from lotus_durable.option_types import Backend, Durability
from lotus_durable.queue import reserve
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.testing import FakeLotus
from tests.chaos.plan import API_KEY, REPOSITORY

from .disk import DataAlone, Disk, Drawn, Everything, Fate, NamesAlone, Nothing, Tree, write_tree
from .known import Known
from .recovery import Expected, problems_of, recovered_by_consumer, recovered_by_flusher
from .scenario import Scene
from .trace import Call, recorded

SCENES: Sequence[tuple[Backend, Durability]] = (
    ("journal", "process"),
    ("journal", "power"),
    ("sqlite", "process"),
    ("sqlite", "power"),
)
_DECISIVE = frozenset(("fsync", "fdatasync", "rename", "unlink", "link", "rmdir"))
"""Calls around which every kind of state is made: just before, and just after."""


@dataclass(frozen=True, slots=True)
class Recording:
    """What a run did, and what came of it."""

    scene: Scene
    root: str
    """The folder that is modelled."""
    calls: Sequence[Call]
    stored: frozenset[str]
    """What the server holds in the end."""
    organisation: str
    """Whose key the server said it is."""
    differences: Sequence[str]
    """Where the disk that the run left is not what the record says."""


@dataclass(slots=True)
class Outcome:
    """What the states of one recording have shown."""

    backend: str
    durability: str
    calls: int = 0
    """Of those that are about the disk."""
    events: int = 0
    states: int = 0
    by_flusher: int = 0
    """States that a whole flusher has drained too."""
    kinds: Counter[str] = field(default_factory=Counter)
    kept: int = 0
    """Events that were safe, in all states together."""
    taken: int = 0
    """Events that were tracked and not safe, and that a cut has taken."""
    lost: int = 0
    problems: list[str] = field(default_factory=list)


def record(backend: Backend, durability: Durability, folder: Path) -> Recording:
    """Run the scenario under strace; ``folder`` is there and empty."""
    root = folder / "disk"
    root.mkdir(mode=0o700)
    with FakeLotus("L24", api_key=API_KEY) as server:
        ledger = os.fspath(folder / "ledger")
        scene = Scene(os.fspath(root / "queue"), ledger, server.host, backend, durability)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("LOTUS_")}
        environment = {**kept, "PYTHONPATH": os.fspath(REPOSITORY), "NO_PROXY": "*"}
        command = [sys.executable, "-m", "tests.power_cut.scenario", "play", json.dumps(asdict(scene))]
        calls = recorded(command, folder / "strace", environment, REPOSITORY)
        stored = frozenset(server.database)
    disk = Disk(os.fspath(root))
    for call in calls:
        disk.do(call)
    return Recording(scene, os.fspath(root), calls, stored, server.accounts.organization_id, disk.is_as(root))


def states(recording: Recording, most: int, chance: random.Random) -> Iterator[tuple[str, Tree, Expected]]:
    """Give states that differ from each other, with what is expected of them: of each kind at each decisive call.

    What is left of ``most`` is drawn between these.
    """
    moments = _moments(recording)
    if most < len(moments):
        moments = set(chance.sample(sorted(moments), most))
    each = max(1, -(-most // max(1, len(moments))))
    seen: set[bytes] = set()
    disk, known = Disk(recording.root), Known(recording.scene.durability == "power", recording.stored)
    ledger = os.fsencode(recording.scene.ledger)
    for number, call in enumerate(recording.calls):
        if number in moments:
            fates: list[tuple[str, Fate]] = [
                ("all of it", Everything()),
                ("what was synced", Nothing()),
                ("names, and zeros", NamesAlone()),
                ("data, not names", DataAlone()),
                *(("drawn", Drawn(chance)) for _ in range(2 * each)),
            ]
            chance.shuffle(fates)
            given = 0
            for kind, fate in fates:
                if given >= each:
                    break
                tree = disk.tree(fate)
                digest = _digest(tree)
                if digest not in seen:
                    seen.add(digest)
                    given += 1
                    holes = isinstance(fate, Drawn) and fate.has_holes
                    yield kind, tree, _expected(known, may_be_damaged=holes)
        if not known.note(call, ledger):
            disk.do(call)


def examine(
    recording: Recording, most: int, seed: int, *, one_in: int, folder: Path, say: Callable[[str], None]
) -> Outcome:
    """Recover from ``most`` states, of which one in ``one_in`` is drained by a whole flusher."""
    scene = recording.scene
    chance = random.Random(f"power cut {seed} {scene.backend} {scene.durability}")
    outcome = Outcome(scene.backend, scene.durability)
    outcome.problems += [f"the record is not what the run has done: {each}" for each in recording.differences]
    disk = Disk(recording.root)
    config = scene.config()
    outcome.calls = sum(disk.do(call) for call in recording.calls)
    with _as_small_as_the_scenario():
        for kind, tree, expected in states(recording, most, chance):
            outcome.states += 1
            outcome.kinds[kind] += 1
            outcome.events = max(outcome.events, len(expected.may))
            is_by_flusher = outcome.states % one_in == 0
            outcome.by_flusher += is_by_flusher
            root = Path(tempfile.mkdtemp(dir=folder))
            write_tree(root, tree)
            directory = QueueDirectory(root / "queue")
            try:
                found = (
                    recovered_by_flusher(directory, config._replace(queue_dir=directory.root), recording.organisation)
                    if is_by_flusher
                    else recovered_by_consumer(directory)
                )
                problems = problems_of(expected, found, directory)
            except Exception as error:  # noqa: BLE001  # it is what this looks for
                problems = [f"{type(error).__name__}: {error}"]
            else:
                readable = expected.at_server | set(found.sent) | set(found.dead)
                outcome.kept += len(expected.must)
                outcome.lost += len(expected.must - readable)
                outcome.taken += len(expected.may - readable)
            shutil.rmtree(root)
            if problems:
                kept_as = Path(tempfile.mkdtemp(prefix=f"{scene.backend}-{scene.durability}-", dir=folder))
                write_tree(kept_as, tree)
                outcome.problems += [f"{kept_as.name} ({kind}): {each}" for each in problems]
            if outcome.states % 500 == 0:
                say(f"{scene.backend}, {scene.durability}: {outcome.states} states, {len(outcome.problems)} problems")
    return outcome


def _moments(recording: Recording) -> set[int]:
    """Return the numbers of the calls before which there is something to see."""
    disk = Disk(recording.root)
    found = set()
    for number, call in enumerate(recording.calls):
        if disk.do(call):
            found.add(number + 1)
            if call.name in _DECISIVE:
                found.add(number)
    return {number for number in found if number < len(recording.calls)}


def _expected(known: Known, *, may_be_damaged: bool) -> Expected:
    return Expected(
        frozenset(known.must_be_there()),
        frozenset(known.attempted),
        frozenset(known.at_server()),
        may_be_damaged=may_be_damaged,
        has_books=known.has_books,
    )


def _digest(tree: Tree) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for name, content in tree.items():
        digest.update(f"{name} {'-' if content is None else len(content)}\n".encode())
        digest.update(content or b"")
    return digest.digest()


@contextlib.contextmanager
def _as_small_as_the_scenario() -> Iterator[None]:
    """Make little ready for a full disk, which would take most of the time; and keep the log quiet."""
    before = reserve._LOG, reserve._FREE
    reserve._LOG = reserve._FREE = 64
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        reserve._LOG, reserve._FREE = before
        logging.disable(logging.NOTSET)
