"""Killing a server's workers, one after the other, under load."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field

from .load import Load
from .running import Running
from .site import Site
from .waiting import wait_until

_LEADER_EVERY = 3
"""Of so many kills, one is of the leader where that is a worker."""
_ANSWERS_BETWEEN = 20
"""So many requests are answered between two kills."""


@dataclass(slots=True)
class Kills:
    """What was killed."""

    total: int = 0
    takeovers: list[float] = field(default_factory=list)
    """For each leader that was killed, the seconds until another process led."""


def kill_workers(
    site: Site, server: Running, load: Load, *, workers: int, kills: int, leads: bool = True, seed: int = 0
) -> Kills:
    """SIGKILL workers, the leader among them again and again, each when the server is whole and serves.

    Args:
        site: the deployment.
        server: it must replace its workers by itself.
        load: what it must serve.
        workers: how many workers there are when the server is whole.
        kills: how many are killed.
        leads: whether one of its processes uploads.
        seed: of the choice.
    """
    draw = random.Random(seed)
    done = Kills()
    while done.total < kills:
        alive = wait_until_whole(server, workers)
        leader = wait_for_leader(site, server) if leads else 0
        kills_leader = leader in alive and done.total % _LEADER_EVERY == 0
        victim = leader if kills_leader else draw.choice(sorted(alive))
        server.kill(victim)
        killed = time.monotonic()
        done.total += 1
        if victim == leader:
            wait_for_leader(site, server, other_than=victim)
            done.takeovers.append(time.monotonic() - killed)
        load.wait_for_answers(_ANSWERS_BETWEEN)
    wait_until_whole(server, workers)
    return done


def wait_until_whole(server: Running, workers: int) -> set[int]:
    """Wait until all workers live and no zombie is left of those that do not; return their pids."""

    def whole() -> set[int]:
        found = server.workers()
        return found if len(found) == workers and not server.zombies() else set()

    return wait_until(whole, f"{workers} workers live, and no zombie is left of others")


def wait_for_leader(site: Site, server: Running, other_than: int | None = None) -> int:
    """Wait until a living process of the server says that it leads; return its pid."""

    def leader() -> int:
        found = site.leader()
        return found if found is not None and found != other_than and found in server.processes() else 0

    return wait_until(leader, "a process of the server leads")
