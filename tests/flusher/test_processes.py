"""Several real processes on one queue: one uploader for all, whoever of them is killed, forked or ended."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lotus_durable.testing import FakeLotusProcess
from tests.rig import wait_until
from tests.scripts import command, environment, lines
from tests.servers.processes import parent_of

from .seen import leader, uploaders, wait_for_uploader, zombies_of

WORK = """
    client = make(flusher="process")
    say(os.getpid())
    while sys.stdin.readline():
        say(*track(client, 5))
    client.release(20)
"""
"""A worker: tracks when it is told to, until its standard input ends."""


class Worker:
    """A process that tracks when it is told to, in a process group of its own."""

    def __init__(self, queue_dir: Path, host: str, code: str = WORK) -> None:
        self.process = subprocess.Popen(
            command(code, queue_dir, host),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
            start_new_session=True,
        )
        self.pid = int(self.hear()[0])

    def hear(self) -> list[str]:
        assert self.process.stdout is not None
        return self.process.stdout.readline().split()

    def tell(self) -> None:
        """Have it track, without waiting for that."""
        assert self.process.stdin is not None
        self.process.stdin.write("track\n")
        self.process.stdin.flush()

    def track(self) -> list[str]:
        """Have it track; return the ids."""
        self.tell()
        return self.hear()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        with self.process:
            if self.process.stdin is not None and self.process.poll() is None:
                self.process.stdin.close()
                self.process.wait(30)


@pytest.fixture
def server() -> Iterator[FakeLotusProcess]:
    with FakeLotusProcess("L24") as running:
        yield running


@pytest.fixture
def queue_dir(tmp_path: Path) -> Path:
    return tmp_path / "queue"


@pytest.fixture
def start(queue_dir: Path, server: FakeLotusProcess) -> Iterator[Callable[..., Worker]]:
    """Start a worker. All are ended after the test, and no uploader is left of them."""
    started: list[Worker] = []

    def start(*arguments: Any) -> Worker:
        started.append(Worker(queue_dir, server.host, *arguments))
        return started[-1]

    yield start
    for worker in started:
        worker.end()
    wait_until(lambda: not uploaders(queue_dir), "all uploaders to end")


def wait_for_ids(server: FakeLotusProcess, ids: list[str]) -> None:
    wait_until(lambda: set(ids) <= set(server.ids()), "all events at the server")


def test_of_eight_workers_that_begin_at_once_one_starts_an_uploader(
    queue_dir: Path, server: FakeLotusProcess, start: Callable[..., Worker]
) -> None:
    workers = [start() for _ in range(8)]
    seen: set[int] = set()
    for worker in workers:
        worker.tell()
    ids = [each for worker in workers for each in worker.hear()]

    def everything_arrived() -> bool:
        seen.update(uploaders(queue_dir))
        return set(ids) <= set(server.ids())

    wait_until(everything_arrived, "all events at the server")
    assert len(seen) == 1, "never more than one, not even for a moment"
    assert parent_of(seen.pop()) in {worker.pid for worker in workers}


def test_the_uploader_ends_with_its_starter_and_another_worker_starts_the_next(
    queue_dir: Path, server: FakeLotusProcess, start: Callable[..., Worker]
) -> None:
    workers = {worker.pid: worker for worker in (start() for _ in range(3))}
    ids = [each for worker in workers.values() for each in worker.track()]
    uploader = 0
    while workers:
        uploader = wait_for_uploader(queue_dir, other_than=uploader)
        wait_until(lambda: len(uploaders(queue_dir)) == 1, "the one before to end")
        starter = workers.pop(parent_of(uploader))
        ids += starter.track()
        starter.kill()
    wait_until(lambda: not uploaders(queue_dir), "the last one to end")
    last = start()
    ids += last.track()
    wait_for_ids(server, ids)
    assert len(ids) == len(set(ids)) == 35


def test_uploaders_that_are_killed_leave_no_zombie_with_any_worker(
    queue_dir: Path, server: FakeLotusProcess, start: Callable[..., Worker]
) -> None:
    workers = [start() for _ in range(2)]
    ids = [each for worker in workers for each in worker.track()]
    uploader = 0
    for _ in range(4):
        uploader = wait_for_uploader(queue_dir, other_than=uploader)
        os.kill(uploader, signal.SIGKILL)
        ids += [each for worker in workers for each in worker.track()]
    wait_for_uploader(queue_dir, other_than=uploader)
    wait_until(lambda: not any(zombies_of(worker.pid) for worker in workers), "all zombies to be fetched")
    wait_for_ids(server, ids)


def test_a_ctrl_c_at_the_terminal_ends_the_uploader_after_its_starter(
    queue_dir: Path, server: FakeLotusProcess, start: Callable[..., Worker]
) -> None:
    worker = start(
        """
        client = make(flusher="process", exit_timeout=20)
        say(os.getpid())
        say(*track(client, 5))
        wait_until(lambda: client.stats().flusher)
        try:
            sys.stdin.readline()
            say(*track(client, 5))
            time.sleep(60)
        except KeyboardInterrupt:
            sys.exit(0)  # and at exit it has its uploader send what is pending
        """
    )
    ids = worker.hear()
    uploader = wait_for_uploader(queue_dir)
    ids += worker.track()
    os.killpg(worker.pid, signal.SIGINT)
    assert worker.process.wait(30) == 0
    wait_until(lambda: uploader not in uploaders(queue_dir), "the uploader to end")
    assert set(server.ids()) == set(ids)


@pytest.mark.parametrize("fork", ["os.fork", "fork_in_c"])
def test_a_process_forked_from_the_starter_does_not_keep_the_uploader_alive(
    queue_dir: Path, start: Callable[..., Worker], fork: str
) -> None:
    # One that was forked without hooks lets go with its first use of the library.
    starter = start(
        f"""
        client = make(flusher="process")
        say(os.getpid())
        track(client, 5)
        wait_until(lambda: client.stats().flusher)
        from lotus_durable.flusher import look as launcher
        launcher._LOOK_INTERVAL = 60
        pid = {fork}()
        if pid == 0:
            if {fork != "os.fork"}:
                client.stats()
            say(os.getpid())
            time.sleep(60)
            os._exit(0)
        time.sleep(60)
        """
    )
    [forked] = map(int, starter.hear())
    try:
        assert parent_of(wait_for_uploader(queue_dir)) == starter.pid
        starter.kill()
        wait_until(lambda: not uploaders(queue_dir), "the uploader to end")
        os.kill(forked, 0)  # it is still there
    finally:
        os.kill(forked, signal.SIGKILL)


def test_a_forked_worker_starts_an_uploader_of_its_own_when_its_parents_is_gone(
    queue_dir: Path, server: FakeLotusProcess
) -> None:
    said = lines(
        """
        import signal
        client = make(flusher="process")
        ids = track(client, 5)
        pid = wait_until(lambda: client.stats().flusher).pid
        if os.fork() == 0:
            ids = track(client, 5)
            wait_until(lambda: (flusher := client.stats().flusher) and flusher.pid != pid)
            assert client.drain(20).complete
            say(*ids)
            client.release(20)
            os._exit(0)
        client.release(20)
        assert os.waitpid(-1, 0)[1] == 0
        say(*ids)
        """,
        queue_dir,
        server.host,
    )
    assert {each for line in said for each in line.split()} == set(server.ids())
    assert len(server.ids()) == 10
    wait_until(lambda: not uploaders(queue_dir), "all uploaders to end")


def test_an_application_that_waits_for_any_child_and_one_that_waits_for_none_are_not_disturbed(
    queue_dir: Path, server: FakeLotusProcess
) -> None:
    """As gunicorn's master waits, and as a program does that has SIGCHLD ignored."""
    said = lines(
        """
        import signal
        client = make(flusher="process")
        track(client, 1)
        first = wait_until(lambda: client.stats().flusher).pid
        os.kill(first, signal.SIGKILL)
        assert os.waitpid(-1, 0) == (first, signal.SIGKILL)
        track(client, 1)
        second = wait_until(lambda: (flusher := client.stats().flusher) and flusher.pid != first and flusher.pid)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        os.kill(second, signal.SIGKILL)
        track(client, 1)
        third = wait_until(lambda: (flusher := client.stats().flusher) and flusher.pid != second and flusher.pid)
        assert client.drain(20).complete
        client.release(20)
        say(len({first, second, third}))
        """,
        queue_dir,
        server.host,
    )
    assert said == ["3"]
    assert len(server.ids()) == 3
    assert leader(queue_dir) is None
