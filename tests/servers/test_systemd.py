"""Units of a real systemd: what it does to the flusher when it stops them, and that nothing is lost by that."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

import pytest

from lotus_durable.flusher.stats import collect
from lotus_durable.queue.directory import QueueDirectory
from tests.ports import free_port
from tests.waiting import wait_until

from .kinds import ASGI, WORKERS, WSGI
from .running import Endpoint
from .site import Site
from .systemd import Systemd, why_not

TAIL = 10
pytestmark = [pytest.mark.servers, pytest.mark.skipif(bool(why_not()), reason=why_not())]

SERVERS = {
    "gunicorn": ("gunicorn", "--bind=127.0.0.1:{port}", "--no-control-socket", f"{WSGI}:application"),
    "uvicorn": ("uvicorn", "--host=127.0.0.1", "--port={port}", f"{ASGI}:application"),
}
"""Of the one the workers wait for their last events, of the other they do not."""


@pytest.fixture
def systemd(site: Site) -> Iterator[Systemd]:
    manager = Systemd(site)
    yield manager
    manager.end()


def add_server(systemd: Systemd, server: str, **service: str) -> Endpoint:
    port = free_port()
    module, *options = SERVERS[server]
    words = [each.format(port=port) for each in options]
    systemd.add("web", [sys.executable, "-m", module, f"--workers={WORKERS}", *words], **service)
    return Endpoint(port)


def start(systemd: Systemd, web: Endpoint) -> None:
    systemd.start("web")
    wait_until(web.serves, "it serves")


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize(
    ("mode", "flusher_goes_on"), [("control-group", False), ("mixed", False), ("process", True)]
)  # fmt: skip
def test_the_last_events_before_a_stop_arrive_and_what_was_left_after_the_next_start(
    mode: str, flusher_goes_on: bool, server: str, systemd: Systemd, site: Site
) -> None:
    web = add_server(systemd, server, KillMode=mode)
    start(systemd, web)
    for _ in range(10):
        web.track(3)
    site.wait_until_all_arrived()
    web.track(TAIL)
    systemd.stop("web")
    assert bool(site.flushers()) == flusher_goes_on
    start(systemd, web)
    site.check(at_least=30 + TAIL, may_repeat=True)

    site.lotus.pause()
    web.track(TAIL)
    systemd.stop("web")
    site.kill_flusher()
    site.lotus.resume()
    assert not site.accepted() <= site.lotus.times_received.keys()
    start(systemd, web)
    site.check(at_least=30 + 2 * TAIL, may_repeat=True)


def test_nothing_is_lost_when_everything_of_a_unit_is_killed_and_it_is_restarted(systemd: Systemd, site: Site) -> None:
    web = add_server(systemd, "gunicorn", Restart="always", RestartSec="0")
    start(systemd, web)
    for _ in range(3):
        web.track(TAIL)
        assert systemd.control("kill", "--signal=KILL", "web.service") == 0
        site.wait_until_all_arrived()  # nobody requests anything
        wait_until(web.serves, "it serves again")
    site.check(at_least=3 * TAIL, may_repeat=True)


def test_two_units_with_state_directories_have_a_queue_each(systemd: Systemd, site: Site) -> None:
    for name, directories in (("first", "first"), ("second", "third second")):  # systemd sorts them
        systemd.add(name, script(3), without=["LOTUS_QUEUE_DIR"], StateDirectory=directories, Type="oneshot")
        systemd.start(name)
    site.wait_until_all_arrived()
    for name in ("first", "second"):
        queue = QueueDirectory(systemd.state / name / "lotus")
        wait_until(lambda queue=queue: collect(queue).delivered == 3, "its three events are settled")  # type: ignore[misc]
    assert not (systemd.state / "third" / "lotus").exists()


def test_each_run_of_a_timer_s_service_delivers(systemd: Systemd, site: Site) -> None:
    systemd.add("job", script(3), Type="oneshot")
    for _ in range(3):
        systemd.start("job")
        assert site.flushers() == set(), "it ends with the unit"
    assert len(site.accepted()) == 9
    site.check(at_least=9, may_repeat=True)


def script(count: int) -> Sequence[str]:
    return [sys.executable, "-c", f'"from tests.servers.apps.tracking import track; track({count})"']
