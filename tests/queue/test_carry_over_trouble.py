"""Carrying over where there is no room, or no right, to go on."""

from __future__ import annotations

import errno
import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

import pytest

from lotus_durable.descriptors import open_numbers
from lotus_durable.errors import QueueDirectoryError
from lotus_durable.queue.appender import Appender
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.format import HEADER_SIZE
from lotus_durable.queue.journal import has_no_writer
from tests.waiting import wait_until

from .faults import full_disk, path_of, refusing, replaced
from .segments import (
    Reports,
    append,
    carried_in,
    expire_trust,
    numbers_of,
    open_appender,
    read_journal,
    read_segment,
    record,
    writer_of,
)


def test_what_has_no_place_on_a_full_disk_waits_until_there_is_one(
    directory: QueueDirectory, appender: Appender, reports: Reports
) -> None:
    append(appender, 0, 1)
    Path(writer_of(appender).path).unlink()
    expire_trust(appender)
    with full_disk():
        for _ in range(3):
            with pytest.raises(OSError, match="No space"):
                append(appender, 2)
    assert reports == []
    appender._stranded_until = 0.0
    append(appender, 2)
    assert read_journal(directory) == [0, 1, 2]
    assert directory.unfinished() == []
    assert len(reports) == 1


def test_a_test_that_freezes_time_while_there_is_no_place_leaves_nothing_stranded(
    directory: QueueDirectory, appender: Appender, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(appender, 0)
    Path(writer_of(appender).path).unlink()
    with monkeypatch.context() as frozen, full_disk():
        frozen.setattr(time, "monotonic", lambda: 1e12)
        with pytest.raises(OSError, match="No space"):
            appender.check()
    wait_until(lambda: appender._stranded_until < time.monotonic(), "the next try")
    append(appender, 1)
    assert read_journal(directory) == [0, 1]


def test_a_full_disk_is_not_asked_for_every_event_to_take_what_is_stranded(appender: Appender) -> None:
    append(appender, 0)
    Path(writer_of(appender).path).unlink()
    expire_trust(appender)
    with refusing("open", errno.ENOSPC, where=".new") as opened:
        for _ in range(100):
            with pytest.raises(OSError, match="No space"):
                append(appender, 1)
    assert opened.count < 10


def test_a_path_that_leads_to_somebody_elses_directory_gets_nothing(
    directory: QueueDirectory, appender: Appender, reports: Reports
) -> None:
    append(appender, 0)
    Path(directory.root).rename(Path(directory.root).with_name("moved"))
    Path(directory.root).mkdir(mode=0o777)
    Path(directory.root).chmod(0o777)
    Path(directory.journal).mkdir(mode=0o700)
    expire_trust(appender)
    with pytest.raises(QueueDirectoryError, match="written by others"):
        append(appender, 1)
    assert os.listdir(directory.journal) == []
    shutil.rmtree(directory.root)
    Path(directory.root).with_name("moved").rename(directory.root)
    append(appender, 1)
    assert read_journal(directory) == [0, 1]
    assert reports == []


def test_what_is_carried_over_half_is_carried_over_as_a_whole_the_next_time(
    directory: QueueDirectory, appender: Appender
) -> None:
    append(appender, *range(5))
    Path(writer_of(appender).path).unlink()
    expire_trust(appender)
    with refusing("rename", errno.EIO, where=".new", times=1), suppress(OSError):
        append(appender, 5)
    assert directory.segments() == []
    appender._stranded_until = 0.0
    append(appender, 5)
    assert read_journal(directory) == list(range(6))


def test_what_its_caller_appends_again_because_it_could_not_be_synced_is_carried_over_once(
    directory: QueueDirectory, reports: Reports
) -> None:
    appender = open_appender(directory, reports, power=True)
    append(appender, 0)
    with refusing("fdatasync", errno.EIO, times=1):
        mark = appender.append(record(1), time.monotonic())
        assert mark is not None
        Path(writer_of(appender).path).unlink()
        with pytest.raises(OSError, match="error"):
            appender.sync(mark)
    appender.append_again(record(1), time.monotonic(), mark)
    written = [numbers_of(read_segment(f"{directory.journal}/{name}")[0]) for name in directory.segments()]
    assert sorted(written) == [[0], [1]]
    appender.close()


def test_what_cannot_be_synced_where_the_flusher_has_left_it_is_written_anew(
    directory: QueueDirectory, reports: Reports
) -> None:
    appender = open_appender(directory, reports, power=True)
    mark = appender.append(record(0), time.monotonic())
    assert mark is not None
    directory.let_go(writer_of(appender).name)
    with refusing("fdatasync", errno.EIO, where="released", times=1) as refused:
        append(appender, 1)
    assert refused.count == 1
    with pytest.raises(OSError, match="earlier sync"):
        appender.sync(mark)
    appender.append_again(record(0), time.monotonic(), mark)
    assert set(carried_in(directory)) == {0}
    assert sorted(read_journal(directory)) == [0, 1]
    appender.close()


def test_of_a_segment_that_was_cut_off_and_deleted_it_is_told_how_many_nobody_can_find(
    directory: QueueDirectory, reports: Reports
) -> None:
    appender = open_appender(directory, reports)
    append(appender, *range(10))
    appender.check()
    path = Path(writer_of(appender).path)
    os.truncate(path, path.stat().st_size // 2)
    path.unlink()
    expire_trust(appender)
    append(appender, 10)
    found = read_journal(directory)
    assert found[-1] == 10
    assert f"events destroyed, at the most: {11 - len(found)}" in reports.texts()[0]
    assert len(found) < 11
    appender.close()


def test_of_a_segment_that_was_cut_off_written_on_and_deleted_what_is_behind_the_cut_is_carried_over_too(
    directory: QueueDirectory, appender: Appender, reports: Reports
) -> None:
    append(appender, *range(4))
    appender.check()
    path = Path(writer_of(appender).path)
    os.truncate(path, HEADER_SIZE + len(record(0)) + 20)  # in the middle of the second event
    for number in (4, 5):  # before it looks again: what was cut off is zeros now
        appender.append(record(number), appender.checked_at)
    appender.check()
    append(appender, 6)
    path.unlink()
    appender.check()
    assert read_journal(directory) == [0, 4, 5, 6]
    size = len(record(0)) + 16
    assert {number: place for number, (_, place) in carried_in(directory).items()} == {
        number: HEADER_SIZE + number * size for number in (0, 4, 5, 6)
    }
    assert "events destroyed, at the most: 3; written anew: 4" in reports.texts()[0]


def test_what_is_carried_over_has_no_writer_also_while_a_forked_child_has_its_file(
    directory: QueueDirectory, appender: Appender
) -> None:
    append(appender, 0)
    Path(writer_of(appender).path).unlink()
    real = os.rename
    shared: list[int] = []

    def fork_meanwhile(source: str, target: str) -> None:
        shared.extend(os.dup(each) for each in open_numbers() if path_of(each) == source)
        real(source, target)

    with replaced("rename", fork_meanwhile, where=".new"):
        appender.check()
    assert len(shared) == 1
    [name] = directory.segments()
    assert has_no_writer(f"{directory.journal}/{name}")
    os.close(shared[0])


def test_the_last_check_is_made_when_the_process_ends(
    directory: QueueDirectory, appender: Appender, reports: Reports
) -> None:
    append(appender, 0)
    Path(writer_of(appender).path).unlink()
    appender.close()
    assert read_journal(directory) == [0]
    assert len(reports) == 1


def test_what_can_be_carried_nowhere_when_the_process_ends_is_told_to_be_lost(
    appender: Appender, reports: Reports
) -> None:
    append(appender, 0, 1)
    Path(writer_of(appender).path).unlink()
    with full_disk():
        appender.close()
    [report] = reports.texts()
    assert "events lost, at the most: 2" in report
    assert "No space" in report
