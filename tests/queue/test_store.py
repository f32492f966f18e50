"""Parked events and dead letters in SQLite."""

from __future__ import annotations

import contextlib
import errno
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest

from lotus_durable.queue.books import Store, StoreDamaged, StoredEvent
from lotus_durable.queue.directory import QueueDirectory

from .events import record, stored
from .faults import refusing
from .waiting import wait_until


@pytest.fixture
def store(directory: QueueDirectory) -> Iterator[Store]:
    store = Store(directory.store)
    yield store
    assert not store.is_open


def test_nothing_is_created_by_looking(store: Store, directory: QueueDirectory) -> None:
    assert store.page("parked", 0, 100, 10) == []
    assert (store.count("dead", 100), store.last_row("dead"), store.delete_above("dead", 0)) == (0, 0, 0)
    store.delete("parked", [1, 2])
    assert list(directory.store.iterdir()) == []
    assert not store.exists()


def test_events_come_back_with_all_that_was_said_about_them(store: Store) -> None:
    events = [StoredEvent(record(0), "Grund: ü", 3, 1.5, 2.5), StoredEvent(b"", "", 0, 0.0, 0.0)]
    assert store.insert("parked", events) == 2
    page = store.page("parked", 0, 2, 10)
    assert [event.id for event in page] == [1, 2]
    assert [event.encode() for event in page] == [event.encode() for event in events]


def test_the_two_tables_know_nothing_of_each_other(store: Store) -> None:
    store.insert("parked", [stored(record(0))])
    assert store.insert("dead", [stored(record(1)), stored(record(2))]) == 2
    assert (store.count("parked", 100), store.count("dead", 100)) == (1, 2)
    store.delete_above("dead", 0)
    assert (store.count("parked", 100), store.count("dead", 100)) == (1, 0)


def test_pages_are_in_order_and_end_at_the_high_water_mark(store: Store) -> None:
    last = store.insert("parked", [stored(record(number)) for number in range(10)])
    assert [event.id for event in store.page("parked", 0, last - 1, 4)] == [1, 2, 3, 4]
    assert [event.id for event in store.page("parked", 4, last - 1, 100)] == [5, 6, 7, 8, 9]
    assert store.page("parked", 9, last - 1, 100) == []


def test_rows_are_deleted_by_id_however_often(store: Store) -> None:
    store.insert("parked", [stored(record(number)) for number in range(5)])
    for _ in range(2):
        store.delete("parked", [2, 4, 77])
        assert [event.id for event in store.page("parked", 0, 100, 100)] == [1, 3, 5]


def test_rows_above_a_mark_are_deleted_and_their_ids_never_used_again(store: Store) -> None:
    assert store.insert("dead", [stored(record(number)) for number in range(5)]) == 5
    assert store.delete_above("dead", 2) == 3
    assert store.delete_above("dead", 2) == 0
    assert store.last_row("dead") == 2
    assert store.insert("dead", [stored(record(9))]) == 6


def test_a_count_leaves_out_rows_that_are_being_removed(store: Store) -> None:
    store.insert("dead", [stored(record(number)) for number in range(5)])
    assert store.count("dead", 4) == 4
    assert store.count("dead", 4, excluded=(1, 2, 5, 99)) == 2


def test_rows_are_no_pickles(store: Store, directory: QueueDirectory) -> None:
    event = stored(record(0))
    store.insert("dead", [event])
    with sqlite3.connect(directory.store / "events.db") as connection:
        [(data,)] = connection.execute("SELECT data FROM queue_dead").fetchall()
    connection.close()
    assert msgpack.unpackb(data) == [event.record, event.reason, event.attempts, event.since, event.tried]


@pytest.mark.parametrize("data", [b"", b"\xc1", msgpack.packb([1, 2]), msgpack.packb(None), msgpack.packb([1] * 5)])
def test_a_damaged_row_is_an_event_without_record_and_hides_no_other(
    store: Store, directory: QueueDirectory, data: bytes
) -> None:
    store.insert("parked", [stored(record(number)) for number in range(3)])
    connection = sqlite3.connect(directory.store / "events.db")
    with connection:
        connection.execute("UPDATE queue_parked SET data = ? WHERE _id = 2", (data,))
    connection.close()
    events = store.page("parked", 0, 3, 10)
    assert [event.record for event in events] == [record(0), b"", record(2)]
    assert "row 2 of the store is damaged" in events[1].reason
    assert events[1].id == 2


def test_no_connection_outlives_a_call(store: Store, directory: QueueDirectory) -> None:
    store.insert("dead", [stored(record(0))])
    # SQLite removes these when the last connection closes.
    assert [path.name for path in directory.store.iterdir()] == ["events.db"]


def test_an_insert_is_synced_before_it_returns(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    import persistqueue

    levels: list[int] = []
    close = persistqueue.SQLiteQueue.close

    def look(queue: Any) -> None:
        with contextlib.suppress(sqlite3.ProgrammingError):  # closed a second time, by its finalizer
            levels.append(queue._conn.execute("PRAGMA synchronous").fetchone()[0])
        close(queue)

    monkeypatch.setattr(persistqueue.SQLiteQueue, "close", look)
    store.insert("dead", [stored(record(0))])
    assert levels == [2]  # FULL


def test_a_failed_insert_adds_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.insert("dead", [stored(record(0))])

    def refuse(_event: StoredEvent) -> bytes:
        raise OSError(errno.EIO, "injected")

    def events() -> Iterator[StoredEvent]:
        yield stored(record(1))
        monkeypatch.setattr(StoredEvent, "encode", refuse)
        yield stored(record(2))

    with pytest.raises(OSError, match="injected"):
        store.insert("dead", list(events()))
    assert store.count("dead", 100) == 1


def test_errors_of_sqlite_come_out_as_the_disks(store: Store, directory: QueueDirectory) -> None:
    store.insert("dead", [stored(record(0))])
    (directory.store / "events.db").unlink()
    (directory.store / "events.db").mkdir()
    with pytest.raises(OSError, match="unable to open") as raised:
        store.insert("dead", [stored(record(1))])
    assert not isinstance(raised.value, StoreDamaged)


def test_a_locked_database_is_waited_for_and_then_the_disks_refusal(
    store: Store, directory: QueueDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lotus_durable.queue.books.LOCK_TIMEOUT", 0.01)
    store.insert("dead", [stored(record(0))])
    other = sqlite3.connect(directory.store / "events.db")
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(OSError, match="locked"):
        store.insert("dead", [stored(record(1))])
    other.close()
    assert store.insert("dead", [stored(record(1))]) == 2


def test_a_constructor_that_collides_is_tried_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    import persistqueue

    monkeypatch.setattr("lotus_durable.queue.books.OPEN_PAUSE", 0.0)
    real = persistqueue.SQLiteQueue
    failures: list[Exception] = [FileExistsError("collided"), sqlite3.OperationalError("database is locked")]

    def collide(*arguments: Any, **options: Any) -> Any:
        if failures:
            raise failures.pop()
        return real(*arguments, **options)

    monkeypatch.setattr(persistqueue, "SQLiteQueue", collide)
    assert store.insert("dead", [stored(record(0))]) == 1
    assert failures == []


@pytest.mark.parametrize("data", [b"no database" * 100, b"\0" * 8192])
def test_a_damaged_database_is_told_from_a_disk_that_refuses(
    store: Store, directory: QueueDirectory, data: bytes
) -> None:
    store.insert("dead", [stored(record(number)) for number in range(200)])
    (directory.store / "events.db").write_bytes(data)
    with pytest.raises(StoreDamaged):
        store.insert("dead", [stored(record(0))])
    aside = store.set_aside()
    assert aside.read_bytes() == data
    assert store.insert("dead", [stored(record(0))]) == 1


def test_an_open_connection_shows_and_is_waited_for(directory: QueueDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(directory.store)
    inside, go_on = threading.Event(), threading.Event()
    encode = StoredEvent.encode

    def slow(event: StoredEvent) -> bytes:
        inside.set()
        assert go_on.wait(10)
        return encode(event)

    monkeypatch.setattr(StoredEvent, "encode", slow)
    thread = threading.Thread(target=store.insert, args=("dead", [stored(record(0))]))
    thread.start()
    assert inside.wait(10)
    assert store.is_open
    assert not store.in_use.acquire(blocking=False)
    go_on.set()
    thread.join(10)
    wait_until(lambda: not store.is_open)
    with store.in_use:
        assert store.count("dead", 10) == 1


def test_the_file_cannot_be_created(directory: QueueDirectory, store: Store) -> None:
    with refusing("open", errno.EROFS, where="events.db"), pytest.raises(OSError, match="Read-only"):
        store.insert("dead", [stored(record(0))])
    assert Path(directory.store / "events.db").exists() is False
