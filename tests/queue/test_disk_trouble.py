"""A disk that is full, read-only, broken or out of descriptors: nothing is lost, nobody waits, it is said once."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import pytest
from lotus_durable.queue.buffer import CAPACITY, MemoryBuffer

from lotus_durable.errors import DiskRefused, QueueFull
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.journal import JournalQueue

from .conftest import OpenQueue
from .events import (
    Reports,
    assert_conserved,
    deliver_all,
    number_of,
    parked_rows,
    read_pass,
    record,
    settled_queue,
    stored,
)
from .faults import full_disk, refusing, remount, replaced, small_disk, writing_short

Trouble = Callable[[], AbstractContextManager[object]]

TROUBLES: dict[str, Trouble] = {
    "no space": full_disk,
    "quota": lambda: refusing("write", errno.EDQUOT),
    "input/output error": lambda: refusing("write", errno.EIO),
    "read-only": lambda: _several(refusing("write", errno.EROFS), refusing("ftruncate", errno.EROFS)),
    "short writes": lambda: writing_short(20),
    "short writes that cannot be undone": lambda: _several(writing_short(20), refusing("ftruncate", errno.EIO)),
    "short writes of headers too": lambda: writing_short(20, where="journal"),
}


def _several(*contexts: AbstractContextManager[object]) -> ExitStack:
    stack = ExitStack()
    for context in contexts:
        stack.enter_context(context)
    return stack


@pytest.fixture(params=list(TROUBLES.values()), ids=list(TROUBLES))
def trouble(request: pytest.FixtureRequest) -> Trouble:
    chosen: Trouble = request.param
    return chosen


def test_events_wait_in_memory_and_are_written_in_order_when_the_disk_takes_them(
    queue: JournalQueue, reports: Reports, trouble: Trouble
) -> None:
    for number in range(3):
        queue.append(record(number))
    with trouble():
        for number in range(3, 300):
            queue.append(record(number))
        assert queue.buffered() == 297
        assert queue.write_back() == 297
        assert queue.census().accepted == 3
    assert [type(error) for error in reports] == [DiskRefused]
    for number in range(300, 310):
        queue.append(record(number))
    assert queue.buffered() == 0
    # One process, one thread: the order is kept.
    assert deliver_all(queue).numbers == list(range(310))
    assert_conserved(queue.census())


def test_an_append_writes_back_a_few_events_and_not_all(queue: JournalQueue) -> None:
    queue.append(record(0))
    with full_disk():
        for number in range(1, 1001):
            queue.append(record(number))
    with replaced("write", os.write, where=".seg") as writes:
        queue.append(record(1001))
    assert 1 < writes.count < 100
    assert queue.buffered() == 1001 - writes.count
    assert queue.write_back() == 0
    assert deliver_all(queue).numbers == list(range(1002))


def test_the_first_event_ever_can_be_refused(tmp_path: Path, open_queue: OpenQueue, reports: Reports) -> None:
    queue = open_queue(at=QueueDirectory(tmp_path / "none"))
    with refusing("mkdir", errno.EROFS):
        queue.append(record(0))
    assert "EROFS" in str(reports[0])
    assert queue.write_back() == 0
    assert deliver_all(queue).numbers == [0]


def test_trouble_is_reported_once_a_minute(
    queue: JournalQueue, reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("lotus_durable.queue.fallback.time.monotonic", lambda: now)
    with full_disk():
        for _ in range(5):
            queue.append(record(0))
        assert len(reports) == 1
        now += 59.0
        queue.append(record(0))
        assert len(reports) == 1
        now += 1.0
        queue.append(record(0))
        assert len(reports) == 2
    text = str(reports[1])
    assert "ENOSPC" in text
    assert "7 accepted events" in text
    assert str(queue.directory.root) in text


def test_a_full_memory_buffer_refuses_events_aloud(queue: JournalQueue) -> None:
    assert CAPACITY == 10_000
    queue.append(record(0))
    with full_disk():
        for number in range(1, CAPACITY + 1):
            queue.append(record(number))
        with pytest.raises(QueueFull, match="memory buffer is full"):
            queue.append(record(-1))
    assert queue.write_back() == 0
    assert deliver_all(queue).numbers == list(range(CAPACITY + 1))


def test_the_buffer_keeps_its_order_when_a_record_is_put_back() -> None:
    buffer = MemoryBuffer(capacity=3)
    for letter in (b"a", b"b", b"c"):
        buffer.add(letter)
    taken = buffer.take()
    assert taken == b"a"
    buffer.put_back(taken)
    assert [buffer.take() for _ in range(4)] == [b"a", b"b", b"c", None]


def test_what_somebody_tries_to_write_is_counted_until_it_is_written(queue: JournalQueue) -> None:
    with full_disk():
        queue.append(record(0))
    seen: list[int] = []
    real = os.write

    def look(target: int, data: bytes) -> int:
        seen.append(queue.buffered())
        return real(target, data)

    with replaced("write", look, where=".seg"):
        assert queue.write_back() == 0
    assert seen[-1] == 1
    assert queue.buffered() == 0


def test_closing_counts_and_reports_each_event_that_cannot_be_written_once(
    queue: JournalQueue, reports: Reports, caplog: pytest.LogCaptureFixture
) -> None:
    with full_disk():
        for number in range(3):
            queue.append(record(number))
        queue.close()
        queue.close()
        queue.append(record(3))  # by a thread that was too late to know
        queue.close()
    lost = [str(error) for error in reports if "lost: the disk" in str(error)]
    assert [text.split(" lost")[0] for text in lost] == ["3 accepted events", "1 accepted event"]
    assert all(text in caplog.text for text in lost)
    assert queue.buffered() == 0


def test_an_event_in_another_threads_hands_when_the_queue_is_closed_is_reported_too(
    queue: JournalQueue, reports: Reports
) -> None:
    queue.append(record(-1))  # into a segment that the other thread then has for itself
    with full_disk():
        for number in range(3):
            queue.append(record(number))
    in_hand, closed = threading.Event(), threading.Event()

    def refuse(target: Any, *_: Any, **__: Any) -> int:
        if threading.current_thread() is writer:
            in_hand.set()
            closed.wait(20)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))

    writer = threading.Thread(target=queue.write_back)
    with replaced("write", refuse), replaced("open", refuse, where=".new"):
        writer.start()
        assert in_hand.wait(20)
        queue.close()
        closed.set()
        writer.join(20)
    lost = [str(error).split(" lost")[0] for error in reports if "lost: the disk" in str(error)]
    assert sorted(lost) == ["1 accepted event", "2 accepted events"]


def test_a_directory_that_became_unsafe_gets_no_further_segment(queue: JournalQueue, reports: Reports) -> None:
    root = queue.directory.root
    queue.directory.prepare()
    root.chmod(0o777)
    queue.append(record(0))
    assert queue.directory.segments() == []
    assert queue.directory.unfinished() == []
    assert "can be written by others" in str(reports[0])
    root.chmod(0o700)
    queue.append(record(1))
    assert deliver_all(queue).numbers == [0, 1]


def test_an_unsafe_directory_is_trouble_and_not_a_surprise_for_the_caller(
    tmp_path: Path, open_queue: OpenQueue, reports: Reports
) -> None:
    directory = QueueDirectory(tmp_path / "unsafe")
    Path(directory.root).mkdir()
    Path(directory.root).chmod(0o777)
    queue = open_queue(at=directory)
    queue.append(record(0))
    assert "can be written by others" in str(reports[0])
    Path(directory.root).chmod(0o700)
    queue.append(record(1))
    assert deliver_all(queue).numbers == [0, 1]


def test_no_descriptors_left_is_trouble_like_any_other(open_queue: OpenQueue, reports: Reports) -> None:
    queue = open_queue(segment_bytes=300)
    with refusing("open", errno.EMFILE):
        for number in range(20):
            queue.append(record(number))
    assert queue.buffered() > 0
    assert "EMFILE" in str(reports[0])
    queue.append(record(20))
    assert deliver_all(queue).numbers == list(range(21))


def test_an_interruption_while_writing_back_loses_no_accepted_event(queue: JournalQueue) -> None:
    with full_disk():
        for number in range(3):
            queue.append(record(number))

    def interrupt(*_arguments: object) -> int:
        raise KeyboardInterrupt

    with replaced("write", interrupt, where=".seg"), pytest.raises(KeyboardInterrupt):
        queue.write_back()
    assert queue.write_back() == 0
    assert deliver_all(queue).numbers == [0, 1, 2]


def test_a_failed_sync_is_not_acknowledged_on_its_segment_but_on_the_next(
    directory: QueueDirectory, open_queue: OpenQueue, reports: Reports
) -> None:
    queue = open_queue(power=True)
    queue.append(record(0))
    [first] = directory.segments()
    with refusing("fdatasync", errno.EIO, where=first) as syncs:
        queue.append(record(1))
        assert queue.buffered() == 1
        queue.append(record(2))
    assert syncs.count == 1  # not tried again on the same file
    assert queue.buffered() == 0
    assert len(directory.segments()) == 2
    assert [type(error) for error in reports] == [DiskRefused]
    # Event 1 may be in the first segment too: it goes out twice with one id, and counts once.
    assert deliver_all(queue).numbers == [0, 1, 1, 2]


def test_over_the_limit_with_a_buffer_that_waits_is_told_to_the_caller(open_queue: OpenQueue) -> None:
    queue = open_queue(max_queue_bytes=20_000)
    count = 0
    with full_disk():
        for count in range(500):
            queue.append(record(count))
    accepted: list[int] = []

    def append_until_refused() -> None:
        for _ in range(500):
            queue.append(record(-1))
            accepted.append(-1)

    with pytest.raises(QueueFull, match="max_queue_bytes"):
        append_until_refused()
    waiting = queue.buffered()
    assert 0 < waiting < 500
    found = deliver_all(queue).numbers
    while queue.write_back():
        found += deliver_all(queue).numbers
    found += deliver_all(queue).numbers
    assert found == [*range(count + 1), *accepted]


# Real disks


def test_a_small_disk_fills_up_and_is_emptied(tmp_path: Path, open_queue: OpenQueue, reports: Reports) -> None:
    with small_disk(tmp_path / "disk", "512k") as disk:
        directory = QueueDirectory(disk / "queue")
        queue = open_queue(at=directory, segment_bytes=50_000)
        consumer = queue.consumer()
        count = 0
        while queue.buffered() < 50:
            queue.append(record(count, padding=count % 900))
            count += 1
        assert queue.census().accepted == count - 50
        assert "ENOSPC" in str(reports[0])
        found: list[int] = []
        while len(found) < count:
            output = read_pass(consumer)
            assert output.damages == []
            assert output.numbers
            found += output.numbers
            consumer.settle(output.settlement())
            read_pass(consumer)
            queue.write_back()
        assert found == list(range(count))
        assert_conserved(queue.census())
        consumer.close()
        queue.close()


def test_a_disk_that_the_queue_has_filled_has_room_to_park_events(tmp_path: Path, open_queue: OpenQueue) -> None:
    """Else a batch with an event that is refused could not be settled, and the disk never be emptied."""
    with small_disk(tmp_path / "disk", "4m") as disk:
        queues = [open_queue(at=QueueDirectory(disk / "queue"), segment_bytes=100_000) for _ in range(4)]
        count = 0
        while any(queue.buffered() < 20 for queue in queues):
            queues[count % 4].append(record(count, padding=count % 900))
            count += 1
        found: list[int] = []
        consumer = queues[0].consumer()
        while len(found) < count:
            output = read_pass(consumer)
            found += output.numbers
            consumer.settle(output.settlement(parked=output.records[:1], dead=output.records[1:2]))
            read_pass(consumer)
            for queue in queues:
                queue.write_back()
        assert sorted(found) == list(range(count))
        assert_conserved(queues[0].census())
        consumer.close()
        for queue in queues:
            queue.close()


def test_a_disk_that_does_not_tell_its_size_is_written_to(queue: JournalQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    told = os.statvfs_result((4096, 4096, 0, 0, 0, 0, 0, 0, 0, 255))
    monkeypatch.setattr("lotus_durable.queue.appender.os.statvfs", lambda _path: told)
    for number in range(10):
        queue.append(record(number))
    assert queue.buffered() == 0
    assert queue.census().accepted == 10


def test_a_new_leader_delivers_from_a_full_disk_though_the_store_cannot_be_opened(
    tmp_path: Path, open_queue: OpenQueue, caplog: pytest.LogCaptureFixture
) -> None:
    """Else a disk that the queue itself has filled could never be emptied once its leader is gone."""
    with small_disk(tmp_path / "disk", "1m") as disk:
        directory = QueueDirectory(disk / "queue")
        queue = open_queue(at=directory)
        settled_queue(queue).close()
        filled = fill(disk)
        consumer = queue.consumer()
        output = read_pass(consumer)
        assert output.numbers == [4, 5]
        consumer.settle(output.settlement())
        assert consumer.parked(0, 10) == []
        assert consumer.parked(0, 10) == []
        census = queue.census()
        assert (census.delivered, census.pending, census.parked, census.dead_lettered) == (3, 0, 2, 1)
        assert len([line for line in caplog.messages if "parked events wait" in line]) == 1

        filled.unlink()
        assert [number_of(row.record) for row in parked_rows(consumer)] == [0, 1]
        queue.append(record(6))
        output = read_pass(consumer)
        consumer.settle(output.settlement(parked=output.records))
        consumer.close()
        assert_conserved(queue.census())
        assert queue.census().parked == 3
        queue.close()


def test_rows_that_a_full_disk_kept_from_being_undone_are_undone_before_others_are_added(
    tmp_path: Path, open_queue: OpenQueue
) -> None:
    with small_disk(tmp_path / "disk", "1m") as disk:
        queue = open_queue(at=QueueDirectory(disk / "queue"))
        settled_queue(queue).close()
        # A leader was killed between its rows and its commit.
        queue._store.insert("parked", [stored(record(4))])
        queue._store.insert("dead", [stored(record(5))])
        filled = fill(disk)
        consumer = queue.consumer()
        filled.unlink()
        output = read_pass(consumer)
        consumer.settle(output.settlement(parked=output.records[1:]))
        assert [number_of(row.record) for row in parked_rows(consumer)] == [0, 1, 5]
        consumer.close()
        census = queue.census()
        assert (census.delivered, census.parked, census.dead_lettered) == (2, 3, 1)
        # Its count is what the next leader finds in the store.
        queue.consumer().close()
        assert queue.census() == census
        queue.close()


def fill(disk: Path) -> Path:
    """Leave no room on a disk; return the file to delete for that to end."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(1 << 16))
    return ballast


def test_a_disk_that_turns_read_only_and_back(tmp_path: Path, open_queue: OpenQueue, reports: Reports) -> None:
    with small_disk(tmp_path / "disk", "1m") as disk:
        directory = QueueDirectory(disk / "queue")
        queue = open_queue(at=directory)
        queue.append(record(0))
        queue.close()  # a disk with files open for writing cannot be made read-only
        remount(disk, "ro")
        for number in range(1, 5):
            queue.append(record(number))
        assert queue.buffered() == 4
        assert "EROFS" in str(reports[0])
        assert queue.census().pending == 1
        with pytest.raises(OSError, match="Read-only"):
            queue.consumer()
        remount(disk, "rw")
        queue.append(record(5))
        assert deliver_all(queue).numbers == list(range(6))
        queue.close()
