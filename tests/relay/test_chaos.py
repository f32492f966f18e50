"""The fleet's chaos at a size that fits into the tests. The long run is a command: see docs/reliability.md."""

from __future__ import annotations

from pathlib import Path

import pytest

from .broker import Cluster, why_not
from .chaos.command import tables
from .chaos.run import run
from .chaos.strikes import STRIKES
from .chaos.world import Plan

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())
SLOW = ("relay stopped", "Lotus slow")


@pytest.mark.timeout(400)
def test_a_fleet_whose_hosts_and_relays_are_killed_loses_nothing_and_never_sends_two_requests_at_once(
    tmp_path: Path, broker: Cluster, queue_name: str
) -> None:
    plan = Plan(seed=3, kills=6, events=200, seconds=150, workers=1, nodes=1, rate=60.0, without=SLOW)
    outcome = run(plan, tmp_path / "run", broker, queue_name)
    assert outcome.problems == []
    assert outcome.kills >= 6
    assert outcome.comparison.most_at_once == 1
    assert outcome.comparison.acknowledged >= 200


@pytest.mark.servers
@pytest.mark.timeout(600)
def test_a_fleet_under_every_strike_there_is_loses_nothing(tmp_path: Path) -> None:
    plan = Plan(seed=4, kills=20, events=3_000, seconds=90, rate=200.0)
    outcome = run(plan, tmp_path / "run", say=print)
    assert outcome.problems == []
    assert set(outcome.struck) <= set(STRIKES)
    assert outcome.struck["flusher killed"]
    assert len(tables(outcome)) == 2
