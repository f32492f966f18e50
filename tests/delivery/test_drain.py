"""Draining from any process: whoever leads is asked, and the answer comes, or the reason why not."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from lotus_durable.delivery import drain as draining
from lotus_durable.delivery.drain import NO_KEY
from lotus_durable.errors import DiskRefused, LotusError, QueueDamaged, QueueDirectoryError
from lotus_durable.queue import requests
from lotus_durable.testing import Delay, Faults, Status
from tests.rig import Rig, track, wait_until


def test_there_is_nothing_to_drain_in_a_new_queue(rig: Rig) -> None:
    report = rig.client().drain(20)
    assert (report.complete, report.delivered, report.remaining, report.reason) == (True, 0, 0, None)
    assert report.elapsed >= 0
    assert rig.server.request_count == 0


def test_a_process_that_does_not_lead_has_the_leader_do_it_at_once(rig: Rig) -> None:
    leader = rig.client(flush_interval=3600.0)
    ids = track(leader, 1)
    rig.server.wait_for(1)
    other = rig.client(flush_interval=3600.0)
    ids += track(other, 5)
    report = other.drain(20)
    assert report.complete
    stats = rig.check(ids)
    assert stats.delivered == 6


def test_a_process_without_a_key_has_the_leader_do_it(rig: Rig) -> None:
    leader = rig.client()
    ids = track(leader, 1)
    rig.server.wait_for(1)
    ids += track(keyless := rig.client(api_key=None), 5)
    assert keyless.drain(20).complete
    assert rig.check(ids).delivered == 6


def test_where_nobody_can_lead_a_drain_says_so(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    client = rig.client(api_key=None)
    ids = track(client, 3)
    report = client.drain()
    assert (report.complete, report.remaining, report.reason) == (False, 3, NO_KEY)
    assert caplog.text.count("this process does not upload: no API key is set") == 1
    assert rig.check(ids).pending == 3


def test_where_a_leader_is_about_to_come_a_process_without_a_key_waits_for_it(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draining, "_TAKEOVER_TIME", 20.0)
    keyless = rig.client(api_key=None)
    ids = track(keyless, 3)
    with ThreadPoolExecutor() as pool:
        drained = pool.submit(keyless.drain, 20)
        wait_until(lambda: requests.asked(rig.directory), "the request")
        ids += track(rig.client(), 1)
        assert drained.result().complete
    assert rig.check(ids).delivered == 4


def test_a_drain_returns_in_time_while_a_request_hangs(rig: Rig) -> None:
    rig.server.fail_next(Delay(60.0))
    client = rig.client(timeout=(5.0, 60.0))
    ids = track(client, 2)
    report = client.drain(0.2)
    assert (report.complete, report.remaining) == (False, 2)
    assert report.reason == "not done within 0.2 seconds"
    rig.server.stop()
    assert rig.check(ids).pending == 2


def test_a_drain_of_a_process_whose_flusher_is_external_uploads_if_nobody_else_does(rig: Rig) -> None:
    client = rig.client(flusher="external")
    ids = track(client, 5)
    assert rig.server.request_count == 0
    assert client.drain(20).complete
    assert rig.check(ids).delivered == 5


def test_several_threads_drain_at_once(rig: Rig) -> None:
    client = rig.client()
    ids = track(client, 50)
    with ThreadPoolExecutor(8) as pool:
        reports = list(pool.map(lambda _: client.drain(20), range(8)))
    assert all(report.complete for report in reports)
    assert rig.check(ids).delivered == 50
    assert list(rig.directory.requests.iterdir()) == []


def test_a_drain_settles_what_was_pending_when_it_began_however_much_is_tracked_meanwhile(rig: Rig) -> None:
    client = rig.client()
    before = track(client, 20)
    meanwhile: list[str] = []
    ended = threading.Event()

    def go_on() -> None:
        while not ended.is_set():
            meanwhile.extend(track(client, 1))

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        assert client.drain(60).complete
    finally:
        ended.set()
        thread.join()
    assert set(before) <= set(rig.server.times_received)
    rig.check(before + meanwhile)


def test_a_drain_from_on_error_is_refused_instead_of_waiting_for_itself(rig: Rig) -> None:
    reports = []

    def on_error(_: LotusError, __: object) -> None:
        reports.append(client.drain())
        client.flush()
        client.shutdown()

    client = rig.client(on_error=on_error)
    ids = track(client, 1, time_created="2020-01-01T00:00:00Z")
    wait_until(lambda: reports, "the report")
    assert not reports[0].complete
    assert "on_error" in (reports[0].reason or "")
    assert rig.check(ids).dead_lettered == 1


def test_a_drain_tells_what_became_of_the_events(rig: Rig) -> None:
    rig.server.faults = Faults(poison={"bad": Status(500)})
    client = rig.client(flusher="external")
    ids = track(client, 5) + track(client, 1, time_created="2020-01-01T00:00:00Z")
    ids += track(client, 1, idempotency_id="bad")
    report = client.drain(20)
    assert (report.delivered, report.dead_lettered, report.parked, report.remaining) == (5, 1, 1, 0)
    assert report.complete
    rig.check(ids)


def test_progress_can_be_watched(rig: Rig) -> None:
    rig.server.fail_next(Delay(0.2))
    client = rig.client()
    track(client, 3)
    looks = []
    assert client.watched_drain(20, lambda: looks.append(client.stats().pending)).complete
    assert looks[0] == 3


def test_requests_whose_asker_died_are_answered_and_do_no_harm(rig: Rig) -> None:
    rig.directory.prepare()
    forgotten = requests.ask(rig.directory)
    client = rig.client()
    ids = track(client, 1)
    rig.server.wait_for(1)
    wait_until(lambda: requests.answered(rig.directory, forgotten) == "", "its answer")
    assert client.drain(20).complete
    assert rig.check(ids).delivered == 1


def test_what_keeps_a_drain_from_looking_at_the_queue_is_an_error_of_ours(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = rig.client(flusher="external")
    ids = track(client, 1)
    with monkeypatch.context() as patch:
        patch.setattr(draining, "ask", lambda _: os.open("/nowhere/at/all", os.O_RDONLY))
        with pytest.raises(DiskRefused, match="the queue directory cannot be used"):
            client.drain(20)
    rig.directory.requests.rmdir()
    rig.directory.requests.write_text("")
    with pytest.raises(QueueDirectoryError, match="is not a directory"):
        client.drain(20)
    rig.directory.requests.unlink()
    assert client.drain(20).complete
    assert rig.check(ids).delivered == 1


def test_a_damaged_state_is_told_and_the_leader_starts_over(rig: Rig) -> None:
    client = rig.client(flusher="external")
    track(client, 1)
    assert client.drain(20).complete
    rig.stop()
    rig.directory.state.write_bytes(b"garbage")
    rig.directory.recent_state.unlink(missing_ok=True)
    keyless = rig.client(flusher="external", api_key=None)
    with pytest.raises(QueueDamaged):
        keyless.drain(20)
    with pytest.raises(QueueDamaged):
        keyless.stats()
    ids = track(rig.client(), 1)
    rig.server.wait_for(2)
    assert keyless.drain(20).complete
    assert set(ids) <= set(rig.server.times_received)


def test_the_uploading_thread_lives_on_in_a_directory_that_is_spoilt(rig: Rig) -> None:
    client = rig.client()
    ids = track(client, 1)
    rig.server.wait_for(1)
    rig.directory.requests.rmdir()
    rig.directory.requests.write_text("")
    candidate = client._here().candidate
    assert candidate is not None
    wait_until(lambda: not candidate.leads, "it to step down")
    rig.directory.requests.unlink()
    ids += track(client, 1)
    rig.server.wait_for(2)
    assert client.drain(20).complete
    assert rig.check(ids).delivered == 2
