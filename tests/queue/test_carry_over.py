"""What somebody's hand can do to a segment in use, and that no event is lost that its writer can still reach."""

from __future__ import annotations

import errno
import os
import pty
import shutil
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from lotus_durable.errors import QueueDamaged, QueueDirectoryError
from lotus_durable.queue.appender import Appender
from lotus_durable.queue.directory import QueueDirectory, released_name
from lotus_durable.queue.format import HEADER_SIZE, Origin
from lotus_durable.queue.reader import SegmentReader
from lotus_durable.queue.writer import SegmentWriter

from .faults import full_disk, refusing
from .segments import KEY, Reports, append, numbers_of, open_appender, read_journal, read_segment, record


@pytest.fixture(params=[False, True], ids=["process", "power"])
def appender(directory: QueueDirectory, reports: Reports, request: pytest.FixtureRequest) -> Iterator[Appender]:
    appender = open_appender(directory, reports, power=request.param)
    yield appender
    appender.close()


def writer_of(appender: Appender) -> SegmentWriter:
    assert appender._writer is not None
    return appender._writer


def descriptor_of(appender: Appender) -> int:
    return writer_of(appender)._descriptor


def carried_in(directory: QueueDirectory) -> dict[int, Origin]:
    """Return where each carried event was before."""
    found: dict[int, Origin] = {}
    for name in directory.segments():
        reader = SegmentReader(directory.journal / name)
        while (stretch := reader.read(100)) is not None:
            found.update({numbers_of(stretch.records)[index]: origin for index, origin in stretch.carried.items()})
        reader.close()
    return found


def expire_trust(appender: Appender) -> None:
    """Let so much time pass that the next event checks first."""
    appender._checked_at -= 1.0


# Descriptors that somebody closed


def other_files(path: Path) -> dict[str, Callable[[], int]]:
    def make_pipe() -> int:
        _reading, writing = os.pipe()
        os.set_blocking(writing, False)
        return writing

    def make_terminal() -> int:
        return pty.openpty()[1]

    def make_connection() -> int:
        one, _other = socket.socketpair()
        return one.detach()

    def read_only() -> int:
        return os.open("/dev/null", os.O_RDONLY)

    return {
        "a connection": make_connection,
        "a pipe": make_pipe,
        "a terminal": make_terminal,
        "a file that is read": read_only,
        "a directory": lambda: os.open(path, os.O_RDONLY),
        "a datagram socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).detach(),
    }


KINDS = list(other_files(Path("/")))


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("trusted", [True, False])
def test_a_descriptor_that_became_something_else_gets_not_a_byte_and_no_event_is_lost(
    directory: QueueDirectory, appender: Appender, reports: Reports, tmp_path: Path, kind: str, trusted: bool
) -> None:
    append(appender, 0, 1)
    number = descriptor_of(appender)
    theirs = other_files(tmp_path)[kind]()
    os.dup2(theirs, number)
    if not trusted:
        expire_trust(appender)
    append(appender, 2, 3)
    assert descriptor_of(appender) != number
    assert read_journal(directory) == [0, 1, 2, 3]
    assert carried_in(directory) == {}  # they lie where they were
    os.fstat(number)  # it is theirs, and still open
    assert [type(error) for error in reports] == [QueueDamaged]
    assert "descriptor" in str(reports[0])
    assert "no event is lost" in str(reports[0])
    os.close(number)
    os.close(theirs)


@pytest.mark.parametrize("trusted", [True, False])
def test_a_descriptor_that_somebody_closed_is_done_without(
    directory: QueueDirectory, appender: Appender, reports: Reports, trusted: bool
) -> None:
    append(appender, 0)
    os.close(descriptor_of(appender))
    if not trusted:
        expire_trust(appender)
    append(appender, 1)
    assert read_journal(directory) == [0, 1]
    assert len(reports) == 1
    assert len(directory.segments()) == 2


def test_a_file_that_got_our_number_gets_no_more_than_comes_before_the_next_check(
    directory: QueueDirectory, reports: Reports, tmp_path: Path
) -> None:
    appender = open_appender(directory, reports)
    append(appender, 0)
    expire_trust(appender)
    append(appender, 1)  # a good check: event 0 is known to be where it belongs
    theirs = tmp_path / "theirs"
    theirs.write_bytes(b"their own")
    descriptor = os.open(theirs, os.O_RDWR)
    os.dup2(descriptor, descriptor_of(appender))
    append(appender, 2, 3)
    taken = theirs.stat().st_size
    expire_trust(appender)
    append(appender, 4)
    assert theirs.stat().st_size == taken
    assert theirs.read_bytes().startswith(b"their own")
    assert read_journal(directory) == [0, 1, 2, 3, 4]
    assert set(carried_in(directory)) == {2, 3}
    assert "descriptor" in reports.texts()[0]
    appender.close()


def test_a_refused_write_to_somebody_elses_file_cuts_nothing_from_it(
    directory: QueueDirectory, appender: Appender, tmp_path: Path
) -> None:
    append(appender, 0)
    theirs = tmp_path / "theirs"
    theirs.write_bytes(bytes(5000))
    descriptor = os.open(theirs, os.O_RDWR)
    os.dup2(descriptor, descriptor_of(appender))
    with refusing("pwrite", errno.EIO, where="theirs"):
        append(appender, 1)
    assert theirs.stat().st_size == 5000
    assert read_journal(directory) == [0, 1]


def test_closing_everything_again_and_again_loses_no_event_and_is_told_once(
    directory: QueueDirectory, reports: Reports
) -> None:
    appender = open_appender(directory, reports)
    for number in range(20):
        append(appender, number)
        os.close(descriptor_of(appender))
    appender.close()
    assert read_journal(directory) == list(range(20))
    assert len(reports) == 1


def test_an_appender_closes_nothing_that_is_somebody_elses(
    directory: QueueDirectory, reports: Reports, tmp_path: Path
) -> None:
    for leave in (Appender.close, Appender.abandon):
        appender = open_appender(directory, reports)
        append(appender, 0)
        number = descriptor_of(appender)
        descriptor = os.open(tmp_path, os.O_RDONLY)
        os.dup2(descriptor, number)
        leave(appender)
        assert stat.S_ISDIR(os.fstat(number).st_mode)
        os.close(number)
        os.close(descriptor)


# Segments that somebody took away


def test_of_a_deleted_segment_everything_is_carried_over(
    directory: QueueDirectory, appender: Appender, reports: Reports
) -> None:
    append(appender, *range(5))
    expire_trust(appender)
    append(appender, *range(5, 8))
    source = writer_of(appender).header.id
    writer_of(appender).path.unlink()
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
    mark = appender.append(record(1), appender._checked_at)
    assert mark is not None
    appender.append_again(record(1), appender._checked_at, mark)
    source = mark[0].header.id
    mark[0].path.unlink()
    expire_trust(appender)
    append(appender, 2)
    assert carried_in(directory)[1] == (source, mark[1])
    assert read_journal(directory) == [0, 1, 2]
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
    moved = QueueDirectory(directory.root.rename(directory.root.with_name("moved")))
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
    assert read_segment(directory.journal / released_name(name))[0] == [record(0), record(1)]
    assert read_journal(directory) == [0, 1, 2]
    assert carried_in(directory) == {}
    assert reports == []
    assert set(appender.written()) == {name, writer_of(appender).path.name}


def test_a_released_segment_whose_descriptor_somebody_closed_is_found_all_the_same(
    directory: QueueDirectory, appender: Appender, reports: Reports
) -> None:
    append(appender, 0)
    [name] = directory.segments()
    directory.let_go(name)
    os.close(descriptor_of(appender))
    append(appender, 1)
    assert read_journal(directory) == [0, 1]
    assert carried_in(directory) == {}
    assert len(reports) == 1


def test_a_segment_that_is_deleted_when_its_descriptor_is_gone_too_is_carried_over_from_memory(
    directory: QueueDirectory, appender: Appender, reports: Reports
) -> None:
    append(appender, 0, 1)
    expire_trust(appender)
    append(appender, 2, 3)
    writer_of(appender).path.unlink()
    os.close(descriptor_of(appender))
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


def test_of_a_segment_that_lost_its_last_bytes_only_the_last_event_is_carried_over(
    directory: QueueDirectory, appender: Appender, reports: Reports
) -> None:
    append(appender, 0, 1)
    path = writer_of(appender).path
    os.truncate(path, path.stat().st_size - 1)
    expire_trust(appender)
    append(appender, 2)
    assert set(carried_in(directory)) == {1}
    assert read_journal(directory) == [0, 1, 2]
    assert "no event is lost; written anew: 1" in reports.texts()[0]


def test_a_segment_to_which_somebody_appended_is_written_no_more(appender: Appender, reports: Reports) -> None:
    append(appender, 0)
    path = writer_of(appender).path
    with path.open("ab") as file:
        file.write(b"a note")
    expire_trust(appender)
    append(appender, 1)
    assert writer_of(appender).path != path
    records, [damage] = read_segment(path)
    assert (numbers_of(records), damage.data, damage.events) == ([0], b"a note", 0)
    assert "something was appended" in reports.texts()[0]


# Where there is no room, or no right, to go on


def test_what_has_no_place_on_a_full_disk_waits_until_there_is_one(
    directory: QueueDirectory, appender: Appender, reports: Reports
) -> None:
    append(appender, 0, 1)
    writer_of(appender).path.unlink()
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


def test_a_full_disk_is_not_asked_for_every_event_to_take_what_is_stranded(appender: Appender) -> None:
    append(appender, 0)
    writer_of(appender).path.unlink()
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
    directory.root.rename(directory.root.with_name("moved"))
    directory.root.mkdir(mode=0o777)
    directory.root.chmod(0o777)
    directory.journal.mkdir(mode=0o700)
    expire_trust(appender)
    with pytest.raises(QueueDirectoryError, match="written by others"):
        append(appender, 1)
    assert os.listdir(directory.journal) == []
    shutil.rmtree(directory.root)
    directory.root.with_name("moved").rename(directory.root)
    append(appender, 1)
    assert read_journal(directory) == [0, 1]
    assert reports == []


def test_what_is_carried_over_half_is_carried_over_as_a_whole_the_next_time(
    directory: QueueDirectory, appender: Appender
) -> None:
    append(appender, *range(5))
    writer_of(appender).path.unlink()
    expire_trust(appender)
    with refusing("rename", errno.EIO, where=".new", times=1), suppress(OSError):
        append(appender, 5)
    assert directory.segments() == []
    appender._stranded_until = 0.0
    append(appender, 5)
    assert read_journal(directory) == list(range(6))


def test_what_is_carried_over_stays_with_the_key_it_was_for(directory: QueueDirectory, reports: Reports) -> None:
    key = KEY
    appender = open_appender(directory, reports, key=lambda: key)
    append(appender, 0)
    writer_of(appender).path.unlink()
    expire_trust(appender)
    key = b"the next"
    append(appender, 1)
    keys = {}
    for name in directory.segments():
        reader = SegmentReader(directory.journal / name)
        stretch = reader.read(10)
        assert stretch is not None
        assert reader.header is not None
        keys[reader.header.key] = numbers_of(stretch.records)
        reader.close()
    assert keys == {KEY: [0], b"the next": [1]}
    appender.close()


def test_the_last_check_is_made_when_the_process_ends(
    directory: QueueDirectory, appender: Appender, reports: Reports
) -> None:
    append(appender, 0)
    writer_of(appender).path.unlink()
    appender.close()
    assert read_journal(directory) == [0]
    assert len(reports) == 1


def test_what_can_be_carried_nowhere_when_the_process_ends_is_told_to_be_lost(
    appender: Appender, reports: Reports
) -> None:
    append(appender, 0, 1)
    writer_of(appender).path.unlink()
    with full_disk():
        appender.close()
    [report] = reports.texts()
    assert "events lost, at the most: 2" in report
    assert "No space" in report
