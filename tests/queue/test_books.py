"""The books themselves: pages, segments retired lately, and what stays on the disk."""

from __future__ import annotations

import contextlib
import errno
import pickletools
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lotus_durable.disk import DatabaseDamaged
from lotus_durable.queue import books as books_module
from lotus_durable.queue.books import Books
from lotus_durable.queue.database import BooksDatabase
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.protocol import Cursor, Settlement
from tests.pages import read_page

from .consuming import stored
from .faults import refusing
from .segments import EPOCH, Reports, record

SEGMENT = b"a segment's id.."


@pytest.fixture
def path(memory_path: Path) -> Path:
    return memory_path / "books.db"


def opened(path: Path) -> Books:
    return Books(QueueDirectory(path.parent), Reports())


def test_events_come_back_with_all_that_was_said_about_them(path: Path) -> None:
    books = opened(path)
    event = stored(record(1), reason="ü" * 100, attempts=7)
    books.settle(Settlement(accepted=1, parked=[event]))
    [found] = books.page("parked", 0, 10)
    assert (found.record, found.reason, found.attempts) == (event.record, event.reason, 7)
    assert (found.since, found.tried, found.id) == (EPOCH, EPOCH, 1)
    books.close()


def test_the_two_tables_know_nothing_of_each_other_and_ids_are_never_used_again(path: Path) -> None:
    books = opened(path)
    books.settle(Settlement(parked=[stored(record(number)) for number in range(3)], dead=[stored(record(9))]))
    books.settle(Settlement(resolved=books.page("parked", 0, 10)))
    books.settle(Settlement(parked=[stored(record(4))]))
    assert [event.id for event in books.page("parked", 0, 10)] == [4]
    assert [event.id for event in books.page("dead", 0, 10)] == [1]
    books.close()


def test_any_process_can_read_a_page_while_the_books_are_open_and_when_they_are_not(path: Path) -> None:
    assert read_page(str(path), "dead", 0, 10) == []
    assert not path.exists()
    books = opened(path)
    books.settle(Settlement(dead=[stored(record(number)) for number in range(5)]))
    assert [event.id for event in read_page(str(path), "dead", 1, 3)] == [2, 3, 4]
    books.close()
    assert [event.id for event in read_page(str(path), "dead", 4, 3)] == [5]


def test_rows_are_no_pickles(path: Path) -> None:
    books = opened(path)
    books.settle(Settlement(parked=[stored(record(1))]))
    books.close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        [data] = connection.execute("SELECT data FROM queue_parked").fetchone()
    with pytest.raises(ValueError, match=r"opcode|STOP|pickle|at position|only \d+ remain"):
        list(pickletools.genops(data))


def test_the_files_are_for_their_owner_only(path: Path) -> None:
    books = opened(path)
    books.settle(Settlement(parked=[stored(record(1))]))
    for suffix in ("", "-wal", "-shm"):
        assert stat.S_IMODE(path.with_name(path.name + suffix).stat().st_mode) == 0o600
    books.close()


def test_the_stretched_log_stays_when_the_books_are_closed(path: Path) -> None:
    books = opened(path)
    books.settle(Settlement(parked=[stored(record(1))]))
    log = path.with_name("books.db-wal")
    size = log.stat().st_size
    books.close()
    assert log.stat().st_size == size
    assert read_page(str(path), "parked", 0, 10)
    assert log.stat().st_size == size, "nor does who reads delete it"


def test_the_log_grows_no_further_whatever_is_settled(path: Path) -> None:
    books = opened(path)
    log = path.with_name("books.db-wal")
    size = log.stat().st_size
    for number in range(3_000):
        cursor = Cursor("name", number, number)
        parked = [stored(record(number, padding=900))] if number % 5 == 0 else []
        books.settle(Settlement(cursors={SEGMENT: cursor}, accepted=1, delivered=1, parked=parked))
    assert log.stat().st_size == size
    books.close()


def test_books_without_a_log_are_opened_also_where_refused_events_had_all_of_the_padding(path: Path) -> None:
    """A backup has no log, nor have books that are written back; and nothing may wait for one to grow that cannot."""
    books = opened(path)
    log = path.with_name("books.db-wal")
    size = log.stat().st_size
    books.settle(Settlement(accepted=300, parked=[stored(record(number, padding=3_000)) for number in range(300)]))
    books.settle(Settlement(delivered=300, resolved=books.page("parked", 0, 300)))
    assert books.database.connection.execute("SELECT count(*) FROM padding").fetchone() == (0,)
    books.close()
    log.unlink()
    books = opened(path)
    assert log.stat().st_size >= size * 9 // 10
    books.close()


def test_a_commit_that_is_refused_counts_for_nothing_and_can_be_repeated(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    books = opened(path)
    entry = Settlement(cursors={SEGMENT: Cursor("name", 10, 1)}, accepted=1, parked=[stored(record(1))])

    def refuse(*_arguments: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(Books, "_insert", refuse)
        with pytest.raises(OSError, match="disk I/O error"):
            books.settle(entry)
    assert books.known.counts.accepted == 0
    assert books.known.cursors == {}
    assert books.page("parked", 0, 10) == []
    books.settle(entry)
    assert books.known.counts.accepted == 1
    books.close()


def test_a_database_locked_by_another_is_the_disks_refusal(path: Path) -> None:
    books = opened(path)
    books.database.connection.execute("PRAGMA busy_timeout=1")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(OSError, match="locked") as refused:
            books.settle(Settlement(delivered=1, accepted=1))
        assert refused.value.errno == errno.EAGAIN
    books.settle(Settlement(delivered=1, accepted=1))
    assert books.known.counts.delivered == 1
    books.close()


def test_rows_that_went_ahead_of_a_settlement_that_was_refused_count_once_when_it_is_repeated(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    books = opened(path)
    books.database.connection.execute("PRAGMA busy_timeout=1")
    commit = books.database.commit
    entry = Settlement(accepted=400, parked=[stored(record(number, padding=8_000)) for number in range(400)])
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:

        def commit_and_be_locked_out(work: Callable[[], Any]) -> Any:
            result = commit(work)
            if other.execute("SELECT count(*) FROM queue_parked").fetchone()[0]:
                other.execute("BEGIN IMMEDIATE")
            return result

        with monkeypatch.context() as patch:
            patch.setattr(books.database, "commit", commit_and_be_locked_out)
            with pytest.raises(OSError, match="locked"):
                books.settle(entry)
    books.settle(entry)
    assert books.known.counts.parked == len(books.page("parked", 0, 1_000)) == 400
    books.close()


def test_books_that_cannot_be_opened_leave_no_descriptor_open(path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    with refusing("open", errno.EMFILE, where="books.db-wal"), pytest.raises(OSError, match="Too many"):
        opened(path)
    path.unlink()
    path.write_bytes(b"no database" * 1000)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    with pytest.raises(DatabaseDamaged):
        BooksDatabase(str(path))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_segments_retired_lately_are_known_and_the_oldest_are_forgotten(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(books_module, "_RETIRED_KEPT", 3)
    books = opened(path)
    for number in range(6):
        segment = bytes([number]) * 16
        books.settle(Settlement(cursors={segment: Cursor("name", 100, number)}, accepted=number, delivered=number))
        books.forget({segment: (100, number)})
    assert books.known.cursors == {}
    assert [segment[0] for segment in books.known.retired] == [3, 4, 5]
    books.close()
    books = opened(path)
    assert [segment[0] for segment in books.known.retired] == [3, 4, 5]
    assert books.known.retired[bytes([5]) * 16] == (100, 5)
    books.close()


def test_what_goes_ahead_of_a_settlement_is_cut_into_pieces_of_so_many_bytes_with_a_row_at_the_least() -> None:
    rows = [bytes(size) for size in (5, 3, 2, 9, 1)]
    pieces = []
    while rows:
        pieces.append([len(row) for row in books_module._cut_off(rows, 5)])
    assert pieces == [[5], [3, 2], [9], [1]]
