"""Many processes, many segments, and no descriptor left: nothing piles up."""

from __future__ import annotations

import contextlib
import os
import resource
from functools import partial
from pathlib import Path

import pytest

from lotus_durable.queue.appender import Appender
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.format import HEADER_SIZE

from .consuming import consuming, counts, deliver, deliver_all
from .faults import exit_status, in_child
from .segments import Reports, append, open_appender, read_journal, record, write_segment


@pytest.mark.parametrize("power", [False, True])
def test_with_no_descriptor_left_no_trail_of_empty_segments_is_left(
    directory: QueueDirectory, reports: Reports, power: bool
) -> None:
    def child() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        taken: list[int] = []
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        appenders: list[Appender] = []
        accepted = 0
        for _ in range(6):  # with so many descriptors left
            for _ in range(10):
                appenders.append(open_appender(directory, reports, power=power))
                with contextlib.suppress(OSError):
                    append(appenders[-1], accepted)
                    accepted += 1
            os.close(taken.pop())
        for descriptor in taken:
            os.close(descriptor)
        for appender in appenders[:40]:
            with contextlib.suppress(OSError):
                append(appender, accepted)
                accepted += 1
        for appender in appenders:
            appender.close()
        assert sorted(read_journal(directory)) == list(range(accepted))

    assert exit_status(in_child(child)) == 0
    sizes = [(Path(directory.journal) / name).stat().st_size for name in os.listdir(directory.journal)]
    assert sizes
    assert HEADER_SIZE not in sizes


def test_segments_of_a_crowd_are_deleted_a_second_at_a_time_and_all_in_the_end(
    directory: QueueDirectory, reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        write_segment(directory, [record(number)]).seal()
    with consuming(directory, reports) as consumer:
        assert deliver(consumer) == list(range(20))
        assert deliver(consumer) == []
        monkeypatch.setattr("lotus_durable.queue.journal.DELETING_TAKES", -1.0)
        consumer.retire()
        assert len(directory.segments()) == 20
        monkeypatch.undo()
        assert deliver_all(consumer) == []
        assert directory.segments() == []
        assert counts(directory, consumer).delivered == 20


def test_a_crowd_of_short_lived_processes_leaves_nothing_behind(directory: QueueDirectory, reports: Reports) -> None:
    def child(number: int) -> None:
        append(open_appender(directory, reports), number)

    for number in range(60):
        assert exit_status(in_child(partial(child, number))) == 0
    with consuming(directory, reports) as consumer:
        assert sorted(deliver_all(consumer)) == list(range(60))
        assert os.listdir(directory.journal) == []
