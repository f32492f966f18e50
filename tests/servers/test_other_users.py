"""Root's masters whose workers are somebody else, and scripts that root or cron runs as somebody else."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lotus_durable.flusher.stats import collect
from tests.flusher.deployment import Deployment
from tests.ports import free_port
from tests.waiting import wait_until

from .kinds import WORKERS, WSGI
from .running import Running
from .site import REPOSITORY, Site

USER, NUMBER = "nobody", 65534
PYTHON = shutil.which("python3", path="/usr/local/bin:/usr/bin") or ""
TAIL = 10


def _is_the_same_python() -> bool:
    """Whether others may run a Python for which what is installed here was built."""
    if not PYTHON:
        return False
    said = subprocess.run([PYTHON, "-c", "import sys; print(*sys.version_info[:2])"], capture_output=True, check=True)
    return said.stdout.split() == [b"%d" % number for number in sys.version_info[:2]]


pytestmark = [
    pytest.mark.servers,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else"),
    pytest.mark.skipif(not _is_the_same_python(), reason="there is no Python of this version that others may run"),
]


@pytest.fixture
def application(site: Site) -> Path:
    """Copies of all that is imported, which everybody may read; the queue is the user's."""
    packages = Deployment(site.root / "application").site
    for name in ("gunicorn", "packaging"):
        [place] = getattr(importlib.util.find_spec(name), "submodule_search_locations")  # noqa: B009
        shutil.copytree(place, packages / name)
    shutil.copytree(REPOSITORY / "tests" / "servers" / "apps", packages / "tests" / "servers" / "apps")
    for path in (packages / "tests", *(packages / "tests").rglob("*")):
        path.chmod(path.stat().st_mode | (0o055 if path.is_dir() else 0o044))
    site.root.chmod(0o755)
    site.ledger.chmod(0o777)
    site.scratch.chmod(0o777)
    site.queue_dir.mkdir(mode=0o700)
    shutil.chown(site.queue_dir, NUMBER, NUMBER)
    site.variables.update({"PYTHONPATH": str(packages), "TEST_FOLDER": "/"})
    return packages


def start(site: Site, *options: str) -> Running:
    port = free_port()
    server = site.run(
        [
            PYTHON, "-m", "gunicorn", f"--bind=127.0.0.1:{port}", f"--workers={WORKERS}", f"--user={NUMBER}",
            f"--group={NUMBER}", "--worker-tmp-dir=/dev/shm", "--no-control-socket", *options, f"{WSGI}:application",
        ],
        port=port,
        prefix=(),
    )  # fmt: skip
    wait_until(server.serves, "it serves")
    return server


@pytest.mark.parametrize("preload", [(), ("--preload",)], ids=["", "preload"])
def test_the_events_of_unprivileged_workers_of_a_root_master_arrive_and_the_queue_stays_theirs(
    preload: tuple[str, ...], application: Path, site: Site
) -> None:
    del application
    server = start(site, *preload)
    assert list(site.queue_dir.iterdir()) == [] or not preload, "a master that is root touches nothing"
    with server.load() as load:
        killed = load.wait_for_others(set(), WORKERS).pop()
        server.kill(killed)
        load.wait_for_others({killed}, WORKERS)
    server.track(TAIL)
    server.stop()
    site.wait_until_all_arrived()
    wait_until(lambda: stats_as_the_user(site), "all to be settled")
    assert {path.stat().st_uid for path in site.queue_dir.rglob("*")} == {NUMBER}
    owners = {os.stat(f"/proc/{pid}").st_uid for pid in site.flushers()}
    assert owners == {NUMBER}
    site.give_queue_to(0)
    site.check(at_least=TAIL)


def stats_as_the_user(site: Site) -> bool:
    code = f"from pathlib import Path; from {collect.__module__} import collect; "
    code += "from lotus_durable.queue.directory import QueueDirectory; "
    code += f"print(collect(QueueDirectory(Path({str(site.queue_dir)!r}))).pending)"
    said = subprocess.run(
        [PYTHON, "-c", code],
        user=NUMBER,
        group=NUMBER,
        env=site.environment(),
        capture_output=True,
        check=True,
        cwd="/",
    )
    return said.stdout.split() == [b"0"]


@pytest.mark.parametrize("way", ["su", "sudo", "cron"])
def test_the_events_of_scripts_that_are_run_as_somebody_else_arrive(way: str, application: Path, site: Site) -> None:
    if shutil.which(way) is None and way != "cron":
        pytest.skip(f"{way} is not installed")
    script = application / "script.py"
    script.write_text("from tests.servers.apps.tracking import track\ntrack(3)\n")
    script.chmod(0o644)
    settings = " ".join(
        f"{name}={value}"
        for name, value in site.environment().items()
        if name.startswith(("LOTUS_", "TEST_", "PYTHONPATH"))
    )
    line = f"cd / && env {settings} {PYTHON} {script}"
    commands = {
        "su": ["su", "-s", "/bin/sh", USER, "-c", line],
        "sudo": ["sudo", "-u", USER, "/bin/sh", "-c", line],
        # What cron gives a job: next to no environment, no terminal, a session of its own.
        "cron": [
            "setpriv", f"--reuid={NUMBER}", f"--regid={NUMBER}", "--clear-groups", "env", "-i", "PATH=/usr/bin:/bin",
            f"HOME={site.scratch}", "SHELL=/bin/sh", f"LOGNAME={USER}", "/bin/sh", "-c", line,
        ],
    }  # fmt: skip
    for _ in range(3):
        assert site.run(commands[way], prefix=()).wait_until_ended() == 0
    assert len(site.accepted()) == 9
    site.wait_until_all_arrived()
    wait_until(lambda: stats_as_the_user(site), "all to be settled")
    assert {path.stat().st_uid for path in site.queue_dir.rglob("*")} == {NUMBER}
    site.give_queue_to(0)
    site.check(at_least=9)
