"""What somebody's hand can do to a segment in use, and that no event is lost that its writer can still reach."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from lotus_durable.queue.appender import Appender
from lotus_durable.queue.directory import QueueDirectory, released_name
from lotus_durable.queue.format import HEADER_SIZE

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

# Segments that somebody took away


def test_of_a_deleted_segment_everything_is_carried_over(
    directory: QueueDirectory, appender: Appender, reports: Reports
) -> None:
    append(appender, *range(5))
    expire_trust(appender)
    append(appender, *range(5, 8))
    source = writer_of(appender).header.id
    Path(writer_of(appender).path).unlink()
    append(appender, *range(8, 10))
    expire_trust(appender)
    append(appender, 10)
    assert read_journal(directory) == list(range(11))
    carried = carried_in(directory)
    assert set(carried) == set(range(10))
    assert {origin[0] for origin in carried.values()} == {source}
    size = len(record(0)) + 16
    assert carried[3][1] == HEADER_SIZE + 3 * size
    [report] = reports.texts()
    assert "deleted" in report
    assert "no event is lost; written anew: 10" in report


def test_a_segment_that_is_deleted_twice_keeps_the_place_its_events_were_first(
    directory: QueueDirectory, reports: Reports
) -> None:
    appender = open_appender(directory, reports, power=True)
    append(appender, 0)
    mark = appender.append(record(1), appender.checked_at)
    assert mark is not None
    appender.append_again(record(1), appender.checked_at, mark)
    source = mark[0].header.id
    Path(mark[0].path).unlink()
    expire_trust(appender)
    append(appender, 2)
    assert carried_in(directory)[1] == (source, mark[1])
    assert sorted(read_journal(directory)) == [0, 1, 2]
    appender.close()


def test_a_queue_that_is_deleted_while_in_use_is_made_anew_with_its_events(
    directory: QueueDirectory, appender: Appender, reports: Reports
) -> None:
    append(appender, 0, 1)
    shutil.rmtree(directory.root)
    append(appender, 2)
    expire_trust(appender)
    append(appender, 3)
    assert read_journal(directory) == [0, 1, 2, 3]
    assert len(reports) == 1


def test_a_queue_that_is_moved_away_while_in_use_is_left_with_what_it_had(
    directory: QueueDirectory, appender: Appender, reports: Reports
) -> None:
    append(appender, 0)
    expire_trust(appender)
    append(appender, 1)
    moved = QueueDirectory(Path(directory.root).rename(Path(directory.root).with_name("moved")))
    append(appender, 2)
    expire_trust(appender)
    append(appender, 3)
    assert read_journal(moved) == [0, 1, 2]
    assert read_journal(directory) == [1, 2, 3]  # what was appended since the last good check, and what came then
    assert set(carried_in(directory)) == {1, 2}
    assert "moved away" in reports.texts()[0]


def test_a_released_segment_is_gone_on_from_and_nothing_is_written_twice(
    directory: QueueDirectory, appender: Appender, reports: Reports
) -> None:
    append(appender, 0)
    [name] = directory.segments()
    assert directory.let_go(name) == released_name(name)
    append(appender, 1)
    expire_trust(appender)
    append(appender, 2)
    assert len(directory.segments()) == 2
    assert read_segment(Path(directory.journal) / released_name(name))[0] == [record(0), record(1)]
    assert read_journal(directory) == [0, 1, 2]
    assert carried_in(directory) == {}
    assert reports == []
    assert set(appender.written()) == {name, writer_of(appender).name}


def test_a_released_segment_whose_descriptor_somebody_closed_is_found_all_the_same(
    directory: QueueDirectory, appender: Appender, reports: Reports
) -> None:
    append(appender, 0)
    [name] = directory.segments()
    directory.let_go(name)
    os.close(writer_of(appender).descriptor)
    append(appender, 1)
    assert read_journal(directory) == [0, 1]
    [report] = reports.texts()
    assert "no event is lost; written anew: 1" in report


def test_a_segment_that_is_deleted_when_its_descriptor_is_gone_too_is_carried_over_from_memory(
    directory: QueueDirectory, appender: Appender, reports: Reports
) -> None:
    append(appender, 0, 1)
    expire_trust(appender)
    append(appender, 2, 3)
    Path(writer_of(appender).path).unlink()
    os.close(writer_of(appender).descriptor)
    append(appender, 4)
    assert read_journal(directory) == [2, 3, 4]
    [report] = reports.texts()
    assert "events destroyed, at the most: 2; written anew: 2" in report


# Segments that somebody changed


@pytest.mark.parametrize("left", [0, 10, HEADER_SIZE, HEADER_SIZE + 20, HEADER_SIZE + 120])
def test_of_a_segment_that_was_cut_off_the_latest_events_are_carried_over_and_the_others_counted(
    directory: QueueDirectory, appender: Appender, reports: Reports, left: int
) -> None:
    append(appender, 0, 1, 2)
    expire_trust(appender)
    append(appender, 3, 4, 5)
    size = len(record(0)) + 16
    os.truncate(writer_of(appender).path, left)
    expire_trust(appender)
    append(appender, 6)
    there = max(0, left - HEADER_SIZE) // size
    assert set(carried_in(directory)) == {3, 4, 5}
    [report] = reports.texts()
    assert "was cut off" in report
    assert f"events destroyed, at the most: {3 - there}; written anew: 3" in report


def test_of_a_segment_that_lost_its_last_bytes_what_was_written_lately_is_carried_over(
    directory: QueueDirectory, appender: Appender, reports: Reports
) -> None:
    append(appender, 0)
    expire_trust(appender)
    append(appender, 1)
    path = Path(writer_of(appender).path)
    os.truncate(path, path.stat().st_size - 1)
    expire_trust(appender)
    append(appender, 2)
    assert set(carried_in(directory)) == {1}
    assert read_journal(directory) == [0, 1, 2]
    assert "no event is lost; written anew: 1" in reports.texts()[0]


def test_a_segment_to_which_somebody_appended_is_written_no_more(appender: Appender, reports: Reports) -> None:
    append(appender, 0)
    path = Path(writer_of(appender).path)
    with path.open("ab") as file:
        file.write(b"a note")
    expire_trust(appender)
    append(appender, 1)
    assert writer_of(appender).path != str(path)
    records, [damage] = read_segment(path)
    assert (numbers_of(records), damage.data, damage.events) == ([0], b"a note", 0)
    assert "something was appended" in reports.texts()[0]
