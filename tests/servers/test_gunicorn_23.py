"""gunicorn 23 as process 1 of a container, to which every flusher falls as a child.

It looks at the exit status of whatever ends among its children, and takes 3 and 4 for its own workers': then the whole
site goes down.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.flusher.seen import zombies_of
from tests.ports import free_port
from tests.waiting import wait_until

from .apps.tracking import IDLE
from .kinds import WORKERS, WSGI
from .running import Running
from .site import REPOSITORY, Site, can_unshare

NAMESPACES = ("--user", "--map-user=1000", "--map-group=1000", "--pid", "--fork", "--mount-proc", "--kill-child")

pytestmark = [
    pytest.mark.servers,
    pytest.mark.xdist_group("gunicorn 23"),  # it is installed once
    pytest.mark.skipif(not can_unshare(*NAMESPACES), reason="no process id namespace can be made here"),
]


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with this older gunicorn: an environment has one only."""
    folder = tmp_path_factory.mktemp("gunicorn23")
    command = [
        sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), "gunicorn==23.0.0",
    ]  # fmt: skip
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=100)
    if done.returncode:
        pytest.skip(f"gunicorn 23 cannot be installed here: {done.stderr}")
    return folder


@pytest.fixture
def server(packages: Path, site: Site) -> Running:
    """The server, as process 1; two threads request of it meanwhile."""
    port = free_port()
    site.variables.update({"PYTHONPATH": f"{packages}:{REPOSITORY}", IDLE: "1"})
    server = site.run(
        [
            sys.executable, "-m", "gunicorn", f"--bind=127.0.0.1:{port}", f"--workers={WORKERS}",
            "--worker-tmp-dir=/dev/shm", f"{WSGI}:application",
        ],
        port=port,
        prefix=("unshare", *NAMESPACES),
    )  # fmt: skip
    wait_until(server.serves, "it serves")
    assert "Starting gunicorn 23." in site.log.read_text()
    return server


def end_by_itself(site: Site) -> None:
    del site  # there is nothing to do for a second


def stop(site: Site) -> None:
    command = [sys.executable, "-m", "lotus_durable", "stop", "--queue-dir", str(site.queue_dir)]
    subprocess.run(command, check=True, timeout=60, cwd=REPOSITORY)


def terminate(site: Site) -> None:
    for pid in site.flushers():
        os.kill(pid, signal.SIGTERM)


def kill(site: Site) -> None:
    site.kill_flusher()


def make_way(site: Site) -> None:
    """A program that began later and flushes in another way."""
    environment = {**site.environment(), "LOTUS_FLUSH_INTERVAL": "0.4"}
    code = "from tests.servers.apps.tracking import track; track()"
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=60, cwd=REPOSITORY)


@pytest.mark.parametrize("end", [end_by_itself, stop, terminate, kill, make_way])
def test_the_site_stays_up_whatever_ends_the_flusher_and_no_zombie_stays(
    end: Callable[[Site], None], site: Site, server: Running
) -> None:
    for _ in range(2):
        end_a_flusher(site, server, end)
    flusher_of(site, server)
    server.track(10)
    site.check(at_least=18, may_repeat=True)


def end_a_flusher(site: Site, server: Running, end: Callable[[Site], None]) -> None:
    flusher = flusher_of(site, server)
    server.track(3)
    site.wait_until_all_arrived()
    workers, one = all_workers(server), parent_of(flusher)
    end(site)
    wait_until(lambda: flusher not in site.flushers(), "it to end")
    assert answers(server) <= workers, "workers were replaced"
    site.kill_flusher()  # the one that it made way for lives elsewhere

    def is_reaped() -> bool:
        server.track(1)
        return not zombies_of(one)

    wait_until(is_reaped, "it to be reaped")
    assert answers(server) <= workers, "workers were replaced"


def all_workers(server: Running) -> set[int | None]:
    """Wait until every worker has answered; their numbers are those of the container."""
    found: set[int | None] = set()

    def have_answered() -> bool:
        found.update(answers(server))
        return len(found) == WORKERS

    wait_until(have_answered, "every worker answers")
    return found


def answers(server: Running) -> set[int | None]:
    """Return who answers now; None if a request fails."""
    return {server.get("/") for _ in range(20)}


def flusher_of(site: Site, server: Running) -> int:
    """Return the flusher inside the container; while there is none, requests go on as they do on a site."""

    def look() -> int:
        server.track(1)
        return next((pid for pid in site.flushers() if parent_of(pid) > 1), 0)

    return wait_until(look, "a flusher")


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
