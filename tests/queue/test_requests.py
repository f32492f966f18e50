"""What processes ask of the leader, and how they learn what came of it; and the leader's heartbeat."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.heartbeat import Heartbeat, clear_heartbeat, read_heartbeat, write_heartbeat
from lotus_durable.queue.requests import answer, answered, ask, asked, remind, withdraw

from .faults import refusing

BEAT = Heartbeat(1, "host", "retrying", "the server does not answer", 1.0, 2.0, None)


def test_a_request_is_open_until_it_is_answered(directory: QueueDirectory) -> None:
    first, second = ask(directory), ask(directory)
    assert asked(directory) == {first, second}
    assert answered(directory, first) is None
    answer(directory, first, None)
    assert asked(directory) == {second}
    assert answered(directory, first) == ""
    answer(directory, second, "blocked: wrong key")
    assert answered(directory, second) == "blocked: wrong key"


def test_an_answer_replaces_one_that_a_crashed_leader_left_half_given(directory: QueueDirectory) -> None:
    name = ask(directory)
    with refusing("rename", errno.EIO):
        answer(directory, name, "a long reason that no longer holds")
    assert asked(directory) == {name}
    answer(directory, name, "short")
    assert answered(directory, name) == "short"


def test_a_withdrawn_request_leaves_nothing_behind(directory: QueueDirectory) -> None:
    open_one, answered_one = ask(directory), ask(directory)
    answer(directory, answered_one, None)
    for name in (open_one, answered_one):
        withdraw(directory, name)
        answer(directory, name, "too late")
    assert os.listdir(directory.requests) == []


def test_answers_that_nobody_fetched_go_away_with_time(directory: QueueDirectory) -> None:
    old, young = ask(directory), ask(directory)
    for name in (old, young):
        answer(directory, name, None)
    then = time.time() - 7200
    os.utime(directory.requests / f"{old}.done", (then, then))
    withdraw(directory, ask(directory))
    assert (answered(directory, old), answered(directory, young)) == (None, "")


def test_a_reminder_is_a_request_without_an_answer(directory: QueueDirectory) -> None:
    remind(directory)
    [name] = asked(directory)
    answer(directory, name, None)
    assert os.listdir(directory.requests) == []


def test_reminders_do_not_pile_up_without_a_leader(directory: QueueDirectory) -> None:
    for _ in range(200):
        remind(directory)
    assert len(asked(directory)) == 100


def test_nothing_is_asked_where_there_is_no_queue(tmp_path: Path) -> None:
    directory = QueueDirectory(tmp_path / "none")
    assert asked(directory) == set()
    withdraw(directory, "nothing")
    with pytest.raises(FileNotFoundError):
        ask(directory)


def test_a_heartbeat_comes_back_as_it_was_written(directory: QueueDirectory) -> None:
    assert read_heartbeat(directory) is None
    write_heartbeat(directory, BEAT)
    assert read_heartbeat(directory) == BEAT
    clear_heartbeat(directory)
    clear_heartbeat(directory)
    assert read_heartbeat(directory) is None


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", b"\xff", b'{"pid": 1}'])
def test_a_heartbeat_that_cannot_be_read_is_none(directory: QueueDirectory, data: bytes) -> None:
    directory.heartbeat.write_bytes(data)
    assert read_heartbeat(directory) is None
