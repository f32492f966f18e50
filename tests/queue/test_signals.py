"""A signal handler that tracks while its own thread is inside track: no deadlock, and both events are kept."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import pytest

from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.journal import JournalQueue

from .conftest import OpenQueue
from .events import assert_conserved, deliver_all, read_segment, record
from .faults import full_disk, replaced

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
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.signal(signal.SIGPROF, before)


@pytest.mark.parametrize("power", [False, True])
@pytest.mark.parametrize("call", ["write", "fdatasync", "rename", "open", "fsync"])
@pytest.mark.parametrize("first", [True, False])
def test_an_event_tracked_in_the_middle_of_tracking_another_is_kept(
    open_queue: OpenQueue, on_signal: Handle, call: str, power: bool, first: bool
) -> None:
    queue = open_queue(power=power)
    if not first:
        queue.append(record(0))
    on_signal(lambda: queue.append(record(2)))
    real = getattr(os, call)

    def interrupted(*arguments: object) -> object:
        result = real(*arguments)
        signal.raise_signal(signal.SIGPROF)
        return result

    with replaced(call, interrupted, where="journal", times=1) as calls:
        queue.append(record(1))
    numbers = deliver_all(queue).numbers
    assert sorted(numbers) == sorted([*([] if first else [0]), 1, *([2] if calls.count else [])])
    assert queue.buffered() == 0


@pytest.mark.parametrize("power", [False, True])
def test_a_storm_of_signals_that_track_loses_nothing(
    memory_path: Path, open_queue: OpenQueue, on_signal: Handle, power: bool
) -> None:
    directory = QueueDirectory(memory_path / "queue")
    queue = open_queue(at=directory, power=power, segment_bytes=5000)
    own, handled = 0, 0

    def track() -> None:
        nonlocal handled
        handled += 1
        queue.append(record(-handled))
        # Once more, and not again and again: an append that syncs may take longer than any interval.
        signal.setitimer(signal.ITIMER_PROF, 0.0005)

    on_signal(track)
    signal.setitimer(signal.ITIMER_PROF, 0.0005)
    while handled < 100:
        queue.append(record(own))
        own += 1
    signal.setitimer(signal.ITIMER_PROF, 0)
    for name in directory.segments():
        assert read_segment(directory.journal / name)[1] == []
    assert sorted(deliver_all(queue).numbers) == list(range(-handled, own))
    assert_conserved(queue.census())


def test_an_event_tracked_while_others_are_written_back_is_kept(queue: JournalQueue, on_signal: Handle) -> None:
    with full_disk():
        for number in range(10):
            queue.append(record(number))
    on_signal(lambda: queue.append(record(100)))
    real = os.write

    def interrupted(descriptor: int, data: bytes) -> int:
        written = real(descriptor, data)
        signal.raise_signal(signal.SIGPROF)
        return written

    with replaced("write", interrupted, where=".seg", times=3):
        queue.append(record(10))
    queue.write_back()
    assert sorted(deliver_all(queue).numbers) == [*range(11), 100, 100, 100]
