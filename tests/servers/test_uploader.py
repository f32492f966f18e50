"""``flusher="process"`` in real servers: the uploader, who started it, and other workers are killed under load."""

from __future__ import annotations

import contextlib
import random
import signal
import time
from collections.abc import Callable

import pytest

from .figures import Figures
from .inheritance import wait_until_nothing_is_inherited
from .killing import Kills, wait_for_leader, wait_until_whole
from .kinds import WORKERS, Kind, gunicorn, tracking_at_import, uwsgi
from .load import Load
from .oracle import judge, wait_until_everything_arrived
from .processes import in_session, parent_of
from .running import Running
from .site import Site
from .waiting import wait_until
from .watch import Watch

KILLS = 9
MASTER_STARTS_IT = tracking_at_import(gunicorn("--preload"))
"""The hard case: the master has a child that is no worker, and forks while it holds that child's pipe."""

Start = Callable[[Kind], Running]
Report = Callable[[Figures], None]

every_kind = pytest.mark.parametrize(
    "kind",
    [
        kind.having("uploader", LOTUS_FLUSHER="process")
        for kind in (
            gunicorn(),
            MASTER_STARTS_IT,
            gunicorn("--threads=4", worker_class="gthread"),
            gunicorn(worker_class="gevent"),
            uwsgi(),
            tracking_at_import(uwsgi()),
            uwsgi("--lazy-apps"),
            uwsgi("--enable-threads"),
        )
    ],
    ids=lambda kind: kind.name,
)


@every_kind
def test_no_event_is_lost_and_no_uploader_left_when_anybody_is_killed(
    kind: Kind, site: Site, start: Start, report: Report
) -> None:
    server = start(kind)
    with Watch(site, server) as watch, Load(server.port) as load:
        kills = kill_in_turn(site, server, load)
        wait_until_nothing_is_inherited(site, server)
        wait_until(lambda: len(server.uploaders()) == 1, "one uploader is left")
        server.signal(signal.SIGTERM)
        server.wait_until_ended()
    verdict = judge(site)
    report(Figures(kind.name, load.answered, kills, verdict))
    verdict.check()
    watch.check()


@every_kind
def test_the_uploader_ends_when_the_whole_server_is_killed(kind: Kind, site: Site, start: Start) -> None:
    server = start(kind)
    with Load(server.port) as load:
        load.wait_for_answers(100)
        wait_for_leader(site, server)
        uploader = server.uploaders()
        workers = server.workers()
        server.kill(server.pid)  # first, or it would start others
        for pid in workers:
            # Some end by themselves when their master is gone.
            with contextlib.suppress(AssertionError, ProcessLookupError):
                server.kill(pid)
        wait_until(lambda: not server.processes() & uploader, "the uploader ended")
        server.wait_until_ended()
    server = start(kind)
    with Load(server.port) as load:
        load.wait_for_answers(50)
    wait_until_everything_arrived(site)
    server.signal(signal.SIGTERM)
    server.wait_until_ended()
    judge(site).check()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_what_the_terminal_sends_to_all_ends_the_uploader_after_its_server(
    number: signal.Signals, site: Site, start: Start
) -> None:
    server = start(gunicorn().having("uploader", LOTUS_FLUSHER="process"))
    with Load(server.port) as load:
        load.wait_for_answers(50)
        uploader = wait_for_leader(site, server)
        server.signal_all(number)
        if number == signal.SIGHUP:  # gunicorn's word for new workers
            wait_for_leader(site, server, other_than=uploader)
            load.wait_for_answers(50)
            server.signal(signal.SIGTERM)
        server.wait_until_ended()
    assert not server.uploaders()
    verdict = judge(site)
    verdict.check()
    assert verdict.sent_again == 0


def kill_in_turn(site: Site, server: Running, load: Load) -> Kills:
    """SIGKILL the uploader, who started it, and a worker beside it, again and again."""
    draw = random.Random(0)
    done = Kills()
    while done.total < KILLS:
        workers = wait_until_whole(server, WORKERS)
        uploader = wait_for_leader(site, server)
        starter = parent_of(uploader)
        others = sorted(workers - {starter})
        # The master of a server that is killed takes its server along: that is another test.
        beside = draw.choice(others)
        victim = (uploader, beside if starter == server.pid else starter, beside)[done.total % 3]
        server.kill(victim)
        killed = time.monotonic()
        done.total += 1
        if victim in (uploader, starter):
            wait_for_leader(site, server, other_than=uploader)
            done.takeovers.append(time.monotonic() - killed)
            wait_until(lambda old=uploader: old not in server.processes(), "the old uploader is gone")  # type: ignore[misc]
        load.wait_for_answers(20)
    wait_until_whole(server, WORKERS)
    wait_until(lambda: not [seen for seen in in_session(server.pid) if seen.is_zombie], "no zombie is left")
    return done
