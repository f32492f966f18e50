"""API keys in change: whoever has one that the server takes comes to lead; bad ones do not go round and round."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from lotus_durable.client import Client
from lotus_durable.flusher import making_way as key_change
from lotus_durable.queue import keys
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.heartbeat import read_heartbeat
from lotus_durable.queue.keys import accept_challenge, challenge, fingerprint, note_key, note_refusal, was_refused
from lotus_durable.testing import FakeLotusProcess
from tests.rig import Rig, track, wait_until
from tests.scripts import command, environment

OLD, NEW = "an-old-key-that-was-revoked", "a-new-key-that-is-valid"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_change, "_FIRST_TRY", 0.3)
    monkeypatch.setattr(key_change, "_LOOK_INTERVAL", 0.02)


@pytest.fixture
def directory(tmp_path: Path) -> QueueDirectory:
    directory = QueueDirectory(tmp_path)
    directory.prepare()
    return directory


def leading(clients: list[Client]) -> list[Client]:
    return [each for each in clients if each._process and each._process.candidate and each._process.candidate.leads]


def test_half_of_a_rolling_deploy_has_the_new_key_and_everything_is_delivered(tmp_path: Path) -> None:
    """Real processes, and the waits as they are for users; the old ones lead when the key is revoked."""
    code = """
        client = make(api_key=sys.argv[3])
        say(*track(client, 50))
        sys.stdin.readline()
        say(*track(client, 50))
        sys.stdin.readline()
        os._exit(0)
    """
    with FakeLotusProcess("L24", api_key=OLD) as server, ExitStack() as stack:

        def start(key: str) -> subprocess.Popen[str]:
            process = subprocess.Popen(
                command(code, tmp_path / "queue", server.host, key),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=environment(),
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        def tracked_by(processes: list[subprocess.Popen[str]]) -> list[str]:
            return [each for process in processes if process.stdout for each in process.stdout.readline().split()]

        old = [start(OLD) for _ in range(3)]
        ids = tracked_by(old)
        wait_until(lambda: len(server.ids()) == 150, "what was tracked with the old key")
        server.rotate_key(NEW)
        for process in old:
            print("go", file=process.stdin, flush=True)
        ids += tracked_by(old)
        directory = QueueDirectory(tmp_path / "queue")
        wait_until(lambda: (beat := read_heartbeat(directory)) and beat.refused_key, "the old key to be refused")
        new = [start(NEW) for _ in range(3)]
        ids += tracked_by(new)
        wait_until(lambda: set(ids) <= set(server.ids()), "everything to be delivered")
        assert len(ids) == len(server.ids()) == 450
        assert OLD not in directory.keys.read_text()
        assert NEW not in directory.keys.read_text()


@pytest.mark.usefixtures("quick")
def test_a_leader_whose_key_is_refused_makes_way_for_another_key_and_does_not_come_back(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    old = [rig.client(probe_interval=3600.0) for _ in range(3)]
    ids = [each for client in old for each in track(client, 1)]
    rig.server.wait_for(3)
    rig.server.rotate_key(NEW)
    ids += track(old[0], 5)
    wait_until(lambda: "delivery is blocked" in caplog.text, "the key to be refused")
    caplog.clear()
    new = [rig.client(api_key=NEW, probe_interval=3600.0) for _ in range(3)]
    ids += [each for client in new for each in track(client, 1)]
    rig.server.wait_for(11)
    assert "stepping down for a process with another API key" in caplog.text
    wait_until(lambda: leading(new), "a leader with the new key")
    for client in leading(new):
        new.remove(client)
        client.release(20)
    ids += track(new[0], 2)
    rig.server.wait_for(13)
    assert not leading(old), "one with the revoked key took over"
    assert rig.check(ids).delivered == 13


@pytest.mark.usefixtures("quick")
def test_a_drain_with_the_new_key_succeeds_beside_a_leader_with_the_old_one(rig: Rig) -> None:
    old = rig.client(probe_interval=3600.0)
    ids = track(old, 1)
    rig.server.wait_for(1)
    rig.server.rotate_key(NEW)
    ids += track(old, 5)
    assert not old.drain(20).complete
    new = rig.client(api_key=NEW, probe_interval=3600.0)
    report = new.drain(20)
    assert report.complete, report.reason
    assert rig.check(ids).delivered == 6


@pytest.mark.usefixtures("quick")
def test_where_all_keys_are_refused_each_is_tried_once_and_one_leads_on(rig: Rig) -> None:
    rig.server.rotate_key(NEW)
    clients = [rig.client(api_key=f"bad-{number % 2}", probe_interval=3600.0) for number in range(6)]
    ids = [each for client in clients for each in track(client, 1)]
    wait_until(
        lambda: all(was_refused(rig.directory, f"bad-{number}", within=60.0) for number in range(2)),
        "both keys to be refused",
    )
    after = rig.server.request_count
    # Long enough for dozens of attempts to take over.
    until = time.monotonic() + 2.0
    wait_until(lambda: time.monotonic() > until)
    assert rig.server.request_count == after
    assert len(leading(clients)) == 1, "nobody leads, so nobody syncs what is accepted"
    rig.server.rotate_key("bad-1")
    assert rig.stats().pending == 6
    for client in clients:
        client.release(20)
    good = rig.client(api_key="bad-1", probe_interval=0.05)
    assert wait_until(lambda: good.drain(20).complete)
    assert rig.check(ids).delivered == 6


@pytest.mark.usefixtures("quick")
def test_the_only_process_leads_again_although_its_key_was_refused(rig: Rig) -> None:
    rig.server.rotate_key(NEW)
    client = rig.client(probe_interval=3600.0)
    ids = track(client, 2)
    assert not client.drain(20).complete
    client.release(20)
    rig.server.rotate_key("test-key")
    assert rig.client(probe_interval=3600.0).drain(20).complete
    assert not was_refused(rig.directory, "test-key", within=3600.0), "the server takes it again"
    assert rig.check(ids).delivered == 2


def test_another_key_is_logged_once_by_whoever_comes_first(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    for key in (OLD, OLD, NEW, OLD, NEW):
        rig.client(api_key=key)
    assert caplog.text.count("another API key than before") == 1
    assert not re.search(f"{OLD}|{NEW}", caplog.text + rig.directory.keys.read_text())
    assert oct(rig.directory.keys.stat().st_mode & 0o777) == "0o600"


def test_a_fingerprint_tells_keys_apart_and_differs_from_queue_to_queue(tmp_path: Path) -> None:
    prints = set()
    for name in ("one", "two"):
        directory = QueueDirectory(tmp_path / name)
        directory.prepare()
        assert fingerprint(directory, OLD) is None
        assert note_key(directory, OLD) is False
        assert note_key(directory, NEW) is True
        assert fingerprint(directory, OLD) == fingerprint(directory, OLD)
        prints |= {fingerprint(directory, OLD), fingerprint(directory, NEW)}
    assert len(prints) == 4


def test_a_refusal_is_forgotten_after_its_time_when_the_key_is_taken_and_when_the_clock_was_set_back(
    directory: QueueDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    monkeypatch.setattr("lotus_durable.queue.keys.time.time", lambda: now)
    note_key(directory, OLD)
    for change, expected in ((1.0, True), (59.0, True), (60.0, False), (-5.0, False)):
        note_refusal(directory, OLD, refused=True)
        now += change
        assert was_refused(directory, OLD, within=60.0) is expected
        assert not was_refused(directory, NEW, within=60.0)
    note_refusal(directory, OLD, refused=True)
    note_refusal(directory, OLD, refused=False)
    assert not was_refused(directory, OLD, within=60.0)


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"salt": 1}', b'{"salt": "x", "seen": [], "refused": []}'])
def test_a_damaged_record_of_keys_is_begun_anew(directory: QueueDirectory, damage: bytes) -> None:
    directory.keys.write_bytes(damage)
    assert not was_refused(directory, OLD, within=60.0)
    note_refusal(directory, OLD, refused=True)
    assert note_key(directory, OLD) is False
    assert fingerprint(directory, OLD)


def test_it_remembers_a_bounded_number_of_keys(directory: QueueDirectory) -> None:
    for number in range(3 * keys._REMEMBERED):
        note_key(directory, f"key {number}")
        note_refusal(directory, f"key {number}", refused=True)
    assert directory.keys.stat().st_size < 4096


def test_a_challenge_is_for_one_change_of_the_leader(directory: QueueDirectory) -> None:
    assert not accept_challenge(directory)
    challenge(directory)
    challenge(directory)
    assert accept_challenge(directory)
    assert not accept_challenge(directory)


@pytest.mark.usefixtures("quick")
def test_a_key_that_is_blocked_for_another_reason_makes_nobody_step_down(
    rigs: Callable[..., Rig], caplog: pytest.LogCaptureFixture
) -> None:
    rig = rigs()
    rig.server.rotate_key(OLD)
    rig.server.rotate_key(NEW, keep_old=True)
    wrong = f"{rig.server.host}/wrong/place"
    clients = [rig.client(host=wrong, api_key=key, probe_interval=3600.0) for key in (OLD, NEW)]
    ids = [each for client in clients for each in track(client, 1)]
    assert "check the host" in (clients[0].drain(20).reason or "")
    challenge(rig.directory)
    assert "check the host" in (clients[1].drain(20).reason or "")
    assert "stepping down" not in caplog.text
    assert rig.check(ids).pending == 2
