"""``lotus-durable drain``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lotus_durable import Client
from lotus_durable.testing import Delay, FakeLotus, RefuseEvents

from .conftest import CommandLine, Start, Track, flusher_pid


def test_a_complete_drain_is_code_0(command_line: CommandLine, track: Track, fake_lotus: FakeLotus) -> None:
    ids = track(700)
    result = command_line.run("drain")
    assert result.code == 0
    assert result.output.startswith("700 delivered, 0 pending in ")
    assert result.errors == ""
    assert set(fake_lotus.times_received) == set(ids)


def test_a_queue_that_is_empty_is_drained(command_line: CommandLine, track: Track) -> None:
    track(1)
    assert command_line.run("drain").code == 0
    assert command_line.run("drain").output.startswith("0 delivered")


def test_where_nobody_flushes_it_flushes_by_itself_and_leaves_no_process(
    command_line: CommandLine, track: Track
) -> None:
    track(3)
    assert command_line.run("drain").code == 0
    assert flusher_pid(command_line.directory) is None
    assert not Path(command_line.directory.log).exists(), "a flusher was started"


def test_a_flusher_that_runs_is_asked_and_goes_on_though_the_settings_here_are_others(
    command_line: CommandLine, program: Client, fake_lotus: FakeLotus
) -> None:
    program.track_event(customer_id="c1", event_name="api_call")
    fake_lotus.wait_for(1)
    pid = flusher_pid(command_line.directory)
    program.track_event(customer_id="c1", event_name="api_call")
    result = command_line.run("drain", environment={"LOTUS_TIMEOUT": "7", "HTTP_PROXY": "http://127.0.0.1:9"})
    assert result.code == 0
    assert fake_lotus.event_count == 2
    assert flusher_pid(command_line.directory) == pid


@pytest.mark.fake_lotus("L22", customers=[])
def test_parked_events_do_not_make_it_incomplete_and_are_shown(
    command_line: CommandLine, track: Track, fake_lotus: FakeLotus
) -> None:
    track(3)
    assert command_line.run("drain").output.startswith("0 delivered, 0 pending, 3 parked in ")
    fake_lotus.add_customer("c1")
    result = command_line.run("drain")
    assert result.code == 0
    assert result.output.startswith("3 delivered, 0 pending in ")


def test_out_of_time_is_code_1_with_the_cause(command_line: CommandLine, track: Track, fake_lotus: FakeLotus) -> None:
    track(3)
    fake_lotus.pause()
    result = command_line.run("drain", "--timeout", "2")
    assert result.code == 1
    assert result.output.startswith("0 delivered, 3 pending in ")
    assert "not complete, 3 events pending: not done within 2 seconds" in result.one_error()
    assert "connection refused" in result.one_error()


def test_a_flusher_that_hangs_is_named_where_it_was_waited_for_in_vain(
    command_line: CommandLine, track: Track, flushing: Callable[..., None]
) -> None:
    track(1)
    flushing(ago=30.0)
    result = command_line.run("drain", "--timeout", "0.5")
    assert result.code == 1
    assert "process 4711 on web1 flushes, and shows no sign of life: it is stopped or stuck" in result.one_error()


def test_a_refused_key_is_code_1_at_once_with_the_reason(
    command_line: CommandLine, track: Track, fake_lotus: FakeLotus
) -> None:
    track(3)
    fake_lotus.rotate_key("another")
    result = command_line.run("drain", "--json")
    assert result.code == 1
    assert result.json()["remaining"] == 3
    assert result.json()["reason"] in result.one_error()
    assert "key" in result.one_error()


def test_dead_letters_are_counted(command_line: CommandLine, track: Track, fake_lotus: FakeLotus) -> None:
    track(2)
    fake_lotus.fail_next(None, RefuseEvents("No customer_id provided"))
    result = command_line.run("drain")
    assert result.code == 0
    assert "2 dead-lettered" in result.output


def test_what_the_flusher_has_to_tell_is_shown_by_whoever_takes_it_off_its_hands(
    command_line: CommandLine, start: Start, track: Track, fake_lotus: FakeLotus
) -> None:
    track(1)
    start()
    fake_lotus.wait_for(1)
    fake_lotus.fail_next(RefuseEvents("No customer_id provided"))
    track(2)
    result = command_line.run("drain")
    assert "No customer_id provided" in result.one_error()


def test_without_a_key_and_without_a_flusher_it_is_a_matter_of_configuration(
    command_line: CommandLine, track: Track
) -> None:
    track(3)
    result = command_line.run("drain", environment={"LOTUS_API_KEY": ""})
    assert result.code == 2
    assert "no API key is set" in result.one_error()


def test_without_a_key_it_has_the_flusher_do_it(
    command_line: CommandLine, start: Start, track: Track, fake_lotus: FakeLotus
) -> None:
    track(3)
    start()
    fake_lotus.wait_for(3)
    track(3)
    result = command_line.run("drain", environment={"LOTUS_API_KEY": ""})
    assert result.code == 0
    assert fake_lotus.event_count == 6


def test_where_nothing_may_be_sent_it_refuses(command_line: CommandLine, track: Track, fake_lotus: FakeLotus) -> None:
    track(3)
    result = command_line.run("drain", environment={"LOTUS_SEND": "no"})
    assert result.code == 2
    assert "LOTUS_SEND" in result.one_error()
    assert fake_lotus.event_count == 0


def test_what_is_tracked_while_it_runs_does_not_keep_it(
    command_line: CommandLine, track: Track, fake_lotus: FakeLotus
) -> None:
    track(2)
    fake_lotus.fail_next(None, Delay(1.0))
    process = command_line.start("drain", "--json")
    fake_lotus.wait_for(2)
    track(1)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    report = json.loads(output)
    assert (report["complete"], report["delivered"], report["remaining"], report["reason"]) == (True, 2, 1, None)


def test_what_was_settled_in_books_that_are_lost_does_not_count_against_a_drain(
    command_line: CommandLine, program: Client
) -> None:
    program.track_event(customer_id="c1", event_name="api_call")
    assert program.drain(30).delivered == 1
    program.release()
    assert command_line.run("stop").code == 0
    books = Path(command_line.directory.books)
    books.write_bytes(b"")
    Path(f"{books}-wal").unlink()
    report = command_line.run("drain", "--json").json()
    assert (report["complete"], report["delivered"]) == (True, 0)
