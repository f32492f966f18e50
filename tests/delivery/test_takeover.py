"""Any process may die at any instruction; another takes over. Real processes, real SIGKILL, the server outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.heartbeat import read_heartbeat
from lotus_durable.testing import Delay, FakeLotusProcess, Faults, Reset, Status
from tests.rig import wait_until
from tests.scripts import ROOT, command, environment, lines


@pytest.fixture
def server() -> Iterator[FakeLotusProcess]:
    with FakeLotusProcess("L24") as running:
        yield running


def fight(tmp_path: Path, server: FakeLotusProcess, *, workers: int, kills: int) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "tests.delivery.arena", str(tmp_path / "queue"), server.host, str(workers), str(kills)],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
        cwd=ROOT,
        env=environment(),
    )
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["complete"]
    assert not told["overlaps"], "two processes had a request in flight at the same time"
    received = server.ids()
    assert set(told["ids"]) <= set(received), "an accepted event is lost"
    # A killed worker may have accepted one event more than it could write down.
    assert len(told["ids"]) <= told["accepted"] <= len(told["ids"]) + kills
    assert told["delivered"] == told["accepted"] == len(received)


def test_the_leader_is_killed_sixty_times_and_nothing_is_lost(tmp_path: Path, server: FakeLotusProcess) -> None:
    fight(tmp_path, server, workers=8, kills=60)


def test_the_leader_is_killed_in_the_middle_of_requests_and_outages_and_nothing_is_lost(
    tmp_path: Path, server: FakeLotusProcess
) -> None:
    server.set_faults(Faults(rates={Delay(0.05): 0.5, Reset("after_storing"): 0.1, Status(503, stored=True): 0.1}))
    fight(tmp_path, server, workers=4, kills=20)


def leader_pid(queue_dir: Path) -> int | None:
    heartbeat = read_heartbeat(QueueDirectory(queue_dir))
    return None if heartbeat is None else heartbeat.pid


@pytest.mark.parametrize("fork", ["os.fork", "fork_in_c"])
def test_another_takes_over_while_children_of_the_dead_leader_live(
    tmp_path: Path, server: FakeLotusProcess, fork: str
) -> None:
    queue_dir = tmp_path / "queue"
    # A child that came without hooks keeps the lock until it uses the library; so it does.
    leader = f"""
        client = be_quiet()
        track(client, 5)
        assert client.drain(20).complete and leads(client)
        if {fork}() == 0:
            {"track(client)" if fork != "os.fork" else "pass"}
            say("child", os.getpid())
            time.sleep(60)
            os._exit(0)
        say("leader", os.getpid())
        time.sleep(60)
    """
    follower = """
        client = make()
        wait_until(lambda: not sys.stdin.closed and sys.stdin.readline())
        track(client, 5)
        assert client.drain(20).complete
        client.release(5)
    """
    options = {"stdout": subprocess.PIPE, "stdin": subprocess.PIPE, "text": True, "env": environment()}
    with (
        subprocess.Popen(command(leader, queue_dir, server.host), **options) as first,  # type: ignore[call-overload]
        subprocess.Popen(command(follower, queue_dir, server.host), **options) as second,  # type: ignore[call-overload]
    ):
        said = dict(first.stdout.readline().split() for _ in range(2))
        try:
            os.kill(int(said["leader"]), signal.SIGKILL)
            first.wait()
            second.communicate("go\n", timeout=30)
            assert second.returncode == 0
            os.kill(int(said["child"]), 0)  # it is still there
        finally:
            os.kill(int(said["child"]), signal.SIGKILL)
    assert len(server.ids()) == (10 if fork == "os.fork" else 11)


@pytest.mark.parametrize("fork", ["os.fork", "fork_in_c"])
@pytest.mark.parametrize("exit_", ["os._exit(0)", "sys.exit(0)"])
def test_a_leader_stays_the_leader_when_its_children_end(
    tmp_path: Path, server: FakeLotusProcess, fork: str, exit_: str
) -> None:
    told = lines(
        f"""
        from lotus_durable.flusher.lock import nobody_leads
        client = be_quiet()
        track(client, 5)
        assert client.drain(20).complete and leads(client)
        parent = os.getpid()
        for round in range(3):
            pid = {fork}()
            if pid == 0:
                track(client, 1)
                assert not leads(client)
                {exit_}
            assert ended(pid) == 0
            assert nobody_leads(client._process.queue.directory) is False
            assert leads(client) and client._process.candidate._leadership.is_held()
        assert os.getpid() == parent
        assert client.drain(20).complete
        say(client.stats().delivered)
        """,
        tmp_path / "queue",
        server.host,
    )
    assert told == ["8"]
    assert len(server.ids()) == 8


def test_a_stopped_leader_is_seen_and_nobody_else_sends_meanwhile(tmp_path: Path, server: FakeLotusProcess) -> None:
    """It holds the lock, so nobody can take over; but it can be seen by its heartbeat."""
    queue_dir = tmp_path / "queue"
    code = "client = make(); track(client, 5); assert client.drain(20).complete; say('ready'); time.sleep(60)"
    with subprocess.Popen(
        command(code, queue_dir, server.host), stdout=subprocess.PIPE, text=True, env=environment()
    ) as leader:
        try:
            assert leader.stdout is not None
            assert leader.stdout.readline() == "ready\n"
            server.wait_for(5)
            leader.send_signal(signal.SIGSTOP)
            told = lines(
                "client = make(); track(client, 3); report = client.drain(0.5); say(report.remaining, report.reason)",
                queue_dir,
                server.host,
            )
            assert told == ["3 not done within 0.5 seconds"]
            assert leader_pid(queue_dir) == leader.pid
            leader.send_signal(signal.SIGCONT)
            server.wait_for(8)
        finally:
            leader.kill()


def test_what_a_killed_process_tracked_is_sent_by_the_next_one_that_uses_the_queue(
    tmp_path: Path, server: FakeLotusProcess
) -> None:
    queue_dir = tmp_path / "queue"
    code = "client = make(flusher='external'); say(*track(client, 50)); os.kill(os.getpid(), signal.SIGKILL)"
    with subprocess.Popen(
        command(code, queue_dir, server.host), stdout=subprocess.PIPE, text=True, env=environment()
    ) as process:
        out, _ = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL
    assert server.ids() == {}
    lines("client = make(); track(client); assert client.drain(20).complete", queue_dir, server.host)
    assert set(out.split()) <= set(server.ids())
    assert len(server.ids()) == 51


def test_a_heartbeat_of_a_killed_leader_is_replaced_by_its_successors(tmp_path: Path, server: FakeLotusProcess) -> None:
    queue_dir = tmp_path / "queue"
    code = "client = make(); track(client, 1); wait_until(lambda: leads(client)); say('ready'); time.sleep(60)"
    before = None
    for _ in range(2):
        with subprocess.Popen(
            command(code, queue_dir, server.host), stdout=subprocess.PIPE, text=True, env=environment()
        ) as leader:
            assert leader.stdout is not None
            assert leader.stdout.readline() == "ready\n"
            wait_until(lambda pid=leader.pid: leader_pid(queue_dir) == pid, "its heartbeat")  # type: ignore[misc]
            assert leader.pid != before
            before = leader.pid
            leader.kill()
