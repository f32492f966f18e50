"""What only gunicorn does: workers that are recycled or time out, reloads, upgrades, dirty workers."""

from __future__ import annotations

import signal

import pytest

from tests.waiting import wait_until

from .kinds import WORKERS, gunicorn
from .site import Site

pytestmark = pytest.mark.servers

TAIL = 10
DIRTY = "tests.servers.apps.dirty"


@pytest.mark.parametrize("preload", [(), ("--preload",)], ids=["", "preload"])
@pytest.mark.parametrize("worker_class", ["sync", "gthread", "gevent", "uvicorn_worker.UvicornWorker"])
def test_no_event_is_lost_when_workers_are_recycled_and_the_server_reloads(
    worker_class: str, preload: tuple[str, ...], site: Site
) -> None:
    # A gevent worker that has just begun may miss SIGTERM, also of an application without us: it is killed then.
    kind = gunicorn(worker_class, "--max-requests=20", "--max-requests-jitter=10", "--graceful-timeout=5", *preload)
    server = kind.start(site)
    server.reload_under_load(WORKERS)
    server.track(TAIL)
    server.stop()
    site.check(at_least=TAIL)


def test_no_event_is_lost_when_views_hang_and_their_workers_are_aborted(site: Site) -> None:
    server = gunicorn("sync", "--timeout=2").start(site)
    with server.load() as load:
        first = load.wait_for_others(set(), WORKERS)
        for _ in range(WORKERS):
            server.get("/hang")
        load.wait_for_others(first, WORKERS)
    assert "WORKER TIMEOUT" in site.log.read_text()
    server.track(TAIL)
    server.stop()
    site.check(at_least=TAIL)


def test_the_events_of_dirty_workers_arrive_also_those_of_their_last_call(site: Site) -> None:
    kind = gunicorn("sync", f"--dirty-app={DIRTY}:Tracking", "--dirty-workers=2", application=DIRTY)
    server = kind.start(site)
    with server.load() as load:
        killed = next(iter(load.wait_for_others(set(), 1)))
        server.kill(killed)
        load.wait_for_others({killed}, 2)
    accepted = len(site.accepted())
    server.track(TAIL)
    server.stop()
    site.check(at_least=accepted + TAIL + 2 * TAIL)  # each of the two workers tracks at its end


def test_no_event_is_lost_while_a_new_master_takes_over_from_the_old_one(site: Site) -> None:
    pidfile = site.root / "pid"
    server = gunicorn("sync", f"--pid={pidfile}").start(site)
    with server.load() as load:
        first = load.wait_for_others(set(), WORKERS)
        server.send(signal.SIGUSR2)
        new = site.root / "pid.2"
        wait_until(lambda: new.exists() and new.read_text().strip(), "the new master has begun")
        load.wait_for_others(first, WORKERS)
        server.send(signal.SIGTERM)
        wait_until(lambda: not first & server.processes(), "the old workers have ended")
        load.wait_for_answers(20)
    server.track(TAIL)
    for pid in server.processes():
        server.kill(pid)
    site.check(at_least=TAIL)


def test_with_settings_in_the_module_the_first_call_after_a_restart_sends_what_was_left(site: Site) -> None:
    given = site.environment()
    for name in ("API_KEY", "HOST", "QUEUE_DIR"):
        site.variables |= {f"TEST_{name}": given[f"LOTUS_{name}"], f"LOTUS_{name}": ""}
    kind = gunicorn("sync", application="tests.servers.apps.settings_in_the_module")
    server = kind.start(site)
    server.track(3)
    site.wait_until_all_arrived()
    site.lotus.pause()
    server.track(TAIL)
    server.crash()
    site.kill_flusher()
    site.lotus.resume()
    assert not site.accepted() <= site.lotus.times_received.keys()
    server = kind.start(site)
    assert site.flushers() == set()
    server.track(1)
    site.check(at_least=3 + TAIL + 1, may_repeat=True)
