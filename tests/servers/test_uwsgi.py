"""uWSGI, which forks in C and runs none of Python's hooks unless told so, under load, its workers killed."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable

import pytest

from .figures import Figures
from .inheritance import wait_until_nothing_is_inherited
from .killing import kill_workers
from .kinds import WORKERS, Kind, tracking_at_import, uwsgi
from .load import Load
from .oracle import judge, wait_until_everything_arrived
from .running import Running
from .site import Site
from .watch import Watch

FORKS_THE_APPLICATION = [(), ("--py-call-osafterfork",), ("--py-call-uwsgi-fork-hooks",)]
EVERY_WAY_TO_FORK = [*FORKS_THE_APPLICATION, ("--lazy-apps",), ("--lazy-apps", "--py-call-osafterfork")]

Start = Callable[[Kind], Running]
Run = Callable[..., Running]
Report = Callable[[Figures], None]

every_way_to_fork = pytest.mark.parametrize("fork", EVERY_WAY_TO_FORK, ids=lambda fork: " ".join(fork) or "default")


def kind_of(fork: tuple[str, ...], *options: str) -> Kind:
    """Return a uWSGI whose master has tracked before it forks, where it loads the application at all."""
    return uwsgi(*fork, *options) if "--lazy-apps" in fork else tracking_at_import(uwsgi(*fork, *options))


@every_way_to_fork
def test_with_threads_the_workers_upload_and_no_event_is_lost_when_they_are_killed(
    fork: tuple[str, ...], site: Site, start: Start, report: Report
) -> None:
    kind = kind_of(fork, "--enable-threads")
    server = start(kind)
    with Watch(site, server) as watch, Load(server.port) as load:
        kills = kill_workers(site, server, load, workers=WORKERS, kills=4)
        load.wait_for_answers(100)  # whatever they inherited, the workers drop it with their first event
        wait_until_nothing_is_inherited(site, server)
        server.signal(signal.SIGTERM)
        server.wait_until_ended()
    verdict = judge(site)
    report(Figures(kind.name, load.answered, kills, verdict))
    verdict.check()
    watch.check()


@every_way_to_fork
def test_without_threads_events_stay_on_disk_a_warning_says_what_to_do_and_a_flusher_delivers(
    fork: tuple[str, ...], site: Site, start: Start, run: Run, report: Report
) -> None:
    kind = kind_of(fork)
    server = start(kind)
    with Load(server.port) as load:
        kills = kill_workers(site, server, load, workers=WORKERS, kills=4, leads=False)
    assert "start it with --enable-threads, or run `lotus-durable flusher` beside it" in site.log.read_text()
    assert site.lotus.ids() == {}
    flusher = run([sys.executable, "-m", "lotus_durable", "flusher"])
    wait_until_everything_arrived(site)
    flusher.signal(signal.SIGTERM)
    assert flusher.wait_until_ended() == 0
    server.signal(signal.SIGTERM)
    server.wait_until_ended()
    verdict = judge(site)
    report(Figures(kind.name, load.answered, kills, verdict))
    verdict.check()
