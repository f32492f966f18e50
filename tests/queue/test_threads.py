"""Threads that append at once: nothing is lost, no gaps, shared syncs."""

from __future__ import annotations

import os
import threading
from functools import partial

import pytest

from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.writer import SegmentWriter

from .conftest import OpenQueue
from .events import (
    deliver_all,
    numbers_of,
    read_segment,
    record,
)
from .faults import replaced
from .waiting import wait_until


@pytest.mark.usefixtures("eager_switching")
@pytest.mark.parametrize("power", [False, True])
def test_threads_that_append_at_once_lose_nothing(
    directory: QueueDirectory, open_queue: OpenQueue, power: bool
) -> None:
    count, threads = (50, 8) if power else (2000, 8)
    queue = open_queue(power=power, segment_bytes=20_000)
    start = threading.Barrier(threads)
    failures: list[BaseException] = []

    def work(first: int) -> None:
        try:
            start.wait(10)
            for number in range(first, first + count):
                queue.append(record(number))
        except BaseException as error:  # noqa: BLE001  # shown by the assertion below
            failures.append(error)

    workers = [threading.Thread(target=work, args=(index * count,)) for index in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert failures == []
    found: list[int] = []
    for name in directory.segments():
        records, damages = read_segment(directory.journal / name)
        assert damages == []  # so the sequence numbers have no gaps
        found += numbers_of(records)
    assert sorted(found) == list(range(count * threads))
    assert queue.buffered() == 0
    assert queue.census().accepted == count * threads
    queue.close()
    assert queue._appender._open == set()


def _has_appended(writer: SegmentWriter, count: int) -> bool:
    return writer._sequence == count


def test_threads_share_syncs(open_queue: OpenQueue) -> None:
    """While one sync runs, the events of seven other threads are appended; few further syncs serve them all."""
    queue = open_queue(power=True)
    queue.append(record(0))
    real = os.fdatasync
    started, go_on = threading.Event(), threading.Event()

    def slow(descriptor: int) -> None:
        started.set()
        assert go_on.wait(10)
        real(descriptor)

    with replaced("fdatasync", slow, where=".seg") as syncs:
        threads = [threading.Thread(target=queue.append, args=(record(1),))]
        threads[0].start()
        assert started.wait(10)
        [writer] = queue._appender._open
        for number in range(2, 9):
            thread = threading.Thread(target=queue.append, args=(record(number),))
            thread.start()
            threads.append(thread)
            # Appended; it waits for the sync now.
            wait_until(partial(_has_appended, writer, number + 1))
        go_on.set()
        for thread in threads:
            thread.join(10)
    assert syncs.count == 2
    assert queue.census().accepted == 9


@pytest.mark.parametrize("end", ["rotation", "closing"])
def test_the_end_of_a_segment_serves_the_threads_that_wait_for_its_sync(open_queue: OpenQueue, end: str) -> None:
    queue = open_queue(power=True, segment_bytes=300)
    queue.append(record(0))
    [writer] = queue._appender._idle
    size = writer.append(record(1))  # as another thread does, which comes to wait for the sync a moment later
    if end == "rotation":
        queue.append(record(2, padding=200))
    else:
        queue.close()
    writer.sync_through(size)
    assert deliver_all(queue).numbers == [0, 1, *([2] if end == "rotation" else [])]
