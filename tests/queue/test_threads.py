"""Threads that append at once, each through a pair that is its own for the moment: nothing is lost, no gaps."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from lotus_durable.queue.appender import Appender
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.limit import QueueLimit

from .segments import Reports, open_appender, read_journal, read_segment, record


class Pairs:
    """A pool as a process has it: a pair is taken for an append, and free again while its event is synced."""

    def __init__(self, directory: QueueDirectory, reports: Reports, *, power: bool) -> None:
        self.directory, self.reports, self.power = directory, reports, power
        self.limit = QueueLimit(directory, 1 << 30)
        self.idle: list[Appender] = []
        self.all: list[Appender] = []

    def append(self, number: int) -> None:
        try:
            pair = self.idle.pop()
        except IndexError:
            pair = open_appender(self.directory, self.reports, limit=self.limit, power=self.power, segment_bytes=20_000)
            self.all.append(pair)
        try:
            mark = pair.append(record(number), time.monotonic())
        finally:
            self.idle.append(pair)
        if mark is not None:
            pair.sync(mark)


@pytest.mark.usefixtures("eager_switching")
@pytest.mark.parametrize("power", [False, True])
def test_threads_that_append_at_once_lose_nothing(directory: QueueDirectory, reports: Reports, power: bool) -> None:
    count, threads = (50, 8) if power else (2000, 8)
    pairs = Pairs(directory, reports, power=power)
    start = threading.Barrier(threads)
    failures: list[BaseException] = []

    def work(first: int) -> None:
        try:
            start.wait(10)
            for number in range(first, first + count):
                pairs.append(number)
        except BaseException as error:  # noqa: BLE001  # shown by the assertion below
            failures.append(error)

    workers = [threading.Thread(target=work, args=(index * count,)) for index in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert failures == []
    for pair in pairs.all:
        pair.close()
    for name in directory.segments():
        assert read_segment(Path(directory.journal) / name)[1] == []  # so the sequence numbers have no gaps
    assert sorted(read_journal(directory)) == list(range(count * threads))
    assert reports == []
