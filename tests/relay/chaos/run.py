"""A run: rounds of strikes, after each of which all get well and all is to be at Lotus; then the oracle."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.protocol import Table as Store
from tests.chaos.oracle import Comparison, Evidence, compare
from tests.pages import read_page
from tests.relay.broker import Cluster
from tests.rig import id_of, wait_until
from tests.servers.apps.ledger import read_ledger

from .strikes import Strike, possible
from .world import PATIENCE, Plan, World

_ROUND = 16
"""Strikes."""
_FIRST = 20
"""Events before the first one."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run."""

    plan: Plan
    seconds: float
    kills: int
    struck: Counter[str]
    missed: Counter[str]
    settled: Sequence[float]
    """Seconds after each round until all was at Lotus."""
    comparison: Comparison
    problems: Sequence[str] = field(default_factory=list)


def run(
    plan: Plan,
    root: Path,
    cluster: Cluster | None = None,
    queue: str = "lotus.chaos",
    *,
    say: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Run it; see :class:`.world.World`."""
    began = time.monotonic()
    struck, missed = Counter[str](), Counter[str]()
    settled: list[float] = []
    problems: list[str] = []
    with World(plan, root, cluster, queue) as world:
        wait_until(lambda: world.acknowledged() >= _FIRST, "the first events", PATIENCE)
        settled.append(world.settle())  # all is up
        order: list[str] = []
        while time.monotonic() - began < plan.seconds and not problems:
            for _ in range(_ROUND):
                strikes = possible(world)
                if not order:  # each as often as it weighs
                    order = [name for name, strike in strikes.items() for _ in range(strike.weight)]
                    world.chance.shuffle(order)
                name = order.pop()
                (struck if _did(world, strikes[name]) else missed)[name] += 1
                world.pass_(world.chance.uniform(0.1, 0.6))
                if world.kills >= plan.kills and world.acknowledged() >= plan.events:
                    break
            try:
                world.heal()
                settled.append(world.settle())
            except AssertionError as error:
                problems.append(str(error))
            say(
                f"{time.monotonic() - began:6.0f} s  {world.kills} kills, {world.acknowledged():,} events, "
                f"settled in {settled[-1]:.1f} s; last: {name}"
            )
            if world.kills >= plan.kills and world.acknowledged() >= plan.events:
                break
        try:
            for _ in range(2):  # what a call was about to write down when the first one began
                settled.append(world.settle(resume=False))
                world.pass_(0.5)
        except AssertionError as error:
            problems.append(str(error))
        comparison = compare(_evidence(world))
        kills = world.kills
    problems.extend(comparison.problems)
    return Outcome(plan, time.monotonic() - began, kills, struck, missed, settled, comparison, problems)


def _did(world: World, strike: Strike) -> bool:
    try:
        return strike.do(world)
    except AssertionError:  # a node that is paused, or on its way, does not do what it is told
        return False


def _evidence(world: World) -> Evidence:
    return Evidence(
        entries=read_ledger(world.ledger),
        database=world.server.database(),
        received=world.server.ids(),
        parked=_stored(world, "parked"),
        dead=_stored(world, "dead"),
        pending=(),
        given_up=_stored(world, "dead"),
        counts=(),  # over a fleet the numbers hold by id only
        struck={},
        served=world.server.look(),
        one_at_a_time=world.plan.generation == "L22",
        counts_are_exact=False,
    )


def _stored(world: World, store: Store) -> set[str]:
    found: set[str] = set()
    for folder in [*(host.folder for host in world.hosts), world.root / "relay0", world.root / "relay1"]:
        books = QueueDirectory(folder).books
        if Path(books).exists():
            found |= {id_of(each.record) for each in read_page(books, store, 0, 1 << 30)}
    return found
