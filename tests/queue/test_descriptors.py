"""Descriptors that somebody closed, or closed and opened anew: not a byte too much, and no event lost."""

from __future__ import annotations

import errno
import os
import pty
import resource
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from lotus_durable.errors import QueueDamaged
from lotus_durable.queue.appender import Appender
from lotus_durable.queue.directory import QueueDirectory

from .faults import exit_status, in_child, refusing
from .segments import (
    Reports,
    append,
    carried_in,
    expire_trust,
    open_appender,
    read_journal,
    writer_of,
)


def descriptor_of(appender: Appender) -> int:
    return writer_of(appender).descriptor


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
    assert set(carried_in(directory)) == {1, 2, 3}
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


# The number of the descriptor


def test_a_segment_has_a_number_that_nobody_gets_by_opening_a_file(appender: Appender) -> None:
    append(appender, 0)
    assert 512 <= descriptor_of(appender) <= 1000
    assert not os.get_inheritable(descriptor_of(appender))


def test_several_segments_have_numbers_side_by_side(directory: QueueDirectory, reports: Reports) -> None:
    appenders = [open_appender(directory, reports) for _ in range(3)]
    for number, each in enumerate(appenders):
        append(each, number)
    first, second, third = (descriptor_of(each) for each in appenders)
    assert 512 <= first < second < third <= 1000
    for each in appenders:
        each.close()


@pytest.mark.parametrize("most", [64, 512, 513])
def test_where_few_files_may_be_open_any_number_will_do(directory: QueueDirectory, most: int) -> None:
    def track() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        reports = Reports()
        appender = open_appender(directory, reports)
        append(appender, 0)
        assert 2 < descriptor_of(appender) < most
        appender.close()

    assert exit_status(in_child(track)) == 0
    assert read_journal(directory) == [0]


def test_a_process_that_has_closed_its_standard_files_writes_to_none_of_them(directory: QueueDirectory) -> None:
    def track() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        os.closerange(0, 3)
        appender = open_appender(directory, Reports())
        append(appender, 0)
        assert descriptor_of(appender) > 2
        assert not any(os.path.exists(f"/proc/self/fd/{number}") for number in range(3))
        appender.close()

    assert exit_status(in_child(track)) == 0
    assert read_journal(directory) == [0]


def test_above_a_thousand_there_is_no_number_for_a_segment(
    directory: QueueDirectory, appender: Appender, reports: Reports
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2000:
        pytest.skip("more than 1,000 open files are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    null = os.open("/dev/null", os.O_RDONLY)
    taken = [number for number in range(512, 1001) if not os.path.exists(f"/proc/self/fd/{number}")]
    try:
        for number in taken:
            os.dup2(null, number)
        append(appender, 0)
        assert 2 < descriptor_of(appender) < 512
    finally:
        for number in (null, *taken):
            os.close(number)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    append(appender, 1)
    assert read_journal(directory) == [0, 1]
    assert reports == []
