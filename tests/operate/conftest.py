"""A queue with events in every state, and a server whose clock and customers a test can change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from lotus_durable.operate import Where
from lotus_durable.operate.refused import RefusedEvents
from lotus_durable.operate.stored import State
from tests.rig import Rig, rig, rigs, track  # noqa: F401  # fixtures

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass
class Scene:
    """One queue, and the time that the server believes it is."""

    rig: Rig
    clock: list[datetime]

    def make_dead(self, count: int, **fields: object) -> list[str]:
        """Have events refused for good: the server takes none that is so old."""
        ids = track(self.rig.client(), count, time_created=LONG_AGO, **fields)
        self.rig.client().drain()
        assert self.rig.ids("dead") >= set(ids)
        return ids

    def let_the_server_take_them(self) -> None:
        """From now on the server believes that it is then."""
        self.clock[0] = LONG_AGO + timedelta(hours=1)

    def refused(self, state: State = "dead_letter", **where: Any) -> RefusedEvents:
        return RefusedEvents(self.rig.config(), state, Where(**where))


@pytest.fixture
def scene(rigs: Callable[..., Rig]) -> Scene:  # noqa: F811
    """A server of 2024."""
    clock = [datetime.now(UTC)]
    return Scene(rigs(now=lambda: clock[0]), clock)


@pytest.fixture
def parking(rigs: Callable[..., Rig]) -> Rig:  # noqa: F811
    """A queue whose server of 2022 knows one customer, c1: events of others are parked."""
    return rigs("L22", customers=["c1"])
