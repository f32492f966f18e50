"""gunicorn with sync workers, under load, its processes killed."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from .figures import Figures
from .inheritance import wait_until_nothing_is_inherited
from .killing import Kills, kill_workers, wait_for_leader, wait_until_whole
from .kinds import WORKERS, Kind, gunicorn, tracking_at_import
from .load import Load
from .oracle import judge, wait_until_everything_arrived
from .processes import connections
from .running import Running
from .site import Site
from .waiting import wait_until
from .watch import Watch

SYNC = gunicorn()
PRELOADED = gunicorn("--preload")
MASTER_LEADS = tracking_at_import(PRELOADED)
"""The hard case: the master has a thread, a segment and a connection when it forks."""

Start = Callable[[Kind], Running]
Report = Callable[[Figures], None]

every_kind = pytest.mark.parametrize("kind", [SYNC, PRELOADED, MASTER_LEADS], ids=lambda kind: kind.name)


@every_kind
def test_no_event_is_lost_when_workers_are_killed(kind: Kind, site: Site, start: Start, report: Report) -> None:
    server = start(kind)
    with Watch(site, server) as watch, Load(server.port) as load:
        kills = kill_workers(site, server, load, workers=WORKERS, kills=20)
        server.signal(signal.SIGTERM)
        server.wait_until_ended()
    verdict = judge(site)
    report(Figures(kind.name, load.answered, kills, verdict))
    verdict.check()
    watch.check()


@every_kind
def test_no_event_is_lost_when_the_master_is_killed(kind: Kind, site: Site, start: Start, report: Report) -> None:
    server = start(kind)
    with Load(server.port) as load:
        load.wait_for_answers(200)
        server.kill(server.pid)
        server.wait_until_ended()
    server = start(kind)
    with Load(server.port) as second_load:
        second_load.wait_for_answers(200)
    # Nobody drains: the workers deliver what the dead ones left behind.
    wait_until_everything_arrived(site)
    server.signal(signal.SIGTERM)
    server.wait_until_ended()
    verdict = judge(site)
    report(Figures(f"{kind.name}, master killed", load.answered, Kills(total=1), verdict))
    verdict.check()


def test_workers_keep_nothing_that_their_master_had_open(site: Site, start: Start) -> None:
    server = start(MASTER_LEADS)
    leader = wait_for_leader(site, server)
    assert leader == server.pid, "this test needs a master that forks while it leads"
    wait_until(lambda: connections({leader}, site.lotus_port), "the master is connected to Lotus")
    with Load(server.port) as load:
        for victim in wait_until_whole(server, WORKERS):
            load.wait_for_answers(20)
            server.kill(victim)  # its successor is forked while the master is connected, and uploads
        wait_until_whole(server, WORKERS)
    wait_until_nothing_is_inherited(site, server)
