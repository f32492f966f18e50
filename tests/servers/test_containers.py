"""Containers: a process id namespace ends with its first process, and the flusher in it; the queue's disk goes on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence

import pytest

from lotus_durable.flusher.locks import is_held
from tests.flusher.seen import parent_of
from tests.ports import free_port
from tests.waiting import wait_until

from .kinds import ASGI, WORKERS
from .running import Running
from .site import REPOSITORY, Site, can_unshare

TAIL = 10
NAMESPACES = ("--user", "--map-user=1000", "--map-group=1000", "--pid", "--fork", "--mount-proc", "--kill-child=KILL")
TINI = shutil.which("tini")

pytestmark = [
    pytest.mark.servers,
    pytest.mark.skipif(not can_unshare(*NAMESPACES), reason="no process id namespace can be made here"),
]
with_and_without_init = pytest.mark.parametrize(
    "init",
    [
        pytest.param((), id="no init"),
        pytest.param(("tini", "--"), id="tini", marks=pytest.mark.skipif(TINI is None, reason="tini is not installed")),
    ],
)


def uvicorn(site: Site, init: Sequence[str]) -> Running:
    """Start a container with a server whose workers run no exit handlers."""
    port = free_port()
    command = [*init, sys.executable, "-m", "uvicorn", "--host=127.0.0.1", f"--port={port}", f"--workers={WORKERS}"]
    server = site.run([*command, f"{ASGI}:application"], port=port, prefix=("unshare", *NAMESPACES))
    wait_until(server.serves, "it serves")
    return server


def process_1(container: Running) -> int:
    return next(pid for pid in container.processes() if parent_of(pid) == container.pid)


def stop(container: Running) -> None:
    """Do what ``docker stop`` and Kubernetes do: SIGTERM to process 1, and wait for its end."""
    os.kill(process_1(container), 15)
    container.wait_until_ended()


@with_and_without_init
def test_what_a_stopped_container_leaves_on_a_disk_that_stays_is_sent_by_the_next_one(
    init: Sequence[str], site: Site
) -> None:
    container = uvicorn(site, init)
    for _ in range(10):
        container.track(3)
    container.track(TAIL)
    stop(container)
    assert site.flushers() == set()
    container = uvicorn(site, init)
    site.check(at_least=30 + TAIL, may_repeat=True)

    site.lotus.pause()
    container.track(TAIL)
    container.crash()  # the grace is over, or memory
    site.lotus.resume()
    assert not site.accepted() <= site.lotus.times_received.keys()
    uvicorn(site, init)
    site.check(at_least=30 + 2 * TAIL, may_repeat=True)


@with_and_without_init
def test_a_hook_before_the_stop_that_drains_leaves_nothing(init: Sequence[str], site: Site) -> None:
    """As Kubernetes' preStop does: in the container, while the application still tracks."""
    container = uvicorn(site, init)
    with container.load() as load:
        load.wait_for_answers(20)
        inside = f"nsenter --target={process_1(container)} --user --preserve-credentials --pid --mount".split()
        drain = [sys.executable, "-m", "lotus_durable", "drain", "--timeout=30", f"--queue-dir={site.queue_dir}"]
        accepted = site.accepted()
        done = subprocess.run([*inside, *drain], check=False, timeout=60, cwd=REPOSITORY, env=site.environment())
        assert done.returncode == 0
        assert accepted <= site.lotus.times_received.keys()
    stop(container)
    uvicorn(site, init)
    site.check(at_least=20, may_repeat=True)


def test_a_sidecar_sends_what_a_killed_container_left_and_the_rest_when_it_is_stopped(site: Site) -> None:
    """Two containers, one volume: no process sees one of the other's."""
    site.variables["LOTUS_FLUSHER"] = "external"
    service = [sys.executable, "-m", "lotus_durable", "flusher", f"--queue-dir={site.queue_dir}"]
    sidecar = site.run(service, prefix=("unshare", *NAMESPACES))
    container = uvicorn(site, ())
    container.track(TAIL)
    container.crash()
    site.check(at_least=TAIL)

    container = uvicorn(site, ())
    container.track(TAIL)
    container.crash()
    stop(sidecar)
    site.check(at_least=2 * TAIL, may_repeat=True)
    assert not is_held(str(site.directory.flusher_lock))


def test_what_a_job_left_whose_processes_its_runner_killed_by_their_environment_is_sent_by_the_next_job(
    site: Site,
) -> None:
    """Runners of CI do so: every process that has a variable of the job is killed at its end, whoever its parent is."""
    job = [sys.executable, "-c", "from tests.servers.apps.tracking import track; track(10); print('done', flush=True)"]
    site.lotus.pause()
    first = site.run(job)
    site.wait_until_accepted(TAIL)
    assert wait_until(site.flushers, "a flusher")
    first.crash()
    assert site.flushers() == set()
    site.lotus.resume()
    assert site.run(job).wait_until_ended() == 0
    site.check(at_least=2 * TAIL, may_repeat=True)
