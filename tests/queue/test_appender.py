"""What a process does for each event: segments that rotate, errors of the disk, forks, signals, and what it knows."""

from __future__ import annotations

import errno
import os
import resource
import stat
import time
from contextlib import suppress
from pathlib import Path

import pytest

from lotus_durable.errors import QueueDamaged
from lotus_durable.queue.appender import _TRUST as TRUST
from lotus_durable.queue.appender import Appender
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.format import MAX_RECORD_SIZE
from lotus_durable.queue.reader import SegmentReader
from lotus_durable.queue.writer import is_abandoned

from .faults import full_disk, refusing, remount, replaced, small_disk, writing_short
from .segments import (
    KEY,
    Reports,
    append,
    open_appender,
    read_journal,
    read_segment,
    record,
    writer_of,
)


def test_nothing_is_made_before_the_first_event(tmp_path: Path, reports: Reports) -> None:
    appender = open_appender(QueueDirectory(tmp_path / "queue"), reports)
    appender.check()
    assert appender.written() == {}
    appender.close()
    appender.abandon()
    assert os.listdir(tmp_path) == []


def test_the_first_event_makes_the_directory_and_then_asks_what_it_is(tmp_path: Path, reports: Reports) -> None:
    directory = QueueDirectory(tmp_path / "parent" / "queue")

    def identify() -> None:
        assert Path(directory.journal).is_dir()
        assert directory.segments() == []

    appender = open_appender(directory, reports, identify=identify)
    append(appender, 0)
    appender.close()
    [name] = directory.segments()
    reader = SegmentReader(f"{directory.journal}/{name}")
    assert reader.header is not None
    assert reader.header.key == KEY
    reader.close()
    assert stat.S_IMODE(Path(directory.root).stat().st_mode) == 0o700


def test_into_a_queue_of_a_later_version_nothing_is_written(directory: QueueDirectory, reports: Reports) -> None:
    def identify() -> None:
        raise QueueDamaged("a later version made this queue")

    appender = open_appender(directory, reports, identify=identify)
    with pytest.raises(QueueDamaged, match="later version"):
        append(appender, 0)
    assert os.listdir(directory.journal) == []


def test_events_fill_one_segment_after_the_other(directory: QueueDirectory, reports: Reports) -> None:
    appender = open_appender(directory, reports, segment_bytes=4096)
    append(appender, *range(200))
    names = directory.segments()
    sizes = [(Path(directory.journal) / name).stat().st_size for name in names]
    assert len(names) > 3
    assert max(sizes) <= 4096
    assert min(sizes[:-1]) > 4096 - 100
    assert appender.written() == dict(zip(names, sizes, strict=True))
    appender.close()
    assert read_journal(directory) == list(range(200))
    for name in names:
        with open(Path(directory.journal) / name, "rb") as file:
            assert is_abandoned(file.fileno())


def test_an_event_larger_than_a_segment_has_one_for_itself(directory: QueueDirectory, reports: Reports) -> None:
    appender = open_appender(directory, reports, segment_bytes=4096)
    append(appender, 0)
    append(appender, 1, padding=10_000)
    append(appender, 2)
    assert len(directory.segments()) == 3
    assert read_journal(directory) == [0, 1, 2]
    appender.close()


def test_a_record_of_the_largest_size_is_taken_and_a_larger_one_is_not(
    directory: QueueDirectory, appender: Appender
) -> None:
    appender.append(bytes(MAX_RECORD_SIZE), time.monotonic())
    with pytest.raises(ValueError, match="is the most"):
        appender.append(bytes(MAX_RECORD_SIZE + 1), time.monotonic())
    [name] = directory.segments()
    assert [len(each) for each in read_segment(Path(directory.journal) / name)[0]] == [MAX_RECORD_SIZE]


def test_a_burst_costs_no_more_system_calls_than_its_writes(directory: QueueDirectory, reports: Reports) -> None:
    appender = open_appender(directory, reports)
    append(appender, 0)
    now = appender.checked_at
    with replaced("stat", os.stat) as looks, replaced("fstat", os.fstat) as own_looks:
        for number in range(1, 1001):
            appender.append(record(number), now)
    assert looks.count + own_looks.count == 0
    appender.close()


def test_what_is_kept_in_memory_is_bounded(directory: QueueDirectory, reports: Reports) -> None:
    appender = open_appender(directory, reports, segment_bytes=1 << 30)
    append(appender, 0)
    now = appender.checked_at
    most = 0
    for number in range(1, 3001):
        appender.append(record(number, padding=2000), now)
        most = max(most, sum(len(each) for each in writer_of(appender).kept))
    assert 1 << 19 < most < 1 << 21
    appender.close()
    assert read_journal(directory) == list(range(3001))


@pytest.mark.parametrize("age", [0.051, 1000.0, -0.001, -1000.0])
def test_a_look_is_not_trusted_when_it_is_old_or_the_clock_went_back(
    directory: QueueDirectory, reports: Reports, age: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lotus_durable.queue.appender._TRUST", TRUST)
    appender = open_appender(directory, reports)
    append(appender, 0)
    Path(writer_of(appender).path).unlink()
    appender.append(record(1), appender.checked_at)
    assert reports == []
    appender.append(record(2), appender.checked_at + age)
    assert len(reports) == 1
    assert read_journal(directory) == [0, 1, 2]
    appender.close()


# The disk


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
@pytest.mark.parametrize("size", [None, 0, 20])
def test_what_the_disk_refuses_is_not_there_and_the_next_event_is(
    directory: QueueDirectory, appender: Appender, reports: Reports, code: int, size: int | None
) -> None:
    append(appender, 0)
    trouble = refusing("pwrite", code) if size is None else writing_short(size, code)
    with trouble, pytest.raises(OSError, match=os.strerror(code)) as raised:
        append(appender, 1)
    assert raised.value.errno == code
    append(appender, 2)
    assert read_journal(directory) == [0, 2]
    assert reports == []


def test_a_segment_that_could_not_be_cut_back_is_gone_on_from(directory: QueueDirectory, appender: Appender) -> None:
    append(appender, 0)
    with writing_short(20), refusing("ftruncate", errno.EIO), pytest.raises(OSError, match="No space"):
        append(appender, 1)
    append(appender, 2)
    assert len(directory.segments()) == 2
    assert read_journal(directory) == [0, 2]


def test_a_file_that_may_not_grow_further_is_a_reason_to_go_on_in_another(
    directory: QueueDirectory, appender: Appender, reports: Reports
) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    append(appender, 0)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        append(appender, *range(1, 100))
        sizes = [(Path(directory.journal) / name).stat().st_size for name in directory.segments()]
        with pytest.raises(OSError, match="File too large"):
            append(appender, 100, padding=2000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert max(sizes) <= 1000
    append(appender, 101)
    assert read_journal(directory) == [*range(100), 101]
    assert reports == []


def test_an_error_of_a_signal_handler_passes_through_and_is_no_fault_of_the_segment(
    directory: QueueDirectory, appender: Appender, reports: Reports
) -> None:
    append(appender, 0)

    def expire(*_arguments: object) -> int:
        raise TimeoutError("the request took too long")

    with replaced("pwrite", expire, where=".seg"), pytest.raises(TimeoutError, match="too long"):
        append(appender, 1)
    append(appender, 2)
    assert read_journal(directory) == [0, 2]
    assert reports == []


def test_a_real_small_disk_fills_up_and_goes_on_when_there_is_room(tmp_path: Path, reports: Reports) -> None:
    with small_disk(tmp_path / "disk", "64k") as disk:
        directory = QueueDirectory(disk / "queue")
        appender = open_appender(directory, reports)
        append(appender, 0)
        appender._granted_to = 1 << 30  # others fill the disk before this process looks again
        ballast = disk / "ballast"
        with ballast.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(1000))
        accepted = 0
        with suppress(OSError):
            for number in range(1, 100):
                append(appender, number, padding=number)
                accepted = number
        assert accepted < 50
        with pytest.raises(OSError, match="No space"):
            append(appender, accepted + 1, padding=5000)
        ballast.unlink()
        append(appender, accepted + 1)
        appender.close()
        assert read_journal(directory) == list(range(accepted + 2))
        assert reports == []


def test_a_real_disk_that_is_read_only_takes_no_segment_until_it_does(tmp_path: Path, reports: Reports) -> None:
    with small_disk(tmp_path / "disk", "1m") as disk:
        directory = QueueDirectory(disk / "queue")
        appender = open_appender(directory, reports)
        append(appender, 0)
        appender.close()
        remount(disk, "ro")
        with pytest.raises(OSError, match="Read-only"):
            append(appender, 1)
        remount(disk, "rw")
        append(appender, 1)
        appender.close()
        assert read_journal(directory) == [0, 1]


def test_a_full_disk_refuses_the_first_segment_too(directory: QueueDirectory, appender: Appender) -> None:
    with full_disk(), pytest.raises(OSError, match="No space"):
        append(appender, 0)
    assert os.listdir(directory.journal) == []
    append(appender, 0)
    assert read_journal(directory) == [0]
