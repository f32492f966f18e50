"""``lotus-durable flusher --once``: a cron job's way."""

from __future__ import annotations

import signal
from collections.abc import Callable

from lotus_durable import Client
from lotus_durable.testing import Delay, FakeLotus, RefuseEvents

from .conftest import CommandLine, Start, wait_until

Track = Callable[[int], list[str]]


def test_it_uploads_what_is_there_and_exits_with_0(
    command_line: CommandLine, track: Track, fake_lotus: FakeLotus
) -> None:
    ids = track(1200)
    result = command_line.run("flusher", "--once")
    assert result.code == 0
    assert "1,200 events delivered, 0 pending" in result.errors
    assert set(fake_lotus.times_received) == set(ids)


def test_an_empty_queue_is_complete(command_line: CommandLine) -> None:
    assert command_line.run("flusher", "--once").code == 0


def test_parked_events_are_settled(command_line: CommandLine, track: Track, fake_lotus: FakeLotus) -> None:
    refusal = RefuseEvents("Customer does not exist")
    fake_lotus.fail_next(refusal, refusal)
    track(1)
    assert command_line.run("flusher", "--once").code == 0


def test_what_is_blocked_remains_and_the_exit_code_is_1(
    command_line: CommandLine, track: Track, fake_lotus: FakeLotus
) -> None:
    track(3)
    fake_lotus.rotate_key("another")
    result = command_line.run("flusher", "--once")
    assert result.code == 1
    assert "not complete, 3 events pending: the server refuses the API key" in result.errors


def test_it_gives_up_after_its_timeout(command_line: CommandLine, track: Track) -> None:
    track(3)
    nobody = {"LOTUS_HOST": "http://127.0.0.1:1"}
    result = command_line.run("flusher", "--once", "--timeout", "0.5", environment=nobody)
    assert result.code == 1
    assert "not complete, 3 events pending: not done within 0.5 seconds" in result.errors


def test_a_signal_ends_it_after_the_request_in_flight(
    command_line: CommandLine, start: Start, track: Track, fake_lotus: FakeLotus
) -> None:
    track(5)
    fake_lotus.fail_next(Delay(1.0))
    uploader = start("--once", LOTUS_MAX_BATCH_EVENTS="5")
    fake_lotus.wait_for(5)
    track(2)
    uploader.process.send_signal(signal.SIGTERM)
    assert uploader.process.wait(30) == 1
    assert "not complete, 2 events pending: it was told to stop" in uploader.log.read_text()
    status = command_line.run("status", "--json").json()
    assert (status["delivered"], status["pending"]) == (5, 2)


def test_where_a_worker_uploads_it_has_that_one_do_it(command_line: CommandLine, fake_lotus: FakeLotus) -> None:
    worker = Client(api_key="test-key", host=fake_lotus.host, queue_dir=command_line.queue_dir, flush_interval=0.05)
    worker.track_event(customer_id="c1", event_name="api_call")
    wait_until(lambda: (stats := worker.stats()).flusher is not None and stats.delivered == 1, "the worker to lead")
    worker.track_event(customer_id="c1", event_name="api_call")
    assert command_line.run("flusher", "--once").code == 0
    assert fake_lotus.event_count == 2
    worker.release(30.0)


def test_a_timeout_without_once_is_wrong_usage(command_line: CommandLine) -> None:
    result = command_line.run("flusher", "--timeout", "3")
    assert result.code == 2
    assert "--once" in result.one_error()


def test_told_to_stop_it_first_drains_if_it_is_to(start: Start, track: Track, fake_lotus: FakeLotus) -> None:
    uploader = start("--drain", "30", LOTUS_FLUSH_INTERVAL="600")
    uploader.wait_to_log("is the leader now")
    ids = track(30)
    log = uploader.end()
    assert set(ids) <= set(fake_lotus.times_received)
    assert "30 events delivered, 0 pending" in log


def test_a_last_drain_that_is_not_complete_exits_with_1(start: Start, track: Track) -> None:
    track(2)
    uploader = start("--drain", "0.3", LOTUS_HOST="http://127.0.0.1:1")
    uploader.wait_to_log("is the leader now")
    uploader.process.terminate()
    assert uploader.process.wait(30) == 1
    assert "not complete, 2 events pending: not done within 0.3 seconds" in uploader.log.read_text()


def test_a_second_signal_ends_the_last_drain(start: Start, track: Track) -> None:
    track(2)
    uploader = start("--drain", "600", LOTUS_HOST="http://127.0.0.1:1")
    uploader.wait_to_log("is the leader now")
    uploader.process.terminate()
    wait_until(lambda: uploader.log.read_text().count("is the leader now") == 2, "the drain to begin")
    uploader.process.terminate()
    assert uploader.process.wait(30) == 128 + signal.SIGTERM
