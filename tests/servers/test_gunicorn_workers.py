"""gunicorn with every other class of workers, under load: killed, recycled, reloaded, stopped."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from .figures import Figures
from .killing import Kills, kill_workers, wait_until_whole
from .kinds import WORKERS, Kind, gunicorn, tracking_at_import
from .load import Load
from .oracle import judge
from .running import Running
from .site import Site
from .waiting import wait_until
from .watch import Watch

GTHREAD = ("gthread", "--threads=3")
GEVENT = ("gevent",)
UVICORN = ("uvicorn_worker.UvicornWorker",)
EVERY_CLASS = [GTHREAD, GEVENT, UVICORN]

Start = Callable[[Kind], Running]
Report = Callable[[Figures], None]

every_class = pytest.mark.parametrize("worker_class", EVERY_CLASS, ids=lambda each: each[0])
with_and_without_preload = pytest.mark.parametrize("preload", [(), ("--preload",)], ids=["", "preload"])


def kind_of(worker_class: tuple[str, ...], *options: str) -> Kind:
    return gunicorn(*worker_class[1:], *options, worker_class=worker_class[0])


@every_class
@pytest.mark.parametrize("master", ["loads nothing", "loads the application", "tracks and leads"])
def test_no_event_is_lost_when_workers_are_killed(
    worker_class: tuple[str, ...], master: str, site: Site, start: Start, report: Report
) -> None:
    kind = kind_of(worker_class, *([] if master == "loads nothing" else ["--preload"]))
    if master == "tracks and leads":
        kind = tracking_at_import(kind)
    server = start(kind)
    with Watch(site, server) as watch, Load(server.port) as load:
        kills = kill_workers(site, server, load, workers=WORKERS, kills=6)
        server.signal(signal.SIGTERM)
        server.wait_until_ended()
    verdict = judge(site)
    report(Figures(kind.name, load.answered, kills, verdict))
    verdict.check()
    watch.check()


@pytest.mark.parametrize("worker_class", [("sync",), *EVERY_CLASS], ids=lambda each: each[0])
@with_and_without_preload
def test_no_event_is_lost_when_workers_are_recycled_and_the_server_reloads(
    worker_class: tuple[str, ...], preload: tuple[str, ...], site: Site, start: Start, report: Report
) -> None:
    kind = kind_of(worker_class, "--max-requests=60", "--max-requests-jitter=40", *preload)
    server = start(kind)
    with Load(server.port) as load:
        first = wait_until_whole(server, WORKERS)
        wait_until(lambda: not first & server.workers(), "every worker was recycled")
        server.signal(signal.SIGHUP)
        wait_until(lambda: "Hang up: Master" in site.log.read_text(), "the server reloads")
        load.wait_for_answers(200)
        server.signal(signal.SIGTERM)
        server.wait_until_ended()
    verdict = judge(site)
    report(Figures(kind.name, load.answered, Kills(), verdict))
    verdict.check()


def test_no_event_is_lost_when_views_hang_and_their_workers_are_aborted(
    site: Site, start: Start, report: Report
) -> None:
    kind = gunicorn("--timeout=2")
    server = start(kind)
    hanging: set[int] = set()
    with Load(server.port) as load:
        load.wait_for_answers(50)
        hanging = wait_until_whole(server, WORKERS)
        with Load(server.port, path="/hang"):
            wait_until(lambda: not hanging & server.workers(), "every worker was aborted")
        load.wait_for_answers(50)
    assert "WORKER TIMEOUT" in site.log.read_text()
    server.signal(signal.SIGTERM)
    server.wait_until_ended()
    verdict = judge(site)
    report(Figures(kind.name, load.answered, Kills(total=len(hanging)), verdict))
    verdict.check()
