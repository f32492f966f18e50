"""Under a manager that ends whole groups, and in the scripts that cron and root run as somebody else."""

from __future__ import annotations

import importlib.util
import sys

import pytest

from tests.ports import free_port
from tests.waiting import wait_until

from .kinds import WORKERS, WSGI
from .running import Running
from .site import Site

pytestmark = pytest.mark.servers

TAIL = 10
SUPERVISORD = """
[supervisord]
nodaemon=true
logfile={root}/supervisord.log
pidfile={root}/supervisord.pid
childlogdir={root}

[program:web]
command={python} -m gunicorn --bind=127.0.0.1:{port} --workers={workers} --no-control-socket {target}
directory={directory}
stopsignal={stop}
stopasgroup={as_group}
killasgroup={as_group}
stdout_logfile={root}/web.log
redirect_stderr=true
"""


@pytest.mark.skipif(importlib.util.find_spec("supervisor") is None, reason="supervisor is not installed")
@pytest.mark.parametrize("stop", ["TERM", "KILL"])
def test_the_last_events_of_a_group_that_supervisord_ends_arrive_and_what_was_left_after_a_restart(
    stop: str, site: Site
) -> None:
    server = start(site, stop)
    for _ in range(10):
        server.track(3)
    server.track(TAIL)
    server.stop()
    site.check(at_least=30 + TAIL)

    site.lotus.pause()
    server = start(site, stop)
    server.track(TAIL)
    server.crash()
    site.kill_flusher()
    site.lotus.resume()
    assert not site.accepted() <= site.lotus.times_received.keys()
    start(site, stop)
    site.check(at_least=30 + 2 * TAIL)


def start(site: Site, stop: str) -> Running:
    port = free_port()
    configuration = site.root / "supervisord.conf"
    configuration.write_text(
        SUPERVISORD.format(
            root=site.root,
            python=sys.executable,
            port=port,
            workers=WORKERS,
            target=f"{WSGI}:application",
            directory=site.environment()["TEST_FOLDER"],
            stop=stop,
            as_group="true",
        )
    )
    server = site.run([sys.executable, "-m", "supervisor.supervisord", "-c", str(configuration)], port=port)
    wait_until(server.serves, "gunicorn serves")
    return server
