"""gunicorn with ``lotus_durable.contrib.gunicorn``: a flusher under the arbiter's care."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from lotus_durable.queue.directory import QueueDirectory

from .figures import Figures
from .killing import Kills
from .kinds import WORKERS, Kind, gunicorn, tracking_at_import
from .load import Load
from .oracle import judge, wait_until_everything_arrived
from .processes import living
from .running import Running
from .site import Site, free_port
from .waiting import wait_until

CONFIG = "--config=python:lotus_durable.contrib.gunicorn"
WITH_FLUSHER = gunicorn(CONFIG).having("exit", LOTUS_EXIT_TIMEOUT="30")
MASTER_TRACKS = tracking_at_import(gunicorn("--preload", CONFIG).having("exit", LOTUS_EXIT_TIMEOUT="30"))

Start = Callable[[Kind], Running]
Report = Callable[[Figures], None]


def flusher(site: Site) -> int:
    """Wait until a flusher leads; return its pid."""

    def pid() -> int:
        try:
            words = QueueDirectory(site.queue_dir).flusher_lock.read_text().split()
        except FileNotFoundError:
            return 0
        leader = site.leader()
        return leader if leader is not None and words[1:2] == [str(leader)] and _lives(leader) else 0

    return wait_until(pid, "a flusher leads")


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def flushers(server: Running) -> set[int]:
    """Return the pids of its processes that are flushers."""
    return {pid for pid in server.processes() if b"--until-eof" in Path(f"/proc/{pid}/cmdline").read_bytes()}


@pytest.mark.parametrize("kind", [WITH_FLUSHER, MASTER_TRACKS], ids=lambda kind: kind.name)
def test_flushers_and_workers_are_killed_and_replaced_and_the_end_drains(
    kind: Kind, site: Site, start: Start, report: Report
) -> None:
    server = start(kind)
    kills = Kills()
    with Load(server.port, pause=0.03) as load:
        for _ in range(3):
            victim = flusher(site)
            worker = min(server.workers() - flushers(server))
            for pid in (victim, worker):
                server.kill(pid)
                kills.total += 1
            load.wait_for_answers(50)
            wait_until(lambda old=victim: flusher(site) != old, "another flusher leads")  # type: ignore[misc]
        wait_until(lambda: len(server.workers()) == WORKERS + 1 and not server.zombies(), "it is whole again")
        assert flushers(server) == {flusher(site)}
    server.signal(signal.SIGTERM)
    assert server.wait_until_ended() == 0
    # Nobody but the arbiter drained.
    wait_until_everything_arrived(site)
    verdict = judge(site)
    report(Figures(kind.name.replace("--config=python:lotus_durable.", ""), load.answered, kills, verdict))
    verdict.check()


def test_it_ends_when_the_arbiter_is_killed_and_the_next_one_delivers_the_rest(site: Site, start: Start) -> None:
    server = start(WITH_FLUSHER)
    with Load(server.port, pause=0.03) as load:
        flusher(site)
        load.wait_for_answers(50)
        server.kill(server.pid)
        server.wait_until_ended()  # the flusher too
    server = start(WITH_FLUSHER)
    wait_until_everything_arrived(site)
    assert flushers(server) == {flusher(site)}
    server.signal(signal.SIGTERM)
    server.wait_until_ended()
    judge(site).check()


def test_a_reload_rotates_the_key_and_keeps_the_flusher(site: Site, run: Callable[..., Running]) -> None:
    key = site.root / "key"
    key.write_text(site.lotus.api_key)
    port = free_port()
    environment = {"LOTUS_API_KEY": "", "LOTUS_API_KEY_FILE": str(key), "LOTUS_PROBE_INTERVAL": "600"}
    server = run(WITH_FLUSHER.command(port), environment, port=port)
    server.wait_until_it_serves()
    with Load(server.port, pause=0.03) as load:
        before = flusher(site)
        load.wait_for_answers(50)
        site.lotus.rotate_key("the-new-key")
        wait_until(lambda: "delivery is blocked" in site.log.read_text(), "the old key is refused")
        key.write_text("the-new-key")
        server.signal(signal.SIGHUP)
        wait_until(lambda: "changed: api_key" in site.log.read_text(), "the flusher has read the new key")
        load.wait_for_answers(50)
        assert flushers(server) == {before}
    wait_until_everything_arrived(site)
    server.signal(signal.SIGTERM)
    server.wait_until_ended()


def test_an_upgrade_without_interruption_has_one_flusher_that_works(site: Site, start: Start) -> None:
    server = start(WITH_FLUSHER)
    with Load(server.port, pause=0.03) as load:
        first = flusher(site)
        load.wait_for_answers(50)
        server.signal(signal.SIGUSR2)
        wait_until(lambda: "waiting for another flusher" in site.log.read_text(), "the second flusher stands by")
        load.wait_for_answers(50)
        assert flusher(site) == first
        server.signal(signal.SIGTERM)
        wait_until(lambda: not _lives(server.pid), "the first arbiter ended")
        second = wait_until(lambda: (pid := flusher(site)) != first and pid, "the second flusher leads")
        load.wait_for_answers(50)
        assert flushers(server) == {second}
    wait_until_everything_arrived(site)
    [arbiter] = [pid for pid in living(server.pid) if _parent(pid) not in living(server.pid)]
    os.kill(arbiter, signal.SIGTERM)
    server.wait_until_ended()
    judge(site).check()


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
