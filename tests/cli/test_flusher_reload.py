"""``lotus-durable flusher`` at SIGHUP: it reads its configuration again, and loses nothing by it."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from lotus_durable.testing import Delay, FakeLotus

from .conftest import KEY, CommandLine, Flusher, Start, wait_until

Track = Callable[[int], list[str]]

NEW_KEY = "another-key"


def hang_up(uploader: Flusher) -> None:
    uploader.process.send_signal(signal.SIGHUP)


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
    uploader = start(*source(file, KEY), LOTUS_API_KEY="the-one-of-long-ago")
    ids = track(5)
    fake_lotus.wait_for(5)
    fake_lotus.rotate_key(NEW_KEY)
    ids += track(7)
    wait_until(lambda: "blocked" in command_line.run("status").output, "the flusher to be blocked")
    assert fake_lotus.event_count == 5
    source(file, NEW_KEY)
    hang_up(uploader)
    fake_lotus.wait_for(12)
    uploader.wait_to_log("SIGHUP: the configuration was read again; changed: api_key")
    log = uploader.end()
    assert set(fake_lotus.times_received) == set(ids)
    assert fake_lotus.duplicates == 0
    assert "12 events delivered, 0 pending" in log
    assert KEY not in log
    assert NEW_KEY not in log


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
    uploader = start("--env-file", str(file))
    uploader.wait_to_log("is the leader now")
    if content is None:
        file.unlink()
    else:
        file.write_text(content)
    hang_up(uploader)
    uploader.wait_to_log("SIGHUP: the configuration stays as it was: ")
    track(3)
    fake_lotus.wait_for(3)
    log = uploader.end()
    assert why in log
    assert "secret-thing" not in log
    assert log.count("is the leader now") == 1


def test_a_file_that_says_the_same_disturbs_nothing(start: Start, track: Track, fake_lotus: FakeLotus) -> None:
    uploader = start()
    uploader.wait_to_log("is the leader now")
    hang_up(uploader)
    uploader.wait_to_log("changed: nothing")
    track(3)
    fake_lotus.wait_for(3)
    assert uploader.end().count("is the leader now") == 1


def test_the_request_in_flight_ends_before_a_new_configuration_counts(
    start: Start, track: Track, fake_lotus: FakeLotus, tmp_path: Path
) -> None:
    file = tmp_path / "lotus.env"
    file.write_text("LOTUS_MAX_BATCH_EVENTS=5\n")
    track(5)
    fake_lotus.fail_next(Delay(1.0))
    uploader = start("--env-file", str(file))
    fake_lotus.wait_for(5)  # stored, and the answer is on its way
    file.write_text("LOTUS_MAX_BATCH_EVENTS=2\n")
    hang_up(uploader)
    track(4)
    fake_lotus.wait_for(9)
    assert "9 events delivered, 0 pending" in uploader.end()
    assert fake_lotus.duplicates == 0
    assert fake_lotus.request_count == 3


def test_a_signal_to_end_is_heeded_after_a_reload(start: Start) -> None:
    uploader = start()
    uploader.wait_to_log("is the leader now")
    hang_up(uploader)
    hang_up(uploader)
    assert "SIGTERM: stopping" in uploader.end()
