"""How much processes that share a queue append before somebody looks: never much over the limit, and at little cost."""

from __future__ import annotations

import errno
import os
import random
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lotus_durable.config import Config
from lotus_durable.errors import QueueFull
from lotus_durable.queue.appender import Appender
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.limit import QueueLimit
from lotus_durable.tracker import Tracker

from .faults import exit_status, in_child, replaced, small_disk
from .segments import Reports, append, open_appender, read_journal, record

LIMIT = 1 << 20


@pytest.fixture
def limit(directory: QueueDirectory) -> QueueLimit:
    return QueueLimit(directory, LIMIT)


def put(directory: QueueDirectory, size: int, *, name: str = "journal/other.seg") -> None:
    """Have a file of ``size`` bytes in the directory that takes up no space."""
    with open(Path(directory.root) / name, "wb") as file:
        file.truncate(size)


def used(directory: QueueDirectory) -> int:
    files = (path for path in Path(directory.root).rglob("*") if path.is_file())
    return sum(path.stat().st_size for path in files)


@contextmanager
def counting_looks() -> Iterator[list[str]]:
    """Note the folders that are listed, and each entry that is looked at in them."""
    seen: list[str] = []
    real = os.scandir

    @contextmanager
    def noting(path: Any) -> Iterator[Iterator[os.DirEntry[str]]]:
        def entries() -> Iterator[os.DirEntry[str]]:
            for entry in found:
                seen.append(entry.name)
                yield entry

        seen.append(str(path))
        with real(path) as found:
            yield entries()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "scandir", noting)
        yield seen


# The limit


def test_a_queue_over_its_limit_takes_no_event_and_says_so(
    directory: QueueDirectory, limit: QueueLimit, reports: Reports
) -> None:
    put(directory, LIMIT)
    appender = open_appender(directory, reports, limit=limit)
    with pytest.raises(QueueFull, match=rf"over max_queue_bytes \({LIMIT} bytes\)"):
        append(appender, 0)
    assert appender.written() == {}
    assert directory.segments() == ["other.seg"]


@pytest.mark.parametrize("name", ["books.db", "queue.db-wal", "quarantine/damage.bin", "journal/unfinished.new"])
def test_all_that_lies_in_the_directory_counts(directory: QueueDirectory, limit: QueueLimit, name: str) -> None:
    put(directory, LIMIT - 100, name=name)
    assert limit.grant(50, 0.0) >= 50
    with pytest.raises(QueueFull):
        limit.grant(101, 0.0)


def test_an_event_that_fits_is_taken_where_a_larger_one_is_not(directory: QueueDirectory, limit: QueueLimit) -> None:
    put(directory, LIMIT - 100)
    with pytest.raises(QueueFull):
        limit.grant(101, 0.0)
    assert limit.grant(99, 0.0) >= 99


def test_one_process_fills_a_queue_to_its_limit(directory: QueueDirectory, limit: QueueLimit, reports: Reports) -> None:
    appender = open_appender(directory, reports, limit=limit)
    accepted = fill(appender)
    assert 0.95 * LIMIT < used(directory) <= LIMIT
    appender.close()
    assert read_journal(directory) == list(range(accepted))


def fill(appender: Appender, padding: int = 0) -> int:
    count = 0
    try:
        while True:
            append(appender, count, padding=padding)
            count += 1
    except QueueFull:
        return count


@pytest.mark.servers  # a gigabyte
def test_two_hundred_processes_that_begin_at_once_stay_near_the_default_limit_though_nobody_flushes(
    memory_path: Path, reports: Reports
) -> None:
    limit = Config.resolve({"api_key": "key", "queue_dir": memory_path}).max_queue_bytes
    if os.statvfs(memory_path).f_bavail * os.statvfs(memory_path).f_frsize < 1.5 * limit:
        pytest.skip("this disk has no room for the default limit and more")
    directory = QueueDirectory(memory_path / "queue")
    directory.prepare()
    begins, begin = os.pipe()

    def child() -> None:
        os.close(begin)
        os.read(begins, 1)
        fill(open_appender(directory, reports, limit=QueueLimit(directory, limit), segment_bytes=1 << 24), 30_000)

    children = [in_child(child) for _ in range(200)]
    os.close(begin)
    assert [exit_status(each) for each in children] == [0] * 200
    assert 0.9 * limit < used(directory) <= 1.1 * limit


@pytest.mark.parametrize(("processes", "limit"), [(2, 8 << 20), (64, 1 << 20), (200, 1 << 20)])
def test_processes_that_append_at_once_stay_near_the_limit_though_nobody_flushes(
    memory_path: Path, reports: Reports, processes: int, limit: int
) -> None:
    directory = QueueDirectory(memory_path / "queue")
    directory.prepare()
    appenders = [open_appender(directory, reports, limit=QueueLimit(directory, limit)) for _ in range(processes)]
    turn = random.Random(processes)
    packed = record(0, padding=100)
    waiting = list(appenders)
    now = 0.0
    while waiting:
        # In bursts, so that what one takes is far from what the others see.
        appender = turn.choice(waiting)
        now += 0.001
        try:
            for _ in range(turn.randrange(1, 200)):
                appender.append(packed, now)
        except QueueFull:
            waiting.remove(appender)
    assert 0.9 * limit < used(directory) < 1.1 * limit
    for appender in appenders:
        appender.close()


def test_forked_children_begin_small_though_their_parent_took_much(directory: QueueDirectory) -> None:
    config = Config.resolve({"api_key": "key", "queue_dir": directory.root})
    tracker = Tracker(config, lambda *_: None)
    for _ in range(20):
        grown = tracker._limit.grant(1, 0.0)

    def child() -> None:
        assert tracker._limit.grant(1, 0.0) == config.max_queue_bytes // 4096 < grown // 100

    assert exit_status(in_child(child)) == 0


# What it costs


def test_a_process_alone_looks_rarely(directory: QueueDirectory, reports: Reports) -> None:
    appender = open_appender(directory, reports, segment_bytes=16 << 20)
    packed = record(0, padding=100)
    with replaced("statvfs", os.statvfs) as looks:
        for _ in range(50_000):
            appender.append(packed, 0.0)
    assert looks.count < 12
    appender.close()


def test_a_refusal_is_remembered_for_a_moment(directory: QueueDirectory, limit: QueueLimit) -> None:
    put(directory, LIMIT)
    with counting_looks() as seen:
        for _ in range(1000):
            with pytest.raises(QueueFull):
                limit.grant(100, 1000.0)
    assert seen.count(str(directory.journal)) == 2, "few of them, and then all"
    put(directory, 0)
    with pytest.raises(QueueFull):
        limit.grant(100, 1000.04)
    assert limit.grant(100, 2000.0) >= 100


def test_the_first_event_looks_at_few_of_many_segments(memory_path: Path) -> None:
    directory = QueueDirectory(memory_path / "queue")
    directory.prepare()
    for number in range(2000):
        put(directory, 300, name=f"journal/{number}.seg")
    limit = QueueLimit(directory, 1 << 30)
    with counting_looks() as seen:
        granted = limit.grant(100, 0.0)
    assert len(seen) < 300
    assert granted <= 1 << 18
    with counting_looks() as seen:
        limit.grant(100, 0.0)
    assert len(seen) > 2000


def test_many_small_segments_are_counted_when_they_may_be_over_the_limit(memory_path: Path) -> None:
    directory = QueueDirectory(memory_path / "queue")
    directory.prepare()
    for number in range(2000):
        put(directory, 1000, name=f"journal/{number}.seg")
    assert QueueLimit(directory, 2_000_000 + 1000).grant(1000, 0.0) == 1000
    with pytest.raises(QueueFull):
        QueueLimit(directory, 2_000_000 + 999).grant(1000, 0.0)


def test_where_the_size_of_a_directory_tells_nothing_all_its_files_are_looked_at(
    memory_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = QueueDirectory(memory_path / "queue")
    directory.prepare()
    for number in range(600):
        put(directory, 10, name=f"journal/{number}.seg")
    real = os.stat

    def without_size(path: Any, **options: Any) -> os.stat_result:
        status = real(path, **options)
        fields = list(status)
        if stat.S_ISDIR(status.st_mode):
            fields[6] = 0
        return os.stat_result(fields)

    monkeypatch.setattr(os, "stat", without_size)
    with counting_looks() as seen:
        assert QueueLimit(directory, 7000).grant(100, 0.0) == 100
    assert len(seen) > 600


def test_files_that_go_away_during_a_look_count_nothing(directory: QueueDirectory, limit: QueueLimit) -> None:
    put(directory, LIMIT)
    real = os.scandir

    @contextmanager
    def deleting(path: Any) -> Iterator[list[os.DirEntry[str]]]:
        entries = list(real(path))
        (Path(directory.journal) / "other.seg").unlink(missing_ok=True)
        yield entries

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "scandir", deleting)
        assert limit.grant(100, 0.0) >= 100


# The disk


def test_a_disk_keeps_room_for_settling_what_lies_on_it(tmp_path: Path, reports: Reports) -> None:
    with small_disk(tmp_path / "disk", "4m") as disk:
        directory = QueueDirectory(disk / "queue")
        appenders = [open_appender(directory, reports) for _ in range(4)]
        for appender in appenders:
            with pytest.raises(OSError, match="what settling events needs") as raised:
                append(appender, *range(1_000_000), padding=500)
            assert raised.value.errno == errno.ENOSPC
        free = os.statvfs(disk)
        assert free.f_bavail * free.f_frsize > 300_000
        for appender in appenders:
            appender.close()


def test_a_disk_that_does_not_tell_its_size_is_written_to(limit: QueueLimit, monkeypatch: pytest.MonkeyPatch) -> None:
    told = os.statvfs_result((4096, 4096, 0, 0, 0, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _path: told)
    assert limit.grant(100, 0.0) >= 100
