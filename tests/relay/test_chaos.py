"""The fleet's chaos at a size that fits into the tests. The long run is a command: see docs/reliability.md."""

from __future__ import annotations

from pathlib import Path

import pytest

from lotus_durable.testing import Faults, Slow
from tests.chaos.server import ServerProcess
from tests.rig import wait_until

from .broker import Cluster, why_not
from .chaos.command import tables
from .chaos.run import run
from .chaos.strikes import STRIKES
from .chaos.world import Plan, has_no_faults

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())
SLOW = ("relay stopped", "Lotus slow")


def test_a_server_that_is_away_ends_its_faults_when_it_is_back(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "served", "L22", api_key="key") as server:
        server.set_faults(Faults(script=[Slow(60.0)]))
        server.go_away(0.5)
        assert not has_no_faults(server)
        wait_until(lambda: has_no_faults(server), "the server to be back")


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
    assert len(tables(outcome)) == 2
