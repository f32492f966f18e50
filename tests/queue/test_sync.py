"""The background sync: what a power cut can take is bounded by its interval."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from lotus_durable.errors import DiskRefused
from lotus_durable.queue import sync as sync_module
from lotus_durable.queue.appender import Appender
from lotus_durable.queue.directory import QueueDirectory, released_name
from lotus_durable.queue.files import sync_file_system
from lotus_durable.queue.sync import JournalSync

from .faults import refusing, replaced
from .segments import Reports, append, expire_trust, open_appender, read_journal, record, trust, write_segment


@pytest.fixture
def sync(directory: QueueDirectory, reports: Reports) -> JournalSync:
    return JournalSync(directory, reports)


@pytest.fixture
def appender(directory: QueueDirectory, reports: Reports) -> Appender:
    return open_appender(directory, reports)


class Synced:
    """Which files a run syncs."""

    def __init__(self, sync: JournalSync) -> None:
        paths: list[Path] = []

        def note(descriptor: int) -> None:
            paths.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")))

        with replaced("fdatasync", note), replaced("fsync", note):
            sync.run()
        self.segments = sorted(path.name for path in paths if path.suffix == ".seg")
        self.directories = [path.name for path in paths if path.suffix != ".seg"]


def test_it_syncs_what_was_appended_by_anybody_since_the_last_run(
    directory: QueueDirectory, appender: Appender, sync: JournalSync, reports: Reports
) -> None:
    second = open_appender(directory, reports)
    append(appender, 0)
    append(second, 1)
    assert Synced(sync).segments == directory.segments()
    assert Synced(sync).segments == []
    append(appender, 2)
    assert Synced(sync).segments == directory.segments()[:1]


def test_it_syncs_the_names_of_new_segments(
    directory: QueueDirectory, appender: Appender, sync: JournalSync, reports: Reports
) -> None:
    assert Synced(sync).directories == []
    append(appender, 0)
    assert Synced(sync).directories == ["journal"]
    append(appender, 1)
    assert Synced(sync).directories == []
    append(open_appender(directory, reports), 2)
    assert Synced(sync).directories == ["journal"]


def test_what_a_released_segment_gets_last_is_synced_too(
    directory: QueueDirectory, appender: Appender, sync: JournalSync
) -> None:
    append(appender, 0)
    sync.run()
    [name] = directory.segments()
    directory.let_go(name)
    assert Synced(sync).segments == []
    trust(appender)
    append(appender, 1)
    assert Synced(sync).segments == [released_name(name)]


def test_a_segment_that_is_released_in_the_middle_of_a_run_is_synced_in_that_run(
    directory: QueueDirectory, appender: Appender, sync: JournalSync, reports: Reports
) -> None:
    append(appender, 0)
    append(open_appender(directory, reports), 1)
    first, second = directory.segments()
    real = os.lstat

    def release_meanwhile(path: str) -> os.stat_result:
        if path.endswith(first):
            directory.let_go(second)
        return real(path)

    with replaced("lstat", release_meanwhile, where=".seg"):
        assert Synced(sync).segments == [first, released_name(second)]
    assert Synced(sync).segments == []


def test_a_segment_that_cannot_be_synced_is_told_and_tried_no_more_and_its_writer_can_be_sent_on(
    directory: QueueDirectory, appender: Appender, sync: JournalSync, reports: Reports
) -> None:
    append(appender, 0)
    [name] = directory.segments()
    assert sync.failed == frozenset()
    with refusing("fdatasync", errno.EIO) as syncs:
        sync.run()
        append(appender, 1)
        sync.run()
    assert syncs.count == 1
    assert [type(error) for error in reports] == [DiskRefused]
    assert name in str(reports[0])
    assert sync.failed == {name}
    directory.let_go(name)
    expire_trust(appender)
    append(appender, 2)
    assert Synced(sync).segments == directory.segments()[1:]
    assert sync.failed == {name}  # released, it is the same segment
    assert read_journal(directory) == [0, 1, 2]


def test_a_segment_that_could_not_be_synced_is_forgotten_when_it_is_gone(
    directory: QueueDirectory, appender: Appender, sync: JournalSync
) -> None:
    append(appender, 0)
    with refusing("fdatasync", errno.EIO):
        sync.run()
    (Path(directory.journal) / directory.segments()[0]).unlink()
    sync.run()
    assert sync.failed == frozenset()


def test_names_that_cannot_be_synced_are_tried_again_and_reported_once(
    appender: Appender, sync: JournalSync, reports: Reports
) -> None:
    append(appender, 0)
    with refusing("fsync", errno.EIO, where="journal") as syncs:
        sync.run()
        sync.run()
    assert syncs.count == 2
    assert ["directory" in text for text in reports.texts()] == [True]
    assert Synced(sync).directories == ["journal"]
    assert Synced(sync).directories == []


@pytest.mark.parametrize("call", ["open", "listdir"])
def test_no_descriptors_left_means_the_next_run_syncs(
    appender: Appender, sync: JournalSync, call: str, reports: Reports
) -> None:
    append(appender, 0)
    with refusing(call, errno.EMFILE, where="journal"):
        sync.run()
    assert len(Synced(sync).segments) == 1
    # Of the segments nothing is said; the directory that holds their names was not synced, and that is.
    assert len(reports) == (1 if call == "open" else 0)


def test_segments_that_go_away_are_forgotten(
    directory: QueueDirectory, appender: Appender, sync: JournalSync, reports: Reports
) -> None:
    append(appender, 0)
    sync.run()
    appender.close()
    (Path(directory.journal) / directory.segments()[0]).unlink()
    sync.run()
    assert sync._synced == {}
    shutil.rmtree(directory.root)
    sync.run()
    assert reports == []


def test_many_new_segments_are_synced_at_once(
    directory: QueueDirectory, sync: JournalSync, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync_module, "_MANY", 3)
    monkeypatch.setattr(sync_module, "sync_file_system", lambda _: True)
    appenders = [open_appender(directory, print) for _ in range(4)]
    for number, appender in enumerate(appenders):
        append(appender, number)
    synced = Synced(sync)
    assert (synced.segments, synced.directories) == ([], ["journal"])
    append(appenders[0], 4)
    assert Synced(sync).segments == directory.segments()[:1], "those that grow are synced one by one"


@pytest.mark.parametrize("many", [3, 256])
def test_segments_that_were_synced_and_that_nobody_writes_are_looked_at_no_more(
    directory: QueueDirectory, sync: JournalSync, appender: Appender, monkeypatch: pytest.MonkeyPatch, many: int
) -> None:
    monkeypatch.setattr(sync_module, "_MANY", many)
    for number in range(4):
        write_segment(directory, [record(number)]).seal()
    append(appender, 4)
    sync.run()
    with replaced("open", os.open, where=".seg") as opens, replaced("lstat", os.lstat, where=".seg") as looks:
        for _ in range(3):
            sync.run()
    assert (opens.count, looks.count) == (0, 3), "one may grow"


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSYS])
def test_where_the_file_system_cannot_be_synced_each_segment_is(
    directory: QueueDirectory, sync: JournalSync, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(sync_module, "_MANY", 3)
    for number in range(4):
        append(open_appender(directory, print), number)
    with refusing("open", code, where=lambda path: path.endswith("/journal"), times=1):
        assert Synced(sync).segments == directory.segments()


def test_a_file_system_can_be_synced_and_what_is_no_file_system_cannot(directory: QueueDirectory) -> None:
    assert sync_file_system(directory.root)
    assert not sync_file_system(f"{directory.root}/nothing")
