"""``lotus-durable flusher`` at SIGHUP: it reads its configuration again, and loses nothing by it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lotus_durable import Client
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.requests import ask
from lotus_durable.testing import Delay, FakeLotus

from .conftest import KEY, CommandLine, Start, Track, wait_until

NEW_KEY = "another-key"


def as_key_file(path: Path, key: str) -> list[str]:
    path.write_text(f"{key}\n")
    return ["--api-key-file", str(path)]


def as_env_file(path: Path, key: str) -> list[str]:
    path.write_text(f"# of the flusher\nOTHER=x\n\nLOTUS_API_KEY='{key}'\n")
    return ["--env-file", str(path)]


@pytest.mark.parametrize("source", [as_key_file, as_env_file])
def test_a_rotated_key_is_read_at_sighup_and_what_was_blocked_is_delivered(
    source: Callable[[Path, str], list[str]],
    command_line: CommandLine,
    start: Start,
    track: Track,
    fake_lotus: FakeLotus,
    tmp_path: Path,
) -> None:
    file = tmp_path / "configuration"
    service = start(*source(file, KEY), LOTUS_API_KEY="the-one-of-long-ago")
    ids = track(5)
    fake_lotus.wait_for(5)
    fake_lotus.rotate_key(NEW_KEY)
    ids += track(7)
    wait_until(lambda: "blocked" in command_line.run_process("status").output, "the flusher to be blocked")
    assert fake_lotus.event_count == 5
    source(file, NEW_KEY)
    service.hang_up()
    fake_lotus.wait_for(12)
    service.wait_to_log("SIGHUP: the configuration was read again; changed: api_key")
    log = service.end()
    assert set(fake_lotus.times_received) == set(ids)
    assert fake_lotus.duplicates == 0
    assert "stopped (SIGTERM); 0 pending" in log
    assert KEY not in log
    assert NEW_KEY not in log


@pytest.mark.parametrize("hangs_up", [True, False], ids=["at SIGHUP", "by itself"])
def test_that_events_are_delivered_again_is_told_where_it_was_told_that_they_are_not(
    start: Start, queue_dir: Path, fake_lotus: FakeLotus, tmp_path: Path, hangs_up: bool
) -> None:
    told: list[str] = []
    client = Client(
        queue_dir=queue_dir, flusher="external", on_error=lambda error, _: told.append(type(error).__name__)
    )

    def is_told(kind: str) -> bool:
        client.track_event(customer_id="c1", event_name="api_call")
        return kind in told

    file = tmp_path / "configuration"
    service = start(*as_key_file(file, KEY))
    fake_lotus.rotate_key(NEW_KEY)
    wait_until(lambda: is_told("DeliveryBlocked"), "on_error to be told that nothing is delivered")
    as_key_file(file, NEW_KEY)
    if hangs_up:
        service.hang_up()
    else:
        ask(QueueDirectory(queue_dir), "drain")  # it probes once a minute, and when somebody asks
    wait_until(lambda: is_told("DeliveryResumed"), "on_error to be told that it is over")
    client.release()


@pytest.mark.parametrize("source", [as_key_file, as_env_file])
def test_a_refused_key_is_read_again_without_a_signal(
    source: Callable[[Path, str], list[str]],
    command_line: CommandLine,
    start: Start,
    track: Track,
    fake_lotus: FakeLotus,
    tmp_path: Path,
) -> None:
    file = tmp_path / "configuration"
    service = start(*source(file, KEY))
    track(5)
    fake_lotus.wait_for(5)
    fake_lotus.rotate_key(NEW_KEY)
    source(file, NEW_KEY)
    track(7)
    fake_lotus.wait_for(12)
    assert command_line.run_process("drain").code == 0
    assert "SIGHUP" not in service.end()
    assert fake_lotus.duplicates == 0


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "cannot be read: No such file or directory"),
        ("LOTUS_TIMEOUT=soon\n", "LOTUS_TIMEOUT: a number is needed"),
        ("LOTUS_API_KEY\n", "line 1: NAME=value is needed"),
        ("\nLOTUS_APIKEY=secret-thing\n", "line 2: there is no option LOTUS_APIKEY"),
        ("LOTUS_API_KEY=\n", "api_key: none is set"),
        ("LOTUS_SEND=no\n", "send: it is off"),
        ("LOTUS_QUEUE_DIR=/elsewhere\n", "queue_dir: to change it, start the flusher anew"),
    ],
)
def test_a_bad_file_keeps_the_old_configuration_and_the_log_says_why(
    content: str | None, why: str, start: Start, track: Track, fake_lotus: FakeLotus, tmp_path: Path
) -> None:
    file = tmp_path / "lotus.env"
    file.write_text(f"LOTUS_API_KEY={KEY}\n")
    service = start("--env-file", str(file))
    service.wait_to_flush()
    if content is None:
        file.unlink()
    else:
        file.write_text(content)
    service.hang_up()
    service.wait_to_log("SIGHUP: the configuration stays as it was: ")
    track(3)
    fake_lotus.wait_for(3)
    log = service.end()
    assert why in log
    assert "secret-thing" not in log


def test_a_file_that_says_the_same_disturbs_nothing(start: Start, track: Track, fake_lotus: FakeLotus) -> None:
    service = start()
    service.wait_to_flush()
    service.hang_up()
    service.wait_to_log("changed: nothing")
    track(3)
    fake_lotus.wait_for(3)
    service.end()


def test_the_request_in_flight_ends_before_a_new_configuration_counts(
    start: Start, track: Track, fake_lotus: FakeLotus, tmp_path: Path
) -> None:
    file = tmp_path / "lotus.env"
    file.write_text("LOTUS_MAX_BATCH_EVENTS=5\n")
    track(5)
    fake_lotus.fail_next(None, Delay(1.0))
    service = start("--env-file", str(file))
    fake_lotus.wait_for(5)  # stored, and the answer is on its way
    file.write_text("LOTUS_MAX_BATCH_EVENTS=2\n")
    service.hang_up()
    service.wait_to_log("changed: max_batch_events")
    track(4)
    fake_lotus.wait_for(9)
    assert "stopped (SIGTERM); 0 pending" in service.end()
    assert fake_lotus.duplicates == 0
    assert [len(request.json()["batch"]) for request in fake_lotus.requests if request.path == "/api/track/"] == [
        5,
        2,
        2,
    ]


def test_one_that_stands_by_reads_its_configuration_too(
    start: Start, track: Track, fake_lotus: FakeLotus, tmp_path: Path
) -> None:
    first = start()
    track(1)
    fake_lotus.wait_for(1)
    file = tmp_path / "configuration"
    second = start(*as_env_file(file, KEY))
    second.wait_to_log("this one stands by")
    as_env_file(file, NEW_KEY)
    second.hang_up()
    second.wait_to_log("changed: api_key")
    fake_lotus.rotate_key(NEW_KEY)
    first.end()
    track(2)
    fake_lotus.wait_for(3)
    second.end()


def test_a_signal_to_end_is_taken_after_a_reload(start: Start) -> None:
    service = start()
    service.wait_to_flush()
    service.hang_up()
    service.hang_up()
    assert "stopped (SIGTERM)" in service.end()
