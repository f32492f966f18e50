"""The leader lock: one holder, however it is lost or refused."""

from __future__ import annotations

import errno
import logging
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from lotus_durable.client import Client
from lotus_durable.flusher.lock import Leadership, nobody_leads
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.testing import Delay
from tests.rig import Rig, track, wait_until


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "leader.lock"


def test_only_one_of_several_is_elected_and_the_next_when_it_steps_down(path: Path) -> None:
    first, second = Leadership(path), Leadership(path)
    assert first.acquire()
    assert not second.acquire()
    assert first.is_held()
    assert not second.is_held()
    first.release()
    assert not first.is_held()
    assert second.acquire()
    second.release()


def test_asking_who_leads_disturbs_nobody(tmp_path: Path) -> None:
    directory = QueueDirectory(tmp_path)
    assert nobody_leads(directory) is True
    leadership = Leadership(directory.leader_lock)
    assert leadership.acquire()
    assert nobody_leads(directory) is False
    assert leadership.is_held()
    assert not Leadership(directory.leader_lock).acquire()
    leadership.release()
    assert nobody_leads(directory) is True


def test_the_lock_is_free_when_its_holder_is_killed(path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(path)], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        leadership = Leadership(path)
        assert not leadership.acquire()
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        assert leadership.acquire()
        leadership.release()


_HOLD = """
import sys, time
from pathlib import Path
from lotus_durable.client import Client
from lotus_durable.flusher.lock import Leadership
held = Leadership(Path(sys.argv[1]))
assert held.acquire()
print("held", flush=True)
sys.stdin.read()
"""


def test_a_deleted_lock_file_is_noticed(path: Path) -> None:
    old, new = Leadership(path), Leadership(path)
    assert old.acquire()
    path.unlink()
    assert not old.is_held()
    assert new.acquire()
    assert new.is_held()
    assert not old.is_held()
    old.release()
    assert new.is_held()
    new.release()


def as_directory(path: Path) -> None:
    path.mkdir()


def as_link_to_itself(path: Path) -> None:
    path.symlink_to(path)


def in_no_directory(path: Path) -> None:
    path.parent.rmdir()


@pytest.mark.parametrize("spoil", [as_directory, as_link_to_itself, in_no_directory])
def test_a_lock_file_that_cannot_be_used_means_not_elected_and_is_said_once(
    path: Path, caplog: pytest.LogCaptureFixture, spoil: Callable[[Path], None]
) -> None:
    spoil(path)
    leadership = Leadership(path)
    for _ in range(3):
        assert not leadership.acquire()
    [message] = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert leadership.refusal is not None
    assert leadership.refusal in message.getMessage()
    assert nobody_leads(QueueDirectory(path.parent)) is None


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EMFILE])
def test_an_error_of_the_system_is_no_election_and_forgotten_when_it_is_over(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    leadership = Leadership(path)
    opened = os.open

    def refuse(name: str, *arguments: int, **options: int) -> int:
        if str(name) == str(path):
            raise OSError(number, os.strerror(number), name)
        return opened(name, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        assert not leadership.acquire()
        assert not leadership.acquire()
    assert os.strerror(number) in caplog.text
    assert len(caplog.records) == 1
    assert leadership.acquire()
    assert leadership.refusal is None
    leadership.release()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_lock_file_that_may_not_be_written_means_not_elected() -> None:
    # Not pytest's directory: nobody else may look into that.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "leader.lock")
        path.touch(0o400)
        os.chmod(folder, 0o755)
        child = os.fork()
        if child == 0:
            os.seteuid(65534)
            leadership = Leadership(path)
            is_elected = leadership.acquire()
            os._exit(0 if not is_elected and "Permission denied" in (leadership.refusal or "") else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_queue_directory_that_was_deleted_is_not_created_by_asking_for_the_lock(tmp_path: Path) -> None:
    directory = QueueDirectory(tmp_path / "queue")
    assert not Leadership(directory.leader_lock).acquire()
    assert nobody_leads(directory) is None
    assert not directory.root.exists()


def test_where_the_lock_cannot_be_used_events_are_kept_and_a_drain_says_why(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.directory.prepare()
    rig.directory.leader_lock.mkdir()
    client = rig.client()
    ids = track(client, 3)
    report = client.drain()
    assert "the leader lock cannot be taken" in (report.reason or "")
    assert report.remaining == 3
    assert caplog.text.count("does not upload: the leader lock cannot be taken") == 1
    rig.directory.leader_lock.rmdir()
    assert client.drain(20).complete
    assert rig.check(ids).delivered == 3


def test_a_leader_whose_lock_file_is_deleted_steps_down_and_one_of_two_goes_on(rig: Rig) -> None:
    clients = [rig.client(), rig.client()]
    ids = [each for client in clients for each in track(client, 2)]
    rig.server.wait_for(4)
    for round_ in range(5):
        rig.directory.leader_lock.unlink()
        ids += [each for client in clients for each in track(client, 2)]
        rig.server.wait_for(4 + 4 * (round_ + 1))
        wait_until(rig.directory.leader_lock.exists, "a new lock file")
        wait_until(lambda: len(leading(clients)) == 1, "exactly one leader")
    assert clients[0].drain(20).complete
    assert rig.check(ids).delivered == 24


def leading(clients: list[Client]) -> list[Client]:
    return [each for each in clients if each._process and each._process.candidate and each._process.candidate.leads]


def test_a_lock_file_deleted_while_a_request_is_in_flight_makes_duplicates_at_most(rig: Rig) -> None:
    rig.server.fail_next(Delay(0.3))
    clients = [rig.client(), rig.client()]
    ids = track(clients[0], 5) + track(clients[1], 5)
    rig.server.wait_until(lambda: rig.server.request_count >= 1)
    rig.directory.leader_lock.unlink()
    ids += track(clients[0], 5)
    rig.server.wait_for(15)
    wait_until(lambda: clients[0].drain(20).complete, "a drain")
    stats = rig.check(ids)
    assert stats.delivered == 15
