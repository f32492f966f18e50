"""What only uWSGI does: mules, spoolers, cheap workers, reloads, and harakiri."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import pytest

from tests.waiting import wait_until

from .kinds import WORKERS, Kind, uwsgi
from .site import REPOSITORY, Site

pytestmark = [
    pytest.mark.servers,
    pytest.mark.skipif(not uwsgi().is_installed(), reason="pyuwsgi is not installed"),
]

TAIL = 10
APPLICATION = "tests.servers.apps.uwsgi_helpers"
MULE = str(Path(__file__).parent / "apps" / "mule.py")

with_and_without_threads = pytest.mark.parametrize("threads", [(), ("--enable-threads",)], ids=["", "threads"])


def with_helpers(*options: str) -> Kind:
    return uwsgi("--master", *options, application=APPLICATION)


@with_and_without_threads
@pytest.mark.parametrize("fork", [(), ("--lazy-apps",)], ids=["", "lazy-apps"])
def test_the_events_of_mules_arrive_also_of_one_that_is_killed(
    fork: tuple[str, ...], threads: tuple[str, ...], site: Site
) -> None:
    server = with_helpers(f"--mule={MULE}", f"--mule={MULE}", *fork, *threads).start(site)
    wait_until(lambda: server.get("/mule/3") and len(site.trackers()) == 2, "both mules have tracked")
    server.kill(site.trackers().pop())
    wait_until(lambda: server.get("/mule/3") and len(site.trackers()) == 3, "the one that replaces it has tracked")
    accepted = len(site.accepted())
    assert server.get(f"/mule/{TAIL}") is not None
    site.wait_until_accepted(accepted + TAIL)
    server.stop()
    site.check(at_least=9 + TAIL)


@with_and_without_threads
def test_the_events_of_spoolers_arrive(threads: tuple[str, ...], site: Site) -> None:
    spool = site.root / "spool"
    spool.mkdir()
    server = with_helpers(f"--spooler={spool}", "--spooler-frequency=1", *threads).start(site)
    for _ in range(3):
        assert server.get("/spool/3") is not None
    site.wait_until_accepted(9)
    assert server.get(f"/spool/{TAIL}") is not None
    site.wait_until_accepted(9 + TAIL)
    server.stop()
    site.check(at_least=9 + TAIL)


@pytest.mark.parametrize("fork", [(), ("--lazy-apps",)], ids=["", "lazy-apps"])
def test_no_event_is_lost_when_workers_are_recycled_and_the_server_reloads(fork: tuple[str, ...], site: Site) -> None:
    # A reload runs the interpreter's own program anew, which does not know the virtual environment that pip made.
    site.variables["PYTHONPATH"] = f"{REPOSITORY}:{sysconfig.get_path('purelib')}"
    server = uwsgi("--master", "--max-requests=20", "--min-worker-lifetime=0", *fork).start(site)
    server.reload_under_load(WORKERS)
    server.track(TAIL)
    server.stop()
    site.check(at_least=TAIL)


def test_no_event_is_lost_when_requests_take_too_long(site: Site) -> None:
    server = uwsgi("--master", "--harakiri=1").start(site)
    with server.load() as load:
        first = load.wait_for_others(set(), WORKERS)
        for _ in range(WORKERS):
            server.get("/hang")
        load.wait_for_others(first, 1)
    assert "HARAKIRI" in site.log.read_text()
    server.track(TAIL)
    server.stop()
    site.check(at_least=TAIL)
