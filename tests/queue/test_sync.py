"""The background sync: what a power cut can take is bounded by its interval."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from lotus_durable.errors import DiskRefused
from lotus_durable.queue.directory import QueueDirectory, failed_mark
from lotus_durable.queue.journal import JournalQueue
from lotus_durable.queue.sync import JournalSync

from .conftest import OpenQueue
from .events import Reports, deliver_all, record
from .faults import refusing, replaced


@pytest.fixture
def sync(queue: JournalQueue, reports: Reports) -> JournalSync:
    return queue.background_sync(reports)


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
    directory: QueueDirectory, open_queue: OpenQueue, sync: JournalSync
) -> None:
    first, second = open_queue(), open_queue()
    first.append(record(0))
    second.append(record(1))
    assert Synced(sync).segments == directory.segments()
    assert Synced(sync).segments == []
    first.append(record(2))
    assert Synced(sync).segments == directory.segments()[:1]


def test_it_syncs_the_names_of_new_segments(queue: JournalQueue, open_queue: OpenQueue, sync: JournalSync) -> None:
    assert Synced(sync).directories == []
    queue.append(record(0))
    assert Synced(sync).directories == ["journal"]
    queue.append(record(1))
    assert Synced(sync).directories == []
    open_queue().append(record(2))
    assert Synced(sync).directories == ["journal"]


def test_a_segment_that_cannot_be_synced_is_given_up_and_its_writer_moves_on(
    directory: QueueDirectory, queue: JournalQueue, sync: JournalSync, reports: Reports
) -> None:
    queue.append(record(0))
    [name] = directory.segments()
    with refusing("fdatasync", errno.EIO) as syncs:
        sync.run()
        queue.append(record(1))
        sync.run()
    assert syncs.count == 1
    assert [type(error) for error in reports] == [DiskRefused]
    assert name in str(reports[0])
    assert (directory.journal / failed_mark(name)).exists()
    queue.write_back()
    queue.append(record(2))
    assert len(directory.segments()) == 2
    assert Synced(sync).segments == directory.segments()[1:]
    assert deliver_all(queue).numbers == [0, 1, 2]


def test_names_that_cannot_be_synced_are_tried_again_and_reported_once(
    queue: JournalQueue, sync: JournalSync, reports: Reports
) -> None:
    queue.append(record(0))
    with refusing("fsync", errno.EIO, where="journal") as syncs:
        sync.run()
        sync.run()
    assert syncs.count == 2
    assert ["directory" in text for text in reports.texts()] == [True]
    assert Synced(sync).directories == ["journal"]
    assert Synced(sync).directories == []


def test_a_mark_that_cannot_be_left_is_no_reason_to_fail(
    directory: QueueDirectory, queue: JournalQueue, sync: JournalSync, reports: Reports
) -> None:
    queue.append(record(0))
    with refusing("fdatasync", errno.EIO), refusing("open", errno.ENOSPC, where=".failed"):
        sync.run()
    assert len(reports) == 1
    assert directory.failed_marks() == []


@pytest.mark.parametrize("call", ["open", "listdir"])
def test_no_descriptors_left_means_the_next_run_syncs(
    queue: JournalQueue, sync: JournalSync, call: str, reports: Reports
) -> None:
    queue.append(record(0))
    with refusing(call, errno.EMFILE, where="journal"):
        sync.run()
    assert len(Synced(sync).segments) == 1
    # Of the segments nothing is said; the directory that holds their names was not synced, and that is.
    assert len(reports) == (1 if call == "open" else 0)


def test_segments_that_go_away_are_forgotten(queue: JournalQueue, sync: JournalSync, reports: Reports) -> None:
    queue.append(record(0))
    sync.run()
    queue.close()
    deliver_all(queue)
    sync.run()
    assert sync._synced == {}
    assert sync._named == set()
    shutil.rmtree(queue.directory.root)
    sync.run()
    assert reports == []
