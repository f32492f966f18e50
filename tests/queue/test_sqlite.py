"""Appending through SQLite, and draining that: always beside the segments."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from lotus_durable.descriptors import place_of
from lotus_durable.errors import QueueFull
from lotus_durable.operate.pending import PendingReader
from lotus_durable.queue.carry_over import write_carried
from lotus_durable.queue.consumer import Consumer
from lotus_durable.queue.directory import QUEUE_DB, QueueDirectory
from lotus_durable.queue.format import Header
from lotus_durable.queue.protocol import Settlement
from lotus_durable.queue.rows import ensure_id
from lotus_durable.queue.sqlite import SqliteAppender
from lotus_durable.queue.table import EventTable

from .consuming import consuming, counts, deliver, deliver_all, read_pass
from .faults import STRIDE, dies_at, exit_status, in_child, refusing, replaced, small_disk
from .segments import KEY, Reports, open_appender, open_sqlite, record
from .segments import append as append_to_segment
from .waiting import wait_until


@pytest.fixture
def appender(directory: QueueDirectory, reports: Reports) -> Iterator[SqliteAppender]:
    appender = open_sqlite(directory, reports)
    yield appender
    appender.close()


def append(appender: SqliteAppender, *numbers: int) -> None:
    for number in numbers:
        mark = appender.append(record(number), time.monotonic())
        if mark is not None:
            appender.sync(mark)


def rows(directory: QueueDirectory) -> int:
    with contextlib.closing(sqlite3.connect(directory.queue_db)) as connection:
        return int(connection.execute("SELECT count(*) FROM queue_pending").fetchone()[0])


def test_events_come_out_in_the_order_they_went_in_with_the_key_of_their_writer(
    directory: QueueDirectory, reports: Reports, appender: SqliteAppender
) -> None:
    append(appender, *range(200))
    assert directory.segments() == []
    with consuming(directory, reports) as consumer:
        assert consumer.has_pending()
        assert counts(directory, consumer).pending == 200
        output = read_pass(consumer, limit=7)
        assert output.numbers == list(range(200))
        assert output.keys == {KEY}
        consumer.settle(output.settlement())
        assert not consumer.has_pending()
        found = counts(directory, consumer)
        assert (found.accepted, found.delivered, found.pending) == (200, 200, 0)
        assert consumer.progress().cursor[QUEUE_DB][0] >= appender.written()[QUEUE_DB]


def test_segments_and_rows_are_both_drained_whatever_the_option_says_now(
    directory: QueueDirectory, reports: Reports, appender: SqliteAppender
) -> None:
    append(appender, 0, 1)
    append_to_segment(open_appender(directory, reports), 2, 3)
    with consuming(directory, reports) as consumer:
        assert sorted(deliver(consumer)) == [0, 1, 2, 3]
        assert counts(directory, consumer).accepted == 4


def test_rows_of_another_key_are_another_chunk(directory: QueueDirectory, reports: Reports) -> None:
    for key in (b"key one ", b"key two "):
        appender = open_sqlite(directory, reports, key=key)
        append(appender, 0, 1)
        appender.close()
    with consuming(directory, reports) as consumer:
        first, second = consumer.read(10), consumer.read(10)
        assert first is not None
        assert second is not None
        assert (first.key, second.key) == (b"key one ", b"key two ")
        assert len(first.records) == len(second.records) == 2


def test_settled_rows_are_deleted_later(directory: QueueDirectory, reports: Reports, appender: SqliteAppender) -> None:
    append(appender, *range(10))
    with consuming(directory, reports) as consumer:
        deliver(consumer)
        assert rows(directory) == 10
        consumer.retire()
        assert rows(directory) == 0
        append(appender, 10)
        assert deliver_all(consumer) == [10], "no number is used twice"


def test_settled_rows_are_deleted_a_second_at_a_time_and_all_in_the_end(
    directory: QueueDirectory, reports: Reports, appender: SqliteAppender, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(appender, *range(1_100))
    with consuming(directory, reports) as consumer:
        deliver(consumer)
        with monkeypatch.context() as patch:
            patch.setattr("lotus_durable.queue.rows.DELETING_TAKES", -1.0)
            consumer.retire()
        assert rows(directory) == 600
        assert counts(directory, consumer).delivered == 1_100
        assert deliver_all(consumer) == []
        assert rows(directory) == 0


def test_rows_are_safe_from_a_power_cut_before_they_are_settled(
    directory: QueueDirectory, reports: Reports, appender: SqliteAppender
) -> None:
    """Else the books could know of more rows than the database has left, and would take the next ones for settled."""
    append(appender, *range(10))
    with consuming(directory, reports) as consumer:
        output = read_pass(consumer)
        with refusing("fdatasync", errno.EIO, where="queue.db-wal"), pytest.raises(OSError, match="Input/output"):
            consumer.settle(output.settlement())
        assert counts(directory, consumer).pending == 10
        consumer.settle(output.settlement())
        assert counts(directory, consumer).pending == 0


@pytest.mark.parametrize("more", [2, 40])
def test_what_is_put_into_an_older_database_that_somebody_restored_is_delivered(
    directory: QueueDirectory, reports: Reports, more: int
) -> None:
    """Also when nobody flushes before its new rows have the numbers of all that was settled, and more."""
    appender = open_sqlite(directory, reports)
    append(appender, *range(5))
    appender.close()
    older = Path(directory.queue_db).read_bytes()
    appender = open_sqlite(directory, reports)
    append(appender, *range(5, 10))
    with consuming(directory, reports) as consumer:
        assert deliver_all(consumer) == list(range(10))
    appender.close()
    Path(directory.queue_db).write_bytes(older)
    appender = open_sqlite(directory, reports)
    new = range(10, 10 + more)
    append(appender, *new)
    with consuming(directory, reports) as consumer:
        assert set(deliver_all(consumer)) >= {*new}
        append(appender, *range(60, 70))
        assert deliver_all(consumer) == list(range(60, 70))
    assert "older than the books" in str(reports[0])
    appender.close()
    with consuming(directory, reports) as consumer:
        assert deliver_all(consumer) == []
    assert len(reports) == 1, "what was emptied since is not older"


def test_a_row_whose_copy_is_in_hand_is_held_back_and_what_follows_it_comes_in_the_next_pass(
    directory: QueueDirectory, reports: Reports
) -> None:
    appender = open_sqlite(directory, reports)
    append(appender, *range(5))
    with contextlib.closing(sqlite3.connect(directory.queue_db)) as connection:
        source = Header(b"", os.getpid(), 0, ensure_id(connection), KEY)
    appender.close()
    write_carried(directory, source, [(3, record(2))], sync=False)
    with consuming(directory, reports) as consumer:
        first = read_pass(consumer)
        assert first.numbers == [2, 0, 1]
        consumer.settle(first.settlement())
        assert deliver_all(consumer) == [3, 4]
        assert counts(directory, consumer).accepted == 5


def test_rows_of_a_database_that_somebody_removed_are_read_to_their_end(
    directory: QueueDirectory, reports: Reports
) -> None:
    appender = open_sqlite(directory, reports)
    append(appender, *range(10))
    appender.close()
    with consuming(directory, reports) as consumer:
        chunk = consumer.read(3)
        assert chunk is not None
        for path in Path(directory.root).glob("queue.db*"):
            path.unlink()
        assert consumer.has_pending()
        assert len(chunk.records) + len(read_pass(consumer).records) == 10


def test_a_flusher_killed_between_settling_and_deleting_settles_no_row_twice(
    directory: QueueDirectory, reports: Reports, appender: SqliteAppender
) -> None:
    append(appender, *range(10))
    with consuming(directory, reports) as consumer:
        deliver(consumer)
    assert rows(directory) == 10
    with consuming(directory, reports) as consumer:
        assert not consumer.has_pending()
        assert deliver_all(consumer) == []
        assert rows(directory) == 0
        assert counts(directory, consumer).accepted == 10


def test_a_flusher_that_dies_at_any_step_settles_every_row_once(memory_path: Path, reports: Reports) -> None:
    step = 0
    died = True
    while died:
        directory = QueueDirectory(memory_path / f"queue-{step}")
        directory.prepare()
        appender = open_sqlite(directory, reports)
        append(appender, *range(6))
        appender.close()
        died = dies_at(step, partial(flush, directory))
        with consuming(directory, reports) as consumer:
            deliver_all(consumer)
            found = counts(directory, consumer)
            assert (found.accepted, found.delivered, found.pending) == (6, 6, 0)
            assert rows(directory) == 0
        step += STRIDE


def flush(directory: QueueDirectory) -> None:
    consumer = Consumer(directory, Reports())
    while (chunk := consumer.read(4)) is not None:
        consumer.settle(Settlement({chunk.source: chunk.positions[-1]}, delivered=len(chunk.records)))
        consumer.retire()
    consumer.close()


# What SQLite cannot take at once goes to a segment


def test_while_another_process_holds_the_database_locked_events_go_to_a_segment(
    directory: QueueDirectory, reports: Reports, appender: SqliteAppender
) -> None:
    append(appender, 0)
    with contextlib.closing(sqlite3.connect(directory.queue_db, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        append(appender, 1, 2)
        other.execute("ROLLBACK")
    append(appender, 3)
    assert len(directory.segments()) == 1
    assert rows(directory) == 2
    with consuming(directory, reports) as consumer:
        assert sorted(deliver_all(consumer)) == [0, 1, 2, 3]


def test_an_event_tracked_by_a_signal_handler_in_mid_put_goes_to_a_segment(
    directory: QueueDirectory, reports: Reports, appender: SqliteAppender, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(appender, 0)
    real = EventTable.put

    def interrupted(table: EventTable, item: bytes, block: bool = True) -> int:
        monkeypatch.setattr(EventTable, "put", real)
        append(appender, 1)
        return real(table, item, block)

    monkeypatch.setattr(EventTable, "put", interrupted)
    append(appender, 2)
    assert rows(directory) == 2
    assert len(directory.segments()) == 1
    with consuming(directory, reports) as consumer:
        assert sorted(deliver_all(consumer)) == [0, 1, 2]


def test_a_database_that_is_none_is_told_once_and_events_go_to_segments(
    directory: QueueDirectory, reports: Reports
) -> None:
    Path(directory.queue_db).write_bytes(b"no database" * 1000)
    appender = open_sqlite(directory, reports)
    append(appender, 0, 1)
    with consuming(directory, reports) as consumer:
        assert deliver_all(consumer) == [0, 1]
        assert counts(directory, consumer).accepted == 2
    assert sum("queue.db" in text for text in reports.texts()) == 1
    appender.close()


def test_on_a_full_disk_nothing_that_was_accepted_is_lost(tmp_path: Path, reports: Reports) -> None:
    with small_disk(tmp_path / "disk", "8m") as disk:
        directory = QueueDirectory(disk / "queue")
        directory.prepare()
        appender = open_sqlite(directory, reports)
        accepted = 0
        with contextlib.suppress(OSError):
            while True:
                appender.append(record(accepted, padding=400), time.monotonic())
                accepted += 1
        assert accepted > 1_000
        appender.close()
        with consuming(directory, reports) as consumer:
            assert sorted(deliver_all(consumer)) == list(range(accepted))
            assert counts(directory, consumer).accepted == accepted


def test_over_its_limit_the_queue_is_full(directory: QueueDirectory, reports: Reports) -> None:
    appender = open_sqlite(directory, reports, limit=1 << 20)
    accepted = 0
    with contextlib.suppress(QueueFull):
        while accepted < 100_000:
            append(appender, accepted)
            accepted += 1
    assert 0 < accepted < 20_000
    appender.close()


# Threads


@pytest.mark.parametrize("who", ["an appender", "a flusher"])
def test_what_another_thread_opens_meanwhile_is_not_taken_for_its_own_and_may_be_closed(
    directory: QueueDirectory, reports: Reports, appender: SqliteAppender, who: str
) -> None:
    """Nobody can tell whose is whose: it lets go, and opens the database again later."""
    one = open_sqlite(directory, reports)
    append(one, 0)
    one.close()
    with contextlib.ExitStack() as others:
        real = os.listdir

        def opened_meanwhile(folder: str) -> list[str]:
            before = real(folder)
            if who == "an appender":
                other = open_sqlite(directory, reports)
                others.callback(other.close)
                append(other, 1)
            else:
                others.enter_context(consuming(directory, reports)).read(1)
            return before

        with replaced("listdir", opened_meanwhile, where="/proc/self/fd", times=1):
            appender.append(record(2), 1000.0)
        assert len(directory.segments()) == 1
        appender.append(record(3), 1002.0)
    before = rows(directory)
    appender.append(record(4), 1002.001)
    assert rows(directory) == before + 1
    assert reports == []


def test_the_locks_of_a_thread_outlast_that_another_one_makes_the_same_database(
    directory: QueueDirectory, reports: Reports
) -> None:
    """A closed descriptor gives up all locks of its process, and the next one to close would delete the log."""
    one, other = open_sqlite(directory, reports), open_sqlite(directory, reports)
    real = os.mknod

    def used_by_another_at_once(path: str, mode: int) -> None:
        real(path, mode)
        append(other, 0)

    with replaced("mknod", used_by_another_at_once, where="queue.db", times=1) as made:
        append(one, 1)
    assert made.count == 1
    assert rows_for_another_process(directory) == 2
    append(other, 2)
    append(one, 3)
    assert rows_for_another_process(directory) == 4
    for each in (one, other):
        each.close()


def rows_for_another_process(directory: QueueDirectory) -> int:
    code = (
        "import contextlib, sqlite3, sys\n"
        "with contextlib.closing(sqlite3.connect(sys.argv[1])) as connection:\n"
        "    print(*connection.execute('SELECT count(*) FROM queue_pending').fetchone())\n"
    )
    return int(subprocess.check_output([sys.executable, "-c", code, directory.queue_db]))


def test_a_number_that_sqlite_has_kept_of_an_earlier_connection_is_watched_like_its_own(
    directory: QueueDirectory, tmp_path: Path
) -> None:
    def child() -> None:
        said = Reports()
        one, other = open_sqlite(directory, said), open_sqlite(directory, said)
        append(one, 0)
        assert rows(directory) == 1  # the number of this connection is kept, because the other one has a lock
        append(other, 1)
        theirs = os.open(tmp_path / "theirs", os.O_RDWR | os.O_CREAT)
        for number, place in other._held.items():
            if place == place_of(directory.queue_db) and number not in one._held:
                os.dup2(theirs, number)
        append(other, 2)
        assert ["somebody has closed descriptors" in text for text in said.texts()] == [True]
        other.close()
        assert os.fstat(theirs).st_size == 0

    assert exit_status(in_child(child)) == 0
    with consuming(directory, Reports()) as consumer:
        assert sorted(deliver_all(consumer)) == [0, 1, 2]


# Forks


def test_a_child_forked_while_a_connection_was_open_appends_to_segments_always(
    directory: QueueDirectory, reports: Reports, appender: SqliteAppender
) -> None:
    append(appender, 0)

    def child() -> None:
        append(appender, 1)  # a fork that ran no hooks
        appender.abandon()
        append(appender, 2)
        other = open_sqlite(directory, reports)
        append(other, 3)
        assert exit_status(in_child(partial(append, other, 4))) == 0, "a child's child, too"

    assert exit_status(in_child(child)) == 0
    append(appender, 5)
    assert rows(directory) == 2
    with consuming(directory, reports) as consumer:
        assert sorted(deliver_all(consumer)) == [0, 1, 2, 3, 4, 5]
    with contextlib.closing(sqlite3.connect(directory.queue_db)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_child_forked_by_c_code_appends_to_segments(
    directory: QueueDirectory, reports: Reports, appender: SqliteAppender
) -> None:
    append(appender, 0)
    pid = ctypes.CDLL(None).fork()  # runs no hooks, as uWSGI's does
    if pid == 0:
        append(appender, 1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert rows(directory) == 1
    with consuming(directory, reports) as consumer:
        assert sorted(deliver_all(consumer)) == [0, 1]


def test_a_child_forked_while_no_connection_was_open_uses_sqlite(directory: QueueDirectory, reports: Reports) -> None:
    appender = open_sqlite(directory, reports)
    append(appender, 0)
    appender.close()

    def child() -> None:
        own = open_sqlite(directory, reports)
        append(own, 1)
        own.close()

    assert exit_status(in_child(child)) == 0
    assert rows(directory) == 2
    assert directory.segments() == []


_ENDS_IN_ORDER = """
import os, sys, time
from pathlib import Path
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.limit import QueueLimit
from lotus_durable.queue.sqlite import SqliteAppender
directory = QueueDirectory(Path(sys.argv[1]))
way = dict(key=bytes(8), identify=lambda: None, power=False, report=print, sealed={})
appender = SqliteAppender(directory, QueueLimit(directory, 1 << 30), **way)
for round in range(20):
    for number in range(20):
        appender.append(b"%d" % number, time.monotonic())
    pid = os.fork()
    if pid == 0:
        sys.exit(0)  # the interpreter ends in order, and takes down what it inherited
    os.waitpid(pid, 0)
"""


def test_children_that_end_in_order_take_no_event_of_their_parent_with_them(directory: QueueDirectory) -> None:
    subprocess.run([sys.executable, "-c", _ENDS_IN_ORDER, str(directory.root)], check=True)
    assert rows(directory) == 400
    with contextlib.closing(sqlite3.connect(directory.queue_db)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_processes_that_put_at_once_and_are_killed_lose_nothing_they_acknowledged(
    memory_path: Path, reports: Reports
) -> None:
    directory = QueueDirectory(memory_path / "queue")
    directory.prepare()
    random.seed(2)
    delivered: set[int] = set()
    acknowledged: set[int] = set()
    for round_ in range(6):
        notes = [memory_path / f"notes-{round_}-{number}" for number in range(4)]
        children = [
            in_child(partial(put_for_ever, directory, note, (round_ * 4 + number) * 1_000_000))
            for number, note in enumerate(notes)
        ]
        for note in notes:
            wait_until(partial(has_lines, note, random.randrange(1, 60)))
        for child in children:
            os.kill(child, signal.SIGKILL)
        for child in children:
            exit_status(child)
        for note in notes:
            acknowledged.update(int(line) for line in note.read_text().splitlines())
        with consuming(directory, reports) as consumer:
            numbers = deliver_all(consumer)
            assert len(numbers) == len(set(numbers))
            delivered.update(numbers)
            assert counts(directory, consumer).accepted == len(delivered)
    assert acknowledged <= delivered
    assert len(delivered) <= len(acknowledged) + 24, "at most the one that each was writing"


def put_for_ever(directory: QueueDirectory, note: Path, base: int) -> None:
    appender = open_sqlite(directory, Reports())
    descriptor = os.open(note, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    while True:
        append(appender, base)
        os.write(descriptor, b"%d\n" % base)
        base += 1


def has_lines(note: Path, count: int) -> bool:
    return note.exists() and note.read_bytes().count(b"\n") >= count


def test_threads_may_use_one_appender_by_turns(
    directory: QueueDirectory, reports: Reports, appender: SqliteAppender
) -> None:
    append(appender, 0)
    other = threading.Thread(target=append, args=(appender, 1, 2))
    other.start()
    other.join()
    append(appender, 3)
    assert directory.segments() == []
    with consuming(directory, reports) as consumer:
        assert deliver_all(consumer) == [0, 1, 2, 3]


# Hands


def remove(directory: QueueDirectory) -> None:
    for suffix in ("", "-wal", "-shm"):
        Path(directory.queue_db).with_name(QUEUE_DB + suffix).unlink()


def test_what_was_put_into_a_database_that_was_deleted_is_written_anew(
    directory: QueueDirectory, reports: Reports, appender: SqliteAppender
) -> None:
    append(appender, *range(10))
    appender.check()
    remove(directory)
    appender.check()
    append(appender, 10)
    with consuming(directory, reports) as consumer:
        assert sorted(deliver_all(consumer)) == list(range(11))
        assert counts(directory, consumer).accepted == 11
    assert len(reports) == 1


@pytest.mark.parametrize("statement", ["identity SET id", "identity SET emptied", "sqlite_sequence SET seq"])
@pytest.mark.parametrize("value", ["NULL", "'text'"])
def test_a_value_beside_the_rows_that_nobody_has_written_keeps_none_from_being_delivered(
    directory: QueueDirectory, reports: Reports, statement: str, value: str
) -> None:
    appender = open_sqlite(directory, reports)
    append(appender, *range(5))
    with consuming(directory, reports) as consumer:
        deliver_all(consumer)
    append(appender, *range(5, 10))
    appender.close()
    connection = sqlite3.connect(directory.queue_db)
    connection.execute(f"UPDATE {statement} = {value}")
    connection.commit()
    connection.close()
    assert [found.record for found in PendingReader(directory, reports)] == [record(n) for n in range(5, 10)]
    with consuming(directory, reports) as consumer:
        assert deliver_all(consumer) == [*range(5, 10)]


def test_what_was_put_into_an_older_database_is_written_anew_also_by_who_opened_it_before_a_flusher_did(
    directory: QueueDirectory, reports: Reports
) -> None:
    """The flusher has given it another id by then; by its former one its rows would count as settled."""
    appender = open_sqlite(directory, reports)
    append(appender, 0)
    appender.close()
    older = Path(directory.queue_db).read_bytes()
    appender = open_sqlite(directory, reports)
    append(appender, *range(1, 20))
    with consuming(directory, reports) as consumer:
        deliver_all(consumer)
    appender.close()
    Path(directory.queue_db).write_bytes(older)
    appender = open_sqlite(directory, reports)
    append(appender, 20)
    with consuming(directory, reports) as consumer:
        assert deliver_all(consumer) == [0, 20]
    append(appender, 21, 22)
    remove(directory)
    appender.close()
    with consuming(directory, reports) as consumer:
        assert deliver_all(consumer) == [21, 22]


def test_of_a_deleted_database_several_processes_carry_the_same_events_and_each_is_delivered_once(
    directory: QueueDirectory, reports: Reports, appender: SqliteAppender
) -> None:
    append(appender, *range(10))
    other = open_sqlite(directory, reports)
    append(other, *range(10, 20))
    remove(directory)
    appender.check()
    other.check()
    other.close()
    with consuming(directory, reports) as consumer:
        assert sorted(deliver_all(consumer)) == list(range(20))
        assert counts(directory, consumer).accepted == 20


def test_what_was_put_into_a_database_that_was_moved_is_delivered_once_when_it_is_moved_back(
    directory: QueueDirectory, reports: Reports, appender: SqliteAppender, tmp_path: Path
) -> None:
    append(appender, *range(10))
    moved = tmp_path / QUEUE_DB
    for suffix in ("", "-wal", "-shm"):
        Path(directory.queue_db).with_name(QUEUE_DB + suffix).rename(moved.with_name(QUEUE_DB + suffix))
    appender.check()  # carries over what it put since the last check
    append(appender, 10)
    with consuming(directory, reports) as consumer:
        first = deliver_all(consumer)
        assert 10 in first
        appender.close()
        with contextlib.suppress(FileNotFoundError):
            remove(directory)
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                moved.with_name(QUEUE_DB + suffix).rename(Path(directory.queue_db).with_name(QUEUE_DB + suffix))
        assert sorted(first + deliver_all(consumer)) == list(range(11))
        assert counts(directory, consumer).accepted == 11


def test_a_flusher_reads_a_removed_database_to_its_end_before_it_follows_the_path(
    directory: QueueDirectory, reports: Reports
) -> None:
    appender = open_sqlite(directory, reports)
    append(appender, *range(10))
    with consuming(directory, reports) as consumer:
        first = consumer.read(3)
        assert first is not None
        appender.close()
        remove(directory)
        own = open_sqlite(directory, reports)
        append(own, 10)
        assert read_pass(consumer).numbers == list(range(3, 10))
        assert read_pass(consumer).numbers == [10]
        own.close()


def test_a_row_that_holds_no_event_is_a_dead_letter_and_hides_none(
    directory: QueueDirectory, reports: Reports, appender: SqliteAppender
) -> None:
    append(appender, *range(4))
    with contextlib.closing(sqlite3.connect(directory.queue_db)) as connection, connection:
        connection.execute("UPDATE queue_pending SET data = 'text' WHERE _id = 2")
        connection.execute("UPDATE queue_pending SET data = x'00' WHERE _id = 3")
    with consuming(directory, reports) as consumer:
        output = read_pass(consumer)
        assert output.numbers == [0, 3]
        consumer.settle(output.settlement())
        found = counts(directory, consumer)
        assert (found.accepted, found.delivered, found.dead_lettered) == (4, 2, 2)
    assert len(list(Path(directory.quarantine).iterdir())) == 2


def test_rows_that_cannot_be_read_are_stepped_over_and_told_and_hold_up_nothing_else(
    directory: QueueDirectory, reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lotus_durable.queue.consumer._CLOCK_KEPT_EVERY", 0.0)
    appender = open_sqlite(directory, reports)
    for number in range(60):
        appender.append(record(number, padding=300), time.monotonic())
    appender.close()
    content = bytearray(Path(directory.queue_db).read_bytes())
    page = next(start for start in range(0, len(content), 4096) if b"id-20" in content[start : start + 4096])
    gone = [int(number) for number in re.findall(rb"id-(\d+)", content[page : page + 4096])]
    content[page : page + 4096] = b"\xa5" * 4096
    Path(directory.queue_db).write_bytes(content)
    with consuming(directory, reports) as consumer:
        assert deliver_all(consumer) == [number for number in range(60) if number not in gone]
        counts(directory, consumer)
        assert consumer.learned("clock"), "the rows are still there, for they cannot be deleted"
    told = f"{len(gone)} rows of queue.db from row {min(gone) + 1} on cannot be read"
    assert [text for text in reports.texts() if "rows of" in text] == [told]


def test_power_durability_syncs_each_put(directory: QueueDirectory, reports: Reports) -> None:
    appender = open_sqlite(directory, reports, power=True)
    append(appender, 0)
    assert appender._table is not None
    assert appender._table.connection.execute("PRAGMA synchronous").fetchone() == (2,)
    appender.close()


def test_a_database_that_cannot_be_opened_is_tried_again_later(directory: QueueDirectory, reports: Reports) -> None:
    def refuse(*_arguments: object, **_options: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    appender = open_sqlite(directory, reports)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EventTable, "__init__", refuse)
        appender.append(record(0), 1000.0)
    appender.append(record(1), 1000.5)
    appender.append(record(2), 1002.0)
    assert rows(directory) == 1
    appender.close()
    with consuming(directory, reports) as consumer:
        assert sorted(deliver_all(consumer)) == [0, 1, 2]


def test_of_a_database_that_a_tool_has_written_anew_and_that_gives_no_room_back_the_rows_are_deleted(
    directory: QueueDirectory, reports: Reports, memory_path: Path
) -> None:
    """As sqlite3's .recover writes it: without auto_vacuum."""
    directory = QueueDirectory(memory_path / "queue")
    directory.prepare()
    appender = open_sqlite(directory, reports)
    for number in range(600):
        appender.append(record(number, padding=9_000), time.monotonic())
    appender.close()
    with contextlib.closing(sqlite3.connect(directory.queue_db, isolation_level=None)) as connection:
        for statement in ("journal_mode=DELETE", "auto_vacuum=NONE"):
            connection.execute(f"PRAGMA {statement}").fetchall()
        connection.execute("VACUUM")
    with consuming(directory, reports) as consumer:
        assert len(deliver(consumer)) == 600
        consumer.retire()
        assert rows(directory) == 0
    with contextlib.closing(sqlite3.connect(directory.queue_db)) as connection:
        assert connection.execute("PRAGMA freelist_count").fetchone()[0] > 1024
