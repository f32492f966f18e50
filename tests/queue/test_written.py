"""What a process has written and knows not to be settled: what it waits for when it ends."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from lotus_durable.queue.appender import Appender
from lotus_durable.queue.directory import QueueDirectory, released_name
from lotus_durable.queue.format import HEADER_SIZE

from .faults import refusing
from .segments import Reports, append, open_appender, read_journal


def test_what_is_settled_and_deleted_is_no_longer_among_what_was_written(
    directory: QueueDirectory, reports: Reports
) -> None:
    appender = open_appender(directory, reports, segment_bytes=4096)
    append(appender, *range(200))
    first, *others = directory.segments()
    assert list(appender.written()) == [first, *others]
    (Path(directory.journal) / first).unlink()
    directory.let_go(others[0])
    append(appender, 200, padding=4096)
    assert list(appender.written())[:-1] == others
    (Path(directory.journal) / released_name(others[0])).unlink()
    appender.close()
    assert list(appender.written())[:-1] == others[1:]


def test_a_process_that_writes_for_years_does_not_remember_every_segment(
    directory: QueueDirectory, reports: Reports
) -> None:
    appender = open_appender(directory, reports, segment_bytes=4096)
    for number in range(200):
        append(appender, number, padding=4096)
        for name in directory.segments()[:-1]:
            (Path(directory.journal) / name).unlink()
    assert len(appender._sealed) < 50
    appender.close()


def test_an_empty_segment_is_nothing_to_wait_for(directory: QueueDirectory, appender: Appender) -> None:
    append(appender, 0)
    appender.close()
    with refusing("pwrite", errno.EIO, where=".seg"), pytest.raises(OSError, match="Input/output"):
        append(appender, 1)
    assert len(directory.segments()) == 2
    assert list(appender.written()) == directory.segments()[:1]
    assert (Path(directory.journal) / directory.segments()[1]).stat().st_size == HEADER_SIZE


def test_an_appender_goes_on_after_it_was_closed(directory: QueueDirectory, appender: Appender) -> None:
    append(appender, 0)
    appender.close()
    appender.close()
    append(appender, 1)
    assert read_journal(directory) == [0, 1]
