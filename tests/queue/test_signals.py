"""Forks and signal handlers in the middle of tracking: no deadlock, and every event is kept."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import pytest

from lotus_durable.queue.appender import Appender
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.writer import is_abandoned

from .faults import exit_status, in_child, replaced
from .segments import Reports, append, expire_trust, open_appender, read_journal


def test_a_forked_child_leaves_the_segment_to_its_parent(directory: QueueDirectory, appender: Appender) -> None:
    append(appender, 0)

    def track() -> None:
        appender.abandon()
        assert appender.written() == {}
        append(appender, 1)
        appender.close()

    assert exit_status(in_child(track)) == 0
    [parents, _childs] = directory.segments()
    with open(Path(directory.journal) / parents, "rb") as file:
        assert not is_abandoned(file.fileno())
    append(appender, 2)
    assert sorted(read_journal(directory)) == [0, 1, 2]


Handle = Callable[[Callable[[], object]], None]


@pytest.fixture
def on_signal() -> Iterator[Handle]:
    """Sets what SIGPROF does."""
    before = signal.getsignal(signal.SIGPROF)

    def set_handler(action: Callable[[], object]) -> None:
        def handler(_number: int, _frame: FrameType | None) -> None:
            action()

        signal.signal(signal.SIGPROF, handler)

    yield set_handler
    signal.signal(signal.SIGPROF, before)


@pytest.mark.parametrize("call", ["pwrite", "fdatasync", "rename", "open", "fsync", "fstat"])
def test_a_signal_handler_that_tracks_through_a_lane_of_its_own_disturbs_nothing(
    directory: QueueDirectory, appender: Appender, reports: Reports, on_signal: Handle, call: str
) -> None:
    other = open_appender(directory, reports)
    on_signal(lambda: append(other, 100))
    real = getattr(os, call)

    def interrupted(*arguments: object) -> object:
        result = real(*arguments)
        signal.raise_signal(signal.SIGPROF)
        return result

    with replaced(call, interrupted, where="journal", times=1) as calls:
        append(appender, 0)
        expire_trust(appender)
        append(appender, 1)
    other.close()
    assert sorted(read_journal(directory)) == [0, 1, *([100] if calls.count else [])]
    assert reports == []


def test_a_signal_handler_that_tracks_while_its_own_thread_waits_for_a_sync_uses_the_same_segment(
    directory: QueueDirectory, reports: Reports, on_signal: Handle
) -> None:
    """The pair is free while a thread waits for its sync."""
    appender = open_appender(directory, reports, power=True)
    append(appender, 0)
    on_signal(lambda: append(appender, 2))
    real = os.fdatasync

    def interrupted(descriptor: int) -> None:
        real(descriptor)
        signal.raise_signal(signal.SIGPROF)

    with replaced("fdatasync", interrupted, times=1):
        append(appender, 1)
    assert read_journal(directory) == [0, 1, 2]
    assert len(directory.segments()) == 1
    appender.close()


def test_a_signal_handler_that_ends_the_process_in_the_middle_of_a_sync_leaves_the_event_once(
    directory: QueueDirectory, reports: Reports, on_signal: Handle
) -> None:
    appender = open_appender(directory, reports, power=True)
    append(appender, 0)
    on_signal(appender.close)
    real = os.fdatasync

    def interrupted(descriptor: int) -> None:
        real(descriptor)
        signal.raise_signal(signal.SIGPROF)

    with replaced("fdatasync", interrupted, times=1):
        append(appender, 1)
    assert read_journal(directory) == [0, 1]
    assert len(directory.segments()) == 1
    assert reports == []
