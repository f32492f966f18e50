"""A leader that is stopped or stuck keeps the lock: everybody else says so, nothing is lost, and it goes on."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator

import pytest

from lotus_durable import imports
from lotus_durable.delivery import candidate
from lotus_durable.delivery.desk import Desk
from lotus_durable.errors import DeliveryBlocked, LotusError
from lotus_durable.flusher import hung as watch
from lotus_durable.flusher.hung import LeaderWatch
from lotus_durable.flusher.lock import Leadership
from lotus_durable.flusher.making_way import KeyChange
from lotus_durable.queue import heartbeat
from lotus_durable.queue import stats as queue_stats
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.heartbeat import STALE_AFTER, Heartbeat, read_heartbeat, write_heartbeat
from tests.rig import Rig, track, wait_until
from tests.scripts import command, environment


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a leader count as hung sooner; it beats once a second."""
    for module in (heartbeat, queue_stats, watch):
        monkeypatch.setattr(module, "STALE_AFTER", 2.5)
    monkeypatch.setattr(watch, "_LOOK_INTERVAL", 0.1)


@pytest.fixture
def leader(rig: Rig) -> Iterator[subprocess.Popen[str]]:
    """Another process, which leads and has delivered five events."""
    code = "client = make(); track(client, 5); assert client.drain(20).complete; say('ready'); time.sleep(60)"
    with subprocess.Popen(
        command(code, rig.queue_dir, rig.server.host), stdout=subprocess.PIPE, text=True, env=environment()
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("end", [signal.SIGCONT, signal.SIGKILL])
def test_a_stopped_leader_is_named_by_all_others_and_delivery_goes_on_when_it_does_or_is_killed(
    rig: Rig, leader: subprocess.Popen[str], caplog: pytest.LogCaptureFixture, end: signal.Signals
) -> None:
    client = rig.client()
    before = list(rig.server.times_received)
    before += track(client, 3)
    wait_until(lambda: client.stats().delivered == 8, "a commit")
    leader.send_signal(signal.SIGSTOP)
    ids = [*before, *track(client, 4)]
    named = f"process {leader.pid} on {os.uname().nodename} holds the leader lock and has shown no sign of life"
    wait_until(lambda: named in caplog.text, "the log of the other process to name it")
    [(error, events)] = rig.errors
    assert isinstance(error, DeliveryBlocked)
    assert (named in str(error), events) == (True, [])
    stats = client.stats()
    assert stats.flusher is not None
    assert (stats.flusher.pid, stats.flusher.alive, stats.flusher.hung) == (leader.pid, False, True)
    assert stats.pending == 4
    report = client.drain(0.1)
    assert not report.complete
    assert named in (report.reason or "")
    assert rig.server.event_count == 8, "somebody else has sent while the leader was only stopped"

    leader.send_signal(end)
    rig.server.wait_for(12)
    assert client.drain(20).complete
    wait_until(lambda: "goes on or is gone" in caplog.text, "the log to say that it is over")
    assert caplog.text.count(named) == 1, "it is said once"
    leader.kill()
    leader.wait()
    rig.stop()
    stats = rig.stats()
    assert (stats.accepted, stats.delivered, rig.server.duplicates) == (12, 12, 0)
    assert set(ids) <= set(rig.server.times_received)


@pytest.mark.usefixtures("quick")
def test_a_leader_whose_on_error_does_not_return_is_seen_and_why(rig: Rig) -> None:
    returning = threading.Event()

    def hang(_: LotusError, __: object) -> None:
        returning.wait(60)

    client = rig.client(on_error=hang)
    other = rig.client()
    try:
        ids = track(client, 1, time_created="2020-01-01T00:00:00Z")
        track(other, 0)
        wait_until(lambda: (flusher := other.stats().flusher) and flusher.hung, "the heart to stop")
        flusher = other.stats().flusher
        assert flusher is not None
        assert "on_error, which the uploading thread has called, has not returned" in (flusher.reason or "")
    finally:
        returning.set()
    wait_until(lambda: (flusher := other.stats().flusher) and flusher.alive, "the heart to beat again")
    assert client.drain(20).complete
    assert rig.check(ids).dead_lettered == 1


def test_the_heart_stops_for_work_that_gives_no_sign_of_life(rig: Rig) -> None:
    rig.directory.prepare()
    leadership = Leadership(rig.directory.leader_lock)
    assert leadership.acquire()
    key = KeyChange(rig.directory, "test-key", 60.0)
    desk = Desk(rig.directory, leadership, stop=lambda: False, wake=threading.Event(), key=key, patience=0.0)
    with desk.beating(lambda: None, 0.01):
        first = read_heartbeat(rig.directory)
        assert first is not None
        desk._patience = 3600.0
        wait_until(lambda: (beat := read_heartbeat(rig.directory)) and beat.beat > first.beat, "a beat while it works")
        desk._patience = 0.0
        settled = read_heartbeat(rig.directory)
        ends = time.monotonic() + 1.5
        wait_until(lambda: time.monotonic() > ends)
        last = read_heartbeat(rig.directory)
        assert settled is not None
        assert last is not None
        assert last.beat - settled.beat < 1.0, "it beats although nothing works"
    leadership.release()


# The watch, by a clock of the test's own


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("lotus_durable.flusher.hung.time.monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def directory(tmp_path: object) -> QueueDirectory:
    directory = QueueDirectory(tmp_path)  # type: ignore[arg-type]
    directory.prepare()
    return directory


@pytest.fixture
def held(directory: QueueDirectory) -> Iterator[Leadership]:
    leadership = Leadership(directory.leader_lock)
    assert leadership.acquire()
    yield leadership
    leadership.release()


def beat(directory: QueueDirectory, at: float) -> None:
    write_heartbeat(directory, Heartbeat(7, "web1", "idle", None, at, at, None))


def look_for(vigil: LeaderWatch, clock: Clock, seconds: int) -> None:
    for _ in range(seconds):
        clock.now += 1.0
        vigil.look()


@pytest.mark.usefixtures("held")
def test_a_hung_leader_is_said_once_for_each_time_it_hangs(
    directory: QueueDirectory, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    reports: list[LotusError] = []
    vigil = LeaderWatch(directory, reports.append)
    for episode in (1, 2):
        beat(directory, at=float(episode))
        look_for(vigil, clock, int(STALE_AFTER))
        assert len(reports) == episode - 1
        look_for(vigil, clock, 60)
        assert len(reports) == episode
    assert caplog.text.count("process 7 on web1 holds the leader lock") == 2


@pytest.mark.usefixtures("held")
def test_a_leader_that_beats_is_not_hung_wherever_its_clock_is(directory: QueueDirectory, clock: Clock) -> None:
    reports: list[LotusError] = []
    vigil = LeaderWatch(directory, reports.append)
    for number in range(30):
        beat(directory, at=1e9 - number)
        look_for(vigil, clock, 1)
    assert reports == []


@pytest.mark.usefixtures("held")
def test_a_watcher_that_was_stopped_together_with_the_leader_accuses_nobody(
    directory: QueueDirectory, clock: Clock
) -> None:
    reports: list[LotusError] = []
    vigil = LeaderWatch(directory, reports.append)
    beat(directory, at=1.0)
    look_for(vigil, clock, 2)
    clock.now += 3600.0
    vigil.look()
    assert reports == []


def test_a_leader_that_is_gone_is_not_hung(directory: QueueDirectory, clock: Clock) -> None:
    reports: list[LotusError] = []
    vigil = LeaderWatch(directory, reports.append)
    beat(directory, at=1.0)
    look_for(vigil, clock, 60)
    assert reports == []


# The age of a heartbeat


def test_the_age_of_a_heartbeat_does_not_depend_on_the_clock_that_people_set(monkeypatch: pytest.MonkeyPatch) -> None:
    moment = time.time()
    last = Heartbeat(7, "h", "idle", None, moment, moment, None, beat_uptime=time.monotonic())
    uptime = time.monotonic()
    monkeypatch.setattr("lotus_durable.queue.heartbeat.time.monotonic", lambda: uptime + 7.0)
    for step in (-86_400.0, 0.0, 86_400.0):
        monkeypatch.setattr("lotus_durable.queue.heartbeat.time.time", lambda step=step: moment + step)
        assert 7.0 <= last.age() < 8.0


def test_a_heartbeat_of_before_the_last_boot_is_no_sign_of_life() -> None:
    now = time.time()
    for moment in (now - 100.0, now + 100.0):
        last = Heartbeat(7, "h", "idle", None, moment, moment, None, beat_uptime=time.monotonic() + 1e6)
        assert last.age() >= STALE_AFTER


def test_a_heartbeat_of_another_version_is_read_for_what_is_known_of_it(directory: QueueDirectory) -> None:
    beat(directory, at=5.0)
    text = directory.heartbeat.read_text()
    directory.heartbeat.write_text(text.replace("{", '{"mood": "good", ', 1))
    last = read_heartbeat(directory)
    assert last is not None
    assert (last.pid, last.beat) == (7, 5.0)


def test_nobody_is_accused_while_all_goes_well(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="lotus_durable")
    clients = [rig.client(), rig.client()]
    ids = [each for client in clients for each in track(client, 2)]
    assert clients[1].drain(20).complete
    flusher = clients[1].stats().flusher
    assert flusher is not None
    assert (flusher.alive, flusher.hung) == (True, False)
    assert rig.check(ids).delivered == 4
    assert "leader lock" not in caplog.text


def test_a_new_leader_that_has_not_shown_itself_yet_is_not_taken_for_the_dead_one(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    beats: list[Heartbeat | None] = []

    def import_slowly() -> None:
        beats.append(read_heartbeat(rig.directory))
        imports.import_for_delivery()

    monkeypatch.setattr(candidate, "import_for_delivery", import_slowly)
    rig.directory.prepare()
    long_ago = time.time() - 3600
    write_heartbeat(rig.directory, Heartbeat(4711, "web1", "sending", None, long_ago, long_ago, None))
    track(rig.client(), 1)
    rig.server.wait_for(1)
    assert beats[0] is None
