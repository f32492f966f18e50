"""gunicorn with a root master, and workers of a user that is nobody."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lotus_durable.testing import FakeLotusProcess

from .figures import Figures
from .killing import Kills, kill_workers
from .kinds import WORKERS, Kind, gunicorn, tracking_at_import
from .load import Load
from .oracle import has_everything, judge, wait_until_everything_arrived
from .running import Running
from .site import Site

USER = "nobody"
UNPRIVILEGED = gunicorn("--preload", f"--user={USER}", "--config=python:tests.servers.apps.gunicorn_imports")

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give its workers to somebody else")

Start = Callable[[Kind], Running]
Report = Callable[[Figures], None]


@pytest.fixture
def site() -> Iterator[Site]:
    """A site that other users can reach; pytest's own folders are for one user only."""
    root = Path(tempfile.mkdtemp(prefix="lotus_durable-test-"))
    try:
        root.chmod(0o755)
        with FakeLotusProcess("L24") as lotus:
            site = Site(root, lotus)
            site.prepare()
            yield site
    finally:
        shutil.rmtree(root)


def give(queue_dir: Path, user: str) -> None:
    """Change the owner of a queue directory and of all that is in it."""
    owner = pwd.getpwnam(user)
    for path in [queue_dir, *queue_dir.rglob("*")]:
        os.chown(path, owner.pw_uid, owner.pw_gid)


def test_workers_of_another_user_share_a_queue_of_theirs(site: Site, start: Start, report: Report) -> None:
    site.queue_dir.mkdir(mode=0o700)
    give(site.queue_dir, USER)
    server = start(UNPRIVILEGED)
    with Load(server.port) as load:
        kills = kill_workers(site, server, load, workers=WORKERS, kills=3)
        server.signal(signal.SIGTERM)
        server.wait_until_ended()
    owners = {path.owner() for path in site.queue_dir.rglob("*")}
    assert owners == {USER}
    give(site.queue_dir, "root")  # the oracle is root
    verdict = judge(site)
    report(Figures(UNPRIVILEGED.name, load.answered, kills, verdict))
    verdict.check()


def test_workers_that_may_not_write_to_the_queue_of_their_master_say_so_and_keep_events_until_they_may(
    site: Site, start: Start, report: Report
) -> None:
    kind = tracking_at_import(UNPRIVILEGED)  # as root, so the queue is root's
    server = start(kind)
    with Load(server.port, threads=2) as load:
        load.wait_for_answers(100)
    assert load.failed == 0, "track_event failed"
    assert f"{site.queue_dir} takes no writes (EACCES" in site.log.read_text()
    assert not has_everything(site), "this test needs workers that cannot write"
    give(site.queue_dir, USER)
    wait_until_everything_arrived(site)
    server.signal(signal.SIGTERM)
    server.wait_until_ended()
    give(site.queue_dir, "root")
    verdict = judge(site)
    report(Figures(f"{kind.name}, not allowed at first", load.answered, Kills(), verdict))
    verdict.check()


def test_workers_whose_queue_belongs_to_another_user_are_told_what_to_do_and_keep_events_until_it_is_done(
    site: Site, start: Start, report: Report
) -> None:
    site.queue_dir.mkdir(mode=0o755)  # root's
    server = start(UNPRIVILEGED)
    with Load(server.port, threads=2) as load:
        load.wait_for_answers(100)
    assert load.failed == 0, "track_event failed"
    log = site.log.read_text()
    uid = pwd.getpwnam(USER).pw_uid
    assert f"{site.queue_dir} belongs to user 0, this process runs as user {uid}: run it as the owner" in log
    assert "takes no writes" in log
    give(site.queue_dir, USER)
    wait_until_everything_arrived(site)
    server.signal(signal.SIGTERM)
    server.wait_until_ended()
    give(site.queue_dir, "root")
    verdict = judge(site)
    report(Figures(f"{UNPRIVILEGED.name}, another user's queue at first", load.answered, Kills(), verdict))
    verdict.check()
