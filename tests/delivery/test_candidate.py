"""The uploading thread: nothing ends it but being told to, and then it ends in order."""

from __future__ import annotations

import errno
import logging
import os
import threading
from collections.abc import Callable
from typing import Any

import pytest

from lotus_durable.delivery import loop as leader
from lotus_durable.errors import DiskRefused, LotusError
from lotus_durable.queue import consumer as journal_consumer
from lotus_durable.queue.books import Store
from lotus_durable.queue.heartbeat import read_heartbeat
from lotus_durable.queue.journal import JournalQueue
from lotus_durable.queue.sync import JournalSync
from lotus_durable.testing import Delay
from tests.rig import LIMIT, Rig, track, wait_until


def failing(times: int, error: Callable[[], BaseException], then: Callable[..., Any]) -> Callable[..., Any]:
    """Raise so many times, then do what is to be done."""
    left = [error] * times

    def call(*arguments: Any, **options: Any) -> Any:
        if left:
            raise left.pop()()  # noqa: RSE102  # the second pair calls what was taken
        return then(*arguments, **options)

    return call


def no_space() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_no_error_ends_it_and_the_same_one_is_logged_once(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    consumer = JournalQueue.consumer
    monkeypatch.setattr(JournalQueue, "consumer", failing(3, lambda: RuntimeError("a bug"), consumer))
    client = rig.client()
    ids = track(client, 3)
    rig.server.wait_for(3)
    assert caplog.text.count("the uploader failed and tries again: RuntimeError: a bug") == 1
    assert client.drain(20).complete
    assert rig.check(ids).delivered == 3


def test_a_drain_hears_that_the_uploader_fails(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: JournalQueue) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    client = rig.client()
    with monkeypatch.context() as patch:
        patch.setattr(JournalQueue, "consumer", refuse)
        ids = track(client, 1)
        report = client.drain()
    assert (report.complete, report.remaining) == (False, 1)
    assert "the uploader failed and tries again: OSError: [Errno 5] Input/output error" in (report.reason or "")
    assert client.drain(20).complete
    assert rig.check(ids).delivered == 1


def test_an_on_error_that_wants_to_end_the_program_does_not_end_the_uploading(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    def on_error(error: LotusError, _: object) -> None:
        raise SystemExit(str(error))

    rig.server.rotate_key("other")
    client = rig.client(on_error=on_error)
    ids = track(client, 1)
    wait_until(lambda: "SystemExit" in caplog.text, "the report")
    rig.server.rotate_key("test-key")
    rig.server.wait_for(1)
    assert client.drain(20).complete
    assert rig.check(ids).delivered == 1


def test_an_on_error_that_fails_is_logged_and_changes_nothing(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    client = rig.client(on_error=lambda *_: 1 / 0)
    ids = track(client, 1, time_created="2020-01-01T00:00:00Z") + track(client, 1)
    assert client.drain(20).complete
    assert "on_error itself failed" in caplog.text
    stats = rig.check(ids)
    assert (stats.delivered, stats.dead_lettered) == (1, 1)


def test_its_threads_keep_no_process_alive(rig: Rig) -> None:
    before = set(threading.enumerate())
    client = rig.client(upload_concurrency=3, max_batch_events=1)
    rig.server.fail_next(*[Delay(0.2)] * 3)
    track(client, 3)
    rig.server.wait_until(lambda: rig.server.request_count >= 3)
    ours = {thread for thread in set(threading.enumerate()) - before if "lotus_durable" in thread.name}
    assert {thread.name.split()[1] for thread in ours} == {"flusher", "housekeeping", "upload"}
    assert all(thread.daemon for thread in ours)


def test_stopping_ends_the_request_in_flight_and_commits_it(rig: Rig) -> None:
    rig.server.fail_next(Delay(0.3))
    client = rig.client()
    ids = track(client, 5)
    rig.server.wait_until(lambda: rig.server.request_count >= 1)
    assert client.stats().delivered == 0
    candidate = client._here().candidate
    assert candidate is not None
    assert candidate.stop(0.0) is False
    assert candidate.stop(LIMIT) is True
    stats = client.stats()
    assert stats.delivered + stats.pending == 5
    assert stats.delivered == rig.server.event_count > 0
    assert stats.flusher is None, "it cleared its heartbeat"
    assert rig.server.duplicates == 0
    rig.check(ids)


def test_stopping_does_not_wait_for_an_outage_to_end(rig: Rig) -> None:
    rig.server.pause()
    client = rig.client()
    ids = track(client, 1)
    wait_until(lambda: (flusher := client.stats().flusher) and flusher.reason, "the outage to be noticed")
    candidate = client._here().candidate
    assert candidate is not None
    assert candidate.stop(LIMIT) is True
    assert rig.check(ids).pending == 1


def test_where_no_thread_can_be_started_events_are_kept_and_the_next_one_tries_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    start = threading.Thread.start

    def refuse(self: threading.Thread) -> None:
        if "lotus_durable" in self.name:
            raise RuntimeError("can't start new thread")
        start(self)

    client = rig.client()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        ids = track(client, 2)
    assert "cannot start its flusher: can't start new thread" in caplog.text
    ids += track(client, 1)
    rig.server.wait_for(3)
    assert client.drain(20).complete
    assert rig.check(ids).delivered == 3


@pytest.mark.parametrize("event_is_refused", [False, True])
def test_a_full_disk_at_the_commit_is_waited_for_and_nothing_is_sent_twice(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, event_is_refused: bool
) -> None:
    monkeypatch.setattr(leader, "_DISK_PAUSE", 0.01)
    if event_is_refused:
        monkeypatch.setattr(Store, "insert", failing(3, no_space, Store.insert))
    else:
        settle = journal_consumer.JournalConsumer.settle
        monkeypatch.setattr(journal_consumer.JournalConsumer, "settle", failing(3, no_space, settle))
    client = rig.client()
    ids = track(client, 4)
    ids += track(client, 1, time_created="2020-01-01T00:00:00Z")
    assert client.drain(20).complete
    reports = [error for error, _ in rig.errors if isinstance(error, DiskRefused)]
    assert len(reports) == 1
    assert "the disk refuses to commit what was delivered" in str(reports[0])
    stats = rig.check(ids)
    assert (stats.delivered, stats.dead_lettered, rig.server.duplicates) == (4, 1, 0)


def test_a_stop_while_the_disk_is_full_leaves_the_events_to_be_sent_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = rig.client()
    with monkeypatch.context() as patch:
        settle = journal_consumer.JournalConsumer.settle
        patch.setattr(journal_consumer.JournalConsumer, "settle", failing(10_000, no_space, settle))
        ids = track(client, 3)
        wait_until(lambda: rig.errors, "the report")
        rig.stop()
    assert rig.client().drain(20).complete
    assert rig.check(ids).delivered == 3
    assert rig.server.event_count == 3


def test_the_heart_beats_on_when_the_background_sync_fails(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(JournalSync, "run", failing(10_000, no_space, JournalSync.run))
    client = rig.client(sync_interval=0.01)
    ids = track(client, 1)
    rig.server.wait_for(1)
    first = wait_until(lambda: read_heartbeat(rig.directory), "a heartbeat")
    assert first is not None
    before = first.beat
    wait_until(lambda: (beat := read_heartbeat(rig.directory)) and beat.beat > before, "the next one")
    assert caplog.text.count("background work failed") == 1
    assert client.drain(20).complete
    rig.check(ids)


def test_steps_are_logged_for_those_who_debug(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="lotus_durable")
    track(rig.client(), 1)
    rig.server.wait_for(1)
    assert "leader now" in caplog.text
    wait_until(lambda: "sent 1 events: Settled" in caplog.text, "the line about the request")
