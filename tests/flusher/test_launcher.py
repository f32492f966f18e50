"""A worker with an uploader of its own: started when nobody leads, heard, replaced, and ended with it."""

from __future__ import annotations

import errno
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lotus_durable import EventRefused
from lotus_durable.client import Client
from lotus_durable.flusher import look as launcher_module
from lotus_durable.flusher.look import Launcher
from lotus_durable.flusher.messages import start_message
from lotus_durable.queue.heartbeat import Heartbeat, read_heartbeat, write_heartbeat
from lotus_durable.testing import Delay
from tests.rig import LIMIT, Rig, track, wait_until

from .seen import uploaders, wait_for_uploader, zombies_of


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher_module, "_LOOK_INTERVAL", 0.05)


def tracking(rig: Rig, **options: Any) -> Client:
    return rig.client(flusher="process", **options)


def launcher_of(client: Client) -> Launcher:
    launcher = client._here().candidate
    assert isinstance(launcher, Launcher)
    return launcher


def test_a_child_uploads_and_ends_when_its_starter_lets_go(rig: Rig) -> None:
    client = tracking(rig)
    ids = track(client, 20)
    rig.server.wait_for(20)
    pid = wait_for_uploader(rig.queue_dir)
    assert uploaders(rig.queue_dir) == {pid} != {os.getpid()}
    client.release(LIMIT)
    assert uploaders(rig.queue_dir) == set()
    assert not zombies_of(os.getpid())
    stats = rig.check(ids)
    assert (stats.delivered, stats.flusher) == (20, None)


def test_a_child_uploads_from_a_queue_of_the_other_kind_too(rig: Rig) -> None:
    client = tracking(rig, backend="sqlite")
    ids = track(client, 20)
    wait_for_uploader(rig.queue_dir)
    assert client.drain(LIMIT).complete
    assert set(rig.server.times_received) == set(ids)
    assert client.stats().delivered == 20


def test_the_api_key_is_in_no_argument_and_no_environment_of_the_child(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOTUS_API_KEY", "test-key")
    track(tracking(rig, api_key=None), 1)
    rig.server.wait_for(1)
    seen = Path(f"/proc/{wait_for_uploader(rig.queue_dir)}")
    assert b"uploader" in (seen / "cmdline").read_bytes()
    assert b"PATH=" in (seen / "environ").read_bytes()
    for name in ("cmdline", "environ"):
        assert b"test-key" not in (seen / name).read_bytes()


def test_the_child_has_nothing_open_that_is_its_starters(rig: Rig) -> None:
    inheritable, other = os.pipe()
    os.set_inheritable(inheritable, True)  # as servers do with the sockets they listen on
    try:
        track(tracking(rig), 1)
        rig.server.wait_for(1)
        files = Path(f"/proc/{wait_for_uploader(rig.queue_dir)}/fd")
        links = {path.name: os.readlink(path) for path in files.iterdir()}
        assert os.readlink(f"/proc/self/fd/{inheritable}") not in links.values()
        assert links["3"] == str(rig.directory.leader_lock)
    finally:
        os.close(inheritable)
        os.close(other)


def test_a_child_that_is_killed_is_replaced_and_leaves_no_zombie(rig: Rig) -> None:
    client = tracking(rig)
    ids = track(client, 5)
    pid = 0
    for _ in range(3):
        pid = wait_for_uploader(rig.queue_dir, other_than=pid)
        os.kill(pid, signal.SIGKILL)
        ids += track(client, 5)
    wait_for_uploader(rig.queue_dir, other_than=pid)
    assert client.drain(LIMIT).complete
    assert not zombies_of(os.getpid())
    assert len(uploaders(rig.queue_dir)) == 1
    assert rig.check(ids).delivered == 20


def test_a_killed_leaders_heartbeat_is_not_taken_for_that_of_a_child_which_begins(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    beat = Heartbeat(1, "host", "idle", None, time.time(), time.time() - 3600, None)
    rig.directory.prepare()
    write_heartbeat(rig.directory, beat)
    seen: list[Heartbeat | None] = []
    spawn = os.posix_spawn

    def look_and_spawn(*arguments: Any, **options: Any) -> int:
        seen.append(read_heartbeat(rig.directory))
        return spawn(*arguments, **options)

    monkeypatch.setattr(os, "posix_spawn", look_and_spawn)
    ids = track(tracking(rig), 1)
    rig.server.wait_for(1)
    assert seen == [None]
    assert rig.check(ids).delivered == 1


def test_a_child_that_is_told_to_end_ends_in_order_and_is_replaced(rig: Rig) -> None:
    rig.server.fail_next(Delay(0.3))
    client = tracking(rig)
    ids = track(client, 5)
    rig.server.wait_until(lambda: rig.server.request_count == 1)
    pid = wait_for_uploader(rig.queue_dir)
    os.kill(pid, signal.SIGTERM)
    wait_for_uploader(rig.queue_dir, other_than=pid)
    assert client.drain(LIMIT).complete
    assert rig.check(ids).delivered == 5
    assert rig.server.duplicates == 0, "what was in flight was committed"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT, signal.SIGHUP])
def test_what_a_terminal_sends_is_for_its_starter(rig: Rig, number: signal.Signals) -> None:
    client = tracking(rig)
    track(client, 1)
    pid = wait_for_uploader(rig.queue_dir)
    os.kill(pid, number)
    track(client, 1)
    assert client.drain(LIMIT).complete
    assert wait_for_uploader(rig.queue_dir) == pid


def test_errors_of_the_child_come_to_on_error_and_to_the_log_of_its_starter(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    client = tracking(rig)
    ids = track(client, 2, time_created="2020-01-01T00:00:00Z", properties={"note": "ü" * 200})
    assert client.drain(LIMIT).dead_lettered == 2
    wait_until(lambda: rig.errors, "the error")
    [(error, events)] = rig.errors
    assert isinstance(error, EventRefused)
    assert "2 dead letters: Time created too far" in str(error)
    assert {event["idempotency_id"] for event in events} == set(ids)
    assert {event["properties"]["note"] for event in events} == {"ü" * 200}
    [line] = [each for each in caplog.records if "dead letters:" in each.getMessage()]
    assert (line.levelname, line.name) == ("ERROR", "lotus_durable")
    assert line.getMessage().startswith("uploader process ")


def test_more_than_a_pipe_holds_comes_to_on_error_whole(rig: Rig) -> None:
    client = tracking(rig)
    ids = track(client, 12, time_created="2020-01-01T00:00:00Z", properties={"note": "x" * 20_000})
    assert client.drain(LIMIT).dead_lettered == 12
    wait_until(lambda: sum(len(events) for _, events in rig.errors) == 12, "the errors")
    assert {event["idempotency_id"] for _, events in rig.errors for event in events} == set(ids)


def test_a_launcher_that_another_leads_beside_starts_nothing(rig: Rig) -> None:
    leader = rig.client()
    ids = track(leader, 1)
    rig.server.wait_for(1)
    client = tracking(rig)
    ids += track(client, 1)
    assert client.drain(LIMIT).complete
    launcher_of(client).look()
    assert uploaders(rig.queue_dir) == set()
    leader.release(LIMIT)
    wait_for_uploader(rig.queue_dir)
    ids += track(client, 1)
    assert client.drain(LIMIT).complete
    assert rig.check(ids).delivered == 3


def test_a_client_with_another_key_has_the_child_started_anew(rig: Rig) -> None:
    old = tracking(rig, api_key="wrong-key")
    ids = track(old, 1)
    first = wait_for_uploader(rig.queue_dir)
    old.retire()
    ids += track(tracking(rig), 1)
    rig.server.wait_for(2)
    assert wait_for_uploader(rig.queue_dir) != first
    assert rig.check(ids).delivered == 2


def test_shutting_down_sends_what_is_pending_and_ends_the_child(rig: Rig) -> None:
    client = tracking(rig)
    ids = track(client, 10)
    client.shutdown(LIMIT)
    assert rig.server.event_count == 10
    wait_until(lambda: not uploaders(rig.queue_dir), "the child to end")
    assert rig.check(ids).delivered == 10


def test_joining_ends_the_child_and_a_drain_starts_another_for_its_time(rig: Rig) -> None:
    client = tracking(rig)
    ids = track(client, 1)
    rig.server.wait_for(1)
    client.join(LIMIT)
    assert uploaders(rig.queue_dir) == set()
    ids += track(client, 3)
    assert client.drain(LIMIT).complete
    wait_until(lambda: not uploaders(rig.queue_dir), "the child to end")
    assert rig.check(ids).delivered == 4


def test_a_child_whose_starter_goes_while_the_server_is_away_ends(rig: Rig) -> None:
    rig.server.pause()
    client = tracking(rig)
    ids = track(client, 3)
    wait_until(lambda: (flusher := client.stats().flusher) and flusher.reason, "the outage to be noticed")
    client.release(LIMIT)
    assert uploaders(rig.queue_dir) == set()
    assert rig.check(ids).pending == 3


def test_a_lock_file_that_is_deleted_ends_the_child_and_the_next_one_locks_the_new_file(rig: Rig) -> None:
    client = tracking(rig)
    ids = track(client, 1)
    first = wait_for_uploader(rig.queue_dir)
    rig.directory.leader_lock.unlink()
    wait_until(lambda: first not in uploaders(rig.queue_dir) or rig.directory.leader_lock.exists(), "a new lock file")
    ids += track(client, 1)
    assert client.drain(LIMIT).complete
    wait_until(lambda: len(uploaders(rig.queue_dir)) == 1, "one of them")
    assert rig.check(ids).delivered == 2


def test_a_child_that_cannot_start_is_told_once_with_its_last_words_and_more_and_more_rarely_tried(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client = tracking(rig)
    with monkeypatch.context() as patch:
        patch.setattr(launcher_module, "start_message", lambda *_: b'{"path": []}\n')
        ids = track(client, 1)
        refusal = wait_until(lambda: launcher_of(client).refusal() or "", "the refusal")
        assert "ended before it could lead: " in refusal
        assert "ModuleNotFoundError" in refusal
        pause = launcher_of(client)._pause
        wait_until(lambda: launcher_of(client)._pause > pause, "a longer pause")
        report = client.drain()
        assert (report.complete, report.reason) == (False, refusal)
    assert caplog.text.count("this process does not upload") == 1
    assert client.drain(LIMIT).complete, "a drain tries at once, however long the pause"
    wait_until(lambda: launcher_of(client).refusal() is None, "the word that it is ready")
    assert rig.check(ids).delivered == 1


def test_a_child_that_may_not_lead_says_why_and_is_more_and_more_rarely_tried(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = tracking(rig)
    other = replace(client.config, host="https://other.example.com")
    with monkeypatch.context() as patch:
        patch.setattr(launcher_module, "start_message", lambda _, level: start_message(other, level))
        ids = track(client, 1)
        refusal = wait_until(lambda: launcher_of(client).refusal() or "", "the refusal")
        assert f"its events are for {rig.server.host}" in refusal
        assert launcher_of(client)._pause > 0
    assert client.drain(LIMIT).complete
    assert rig.check(ids).delivered == 1


def test_a_child_whose_key_is_refused_makes_way_for_that_of_a_worker_with_another_key(rig: Rig) -> None:
    old = tracking(rig, api_key="old-key")
    ids = track(old, 1)
    wait_until(lambda: any("refuses the API key" in each for each in rig.messages()), "the refusal")
    first = wait_for_uploader(rig.queue_dir)
    new = tracking(rig)
    ids += track(new, 1)
    rig.server.wait_for(2)
    wait_for_uploader(rig.queue_dir, other_than=first)
    wait_until(lambda: first not in uploaders(rig.queue_dir), "the first one to end")
    assert new.drain(LIMIT).complete
    assert rig.check(ids).delivered == 2


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.EMFILE])
def test_where_no_process_can_be_started_events_are_kept_and_it_is_tried_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    def refuse(*_: Any, **__: Any) -> int:
        raise OSError(number, os.strerror(number))

    client = tracking(rig)
    before = len(os.listdir("/proc/self/fd"))
    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_spawn", refuse)
        ids = track(client, 1)
        wait_until(lambda: launcher_of(client)._pause > 0.1, "the second try")
        assert len(os.listdir("/proc/self/fd")) <= before + 1, "a try leaves nothing open"  # the segment
    assert f"the uploader process cannot be started: [Errno {number}]" in caplog.text
    assert client.drain(LIMIT).complete
    assert rig.check(ids).delivered == 1


def test_without_an_interpreter_a_thread_uploads_and_a_warning_says_so(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("lotus_durable.tracker.find_interpreter", lambda: None)
    client = tracking(rig)
    ids = track(client, 1)
    rig.server.wait_for(1)
    assert "no Python interpreter is found to run the uploader" in caplog.text
    assert uploaders(rig.queue_dir) == set()
    assert client.drain(LIMIT).complete
    assert rig.check(ids).delivered == 1


def test_without_a_key_no_child_is_started(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    client = tracking(rig, api_key=None)
    ids = track(client, 1)
    assert "no API key is set" in caplog.text
    report = client.drain(LIMIT)
    assert "no API key is set" in (report.reason or "")
    assert uploaders(rig.queue_dir) == set()
    assert rig.check(ids).pending == 1


@pytest.mark.parametrize("has_thread", [True, False])
def test_no_error_ends_the_looking_or_comes_out_of_track_event(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, has_thread: bool
) -> None:
    def fail(*_: Any) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr("lotus_durable.under_uwsgi.runs_without_threads", lambda: not has_thread)
    client = tracking(rig)
    with monkeypatch.context() as patch:
        patch.setattr(launcher_module, "start_message", fail)
        ids = track(client, 3)
        wait_until(lambda: "looking after the uploader process failed" in caplog.text, "the failure")
    assert client.drain(LIMIT).complete
    assert caplog.text.count("looking after the uploader process failed") == 1
    assert rig.check(ids).delivered == 3


def test_where_no_thread_can_run_each_event_is_an_occasion_to_look(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lotus_durable.under_uwsgi.runs_without_threads", lambda: True)
    client = tracking(rig)
    ids = track(client, 5)
    first = wait_for_uploader(rig.queue_dir)
    os.kill(first, signal.SIGKILL)

    def replaced() -> bool:
        ids.extend(track(client, 1))
        return bool(uploaders(rig.queue_dir) - {first})

    wait_until(replaced, "the next one")
    assert not zombies_of(os.getpid())
    assert not launcher_of(client)._thread.is_alive()
    assert client.drain(LIMIT).complete
    client.release(LIMIT)
    assert uploaders(rig.queue_dir) == set()
    assert rig.check(ids).delivered == len(ids)
