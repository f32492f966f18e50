"""What is going to happen in a demo: how much, by how many, and who is killed when."""

from __future__ import annotations

import random
import uuid
from dataclasses import dataclass

API_KEY = "demo-key"
REGULARS = tuple(f"customer-{number:02d}" for number in range(20))
"""Customers whom the server knows from the start."""
NEWCOMER = "newcomer"
"""A customer who is created only when many of its events were refused."""
STRANGER = "stranger"
"""A customer who is never created: its events are parked to the end."""

_NEWCOMERS = (50, 7)
_STRANGERS = (400, 111)
"""One event in so many is theirs, beginning with which."""
_REFUSED_POSITIONS = (5, 10, 15, 20, 25)
"""Early, while the server is well."""

_EVENTS_PER_SECOND = 1_600
_SHORTEST, _LONGEST = 4.0, 12.5  # seconds of tracking

_FIRST_KILL, _LAST_KILL = 0.12, 0.95


@dataclass(frozen=True, slots=True)
class Kill:
    """One SIGKILL."""

    due: float
    """When, as a part of all events that are tracked by then."""
    leader: bool
    """Whether it is for the process that uploads, or for another worker."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The figures of one demo, and what follows from them."""

    workers: int
    events: int
    kills: int
    seed: int

    def quota(self, slot: int) -> int:
        """Return how many events are tracked in this worker's place, by it and by those who replace it."""
        return self.events // self.workers + (slot < self.events % self.workers)

    @property
    def rate(self) -> float:
        """How many events a worker tracks in a second."""
        return self.events / self.workers / min(_LONGEST, max(_SHORTEST, self.events / _EVENTS_PER_SECOND))

    @property
    def recycle_after(self) -> int:
        """How many events a worker tracks, about, before it ends in order, as with gunicorn's max_requests."""
        return max(50, self.events // self.workers * 2 // 5)

    def kill_list(self) -> list[Kill]:
        """Return all kills, in their order; about two in five are of leaders."""
        leaders = -(-self.kills * 2 // 5)
        kills: list[Kill] = []
        for number in range(self.kills):
            due = _FIRST_KILL + (number + 0.5) / self.kills * (_LAST_KILL - _FIRST_KILL)
            # Bresenham's line: the leaders' are spread evenly among the others.
            is_leader = (number + 1) * leaders // self.kills > number * leaders // self.kills
            kills.append(Kill(due, leader=is_leader))
        return kills

    def refused_ids(self, slot: int) -> dict[int, str]:
        """Return the ids of the events that the server refuses for good, by their position in a worker's place."""
        return {
            position: str(uuid.UUID(int=random.Random(f"{self.seed}/{slot}/{position}").getrandbits(128), version=4))  # noqa: S311  # repeatable, not secret
            for position in _REFUSED_POSITIONS
            if position < self.quota(slot)
        }

    def all_refused_ids(self) -> tuple[str, ...]:
        """Return those of all places."""
        return tuple(id_ for slot in range(self.workers) for id_ in self.refused_ids(slot).values())


def customer_of(position: int) -> str:
    """Return whose event it is that is tracked at this position."""
    if position % _STRANGERS[0] == _STRANGERS[1]:
        return STRANGER
    if position % _NEWCOMERS[0] == _NEWCOMERS[1]:
        return NEWCOMER
    return REGULARS[position % len(REGULARS)]
