"""A full disk, a damaged event, a deleted database, a directory of the other backend."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from lotus_durable.errors import QueueDamaged, QueueDirectoryError
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.protocol import EventQueue
from tests.queue.events import Reports, assert_conserved, deliver_all, read_pass, record
from tests.queue.faults import small_disk

from .backends import BACKENDS, damage_event, make_queue, refuse_reports, rows
from .conftest import OpenAny


def test_a_small_disk_fills_up_and_is_emptied(tmp_path: Path, backend: str, reports: Reports) -> None:
    with small_disk(tmp_path / "disk", "12m") as disk:
        queue = make_queue(backend, QueueDirectory(disk / "queue"), reports)
        consumer = queue.consumer()
        count = 0
        while queue.buffered() < 50:
            queue.append(record(count, padding=count % 900 * 8))
            count += 1
        assert queue.census().accepted == count - 50 > 100
        assert "takes no writes" in str(reports[0])
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


def test_a_damaged_event_hides_no_other_and_is_a_dead_letter(
    open_any: OpenAny, backend: str, directory: QueueDirectory, reports: Reports
) -> None:
    queue = open_any()
    for number in range(10):
        queue.append(record(number))
    queue.close()
    damage_event(backend, directory, 3)
    output = deliver_all(queue)
    assert output.numbers == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert output.lost == 1
    census = queue.census()
    assert_conserved(census)
    assert (census.accepted, census.delivered, census.dead_lettered) == (10, 9, 1)
    assert "damage" in rows(directory, "dead")[0].reason
    assert [type(error) for error in reports] == [QueueDamaged]
    assert len(list(directory.quarantine.iterdir())) == 1


# What only SQLite has


@contextlib.contextmanager
def by_hand(directory: QueueDirectory) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(directory.store / "events.db")
    try:
        with connection:
            yield connection
    finally:
        connection.close()


@pytest.fixture
def sqlite_queue(directory: QueueDirectory, reports: Reports) -> Iterator[EventQueue]:
    queue = make_queue("sqlite", directory, reports)
    yield queue
    queue.close()


@pytest.mark.parametrize("gone", [[1], [4, 5, 6], [9, 10], list(range(1, 11))], ids=str)
def test_rows_that_are_gone_are_counted_as_dead_letters(
    sqlite_queue: EventQueue, directory: QueueDirectory, reports: Reports, gone: list[int]
) -> None:
    for number in range(1, 11):
        sqlite_queue.append(record(number))
    with by_hand(directory) as connection:
        connection.executemany("DELETE FROM queue_pending WHERE _id = ?", ((number,) for number in gone))
    output = deliver_all(sqlite_queue)
    assert output.numbers == [number for number in range(1, 11) if number not in gone]
    assert output.lost == len(gone)
    assert "nothing is left of them" in str(reports[0])
    census = sqlite_queue.census()
    assert_conserved(census)
    assert (census.accepted, census.dead_lettered) == (10, len(gone))


def test_a_leader_that_starts_on_a_full_disk_uses_the_space_that_was_kept_for_it(
    tmp_path: Path, reports: Reports
) -> None:
    with small_disk(tmp_path / "disk", "12m") as disk:
        queue = make_queue("sqlite", QueueDirectory(disk / "queue"), reports)
        queue.consumer().close()
        for number in range(500):
            queue.append(record(number, padding=1000))
        queue.close()
        with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as filler:
            while True:
                filler.write(bytes(4096))
        queue.append(record(500))
        assert queue.buffered() == 1
        consumer = queue.consumer()
        output = read_pass(consumer)
        assert output.numbers[:500] == list(range(500))
        consumer.settle(output.settlement())
        assert queue.write_back() == 0
        consumer.close()
        assert_conserved(queue.census())
        queue.close()


def spoil_page(path: Path, text: bytes) -> None:
    """Overwrite the page that holds ``text``."""
    data = path.read_bytes()
    start = data.index(text) // 4096 * 4096
    path.write_bytes(data[:start] + b"\xff" * 4096 + data[start + 4096 :])


def test_a_page_that_cannot_be_read_costs_the_events_in_it_and_no_other(
    sqlite_queue: EventQueue, directory: QueueDirectory, reports: Reports
) -> None:
    for number in range(1000):
        sqlite_queue.append(record(number, padding=100))
    sqlite_queue.close()
    spoil_page(directory.store / "events.db", b"id-500")
    consumer = sqlite_queue.consumer()
    output = read_pass(consumer)
    consumer.settle(output.settlement())
    consumer.close()
    assert 5 < output.lost < 40
    lost = set(range(1000)) - set(output.numbers)
    assert 500 in lost
    assert len(lost) == output.lost == max(lost) - min(lost) + 1
    assert any("nothing is left of them" in text for text in reports.texts())
    sqlite_queue.append(record(1000))
    assert deliver_all(sqlite_queue).numbers == [1000]
    census = sqlite_queue.census()
    assert_conserved(census)
    assert (census.accepted, census.pending, census.dead_lettered) == (1001, 0, output.lost)


def test_where_too_much_cannot_be_read_nothing_is_given_up(
    sqlite_queue: EventQueue, directory: QueueDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lotus_durable.queue.sqlite.consumer._MOST_UNREADABLE", 3)
    for number in range(1000):
        sqlite_queue.append(record(number, padding=100))
    sqlite_queue.close()
    spoil_page(directory.store / "events.db", b"id-500")
    consumer = sqlite_queue.consumer()
    with pytest.raises(QueueDamaged, match=r"\.recover"):
        read_pass(consumer)
    assert sqlite_queue.census().pending == 1000


def test_a_file_that_is_no_database_is_left_alone_and_new_events_wait_in_memory(
    sqlite_queue: EventQueue, directory: QueueDirectory, reports: Reports
) -> None:
    sqlite_queue.append(record(0))
    sqlite_queue.close()
    path = directory.store / "events.db"
    whole = path.read_bytes()
    path.write_bytes(b"no database" * 1000)
    for question in (sqlite_queue.census, sqlite_queue.consumer):
        with pytest.raises(QueueDamaged, match=r"nothing was changed.*\.recover"):
            question()
    sqlite_queue.append(record(1))
    assert sqlite_queue.buffered() == 1
    assert "takes no writes" in str(reports[0])
    path.write_bytes(whole)  # it was repaired
    assert sqlite_queue.write_back() == 0
    assert deliver_all(sqlite_queue).numbers == [0, 1]


def test_a_database_that_is_deleted_while_in_use_is_noticed_at_the_next_append(
    sqlite_queue: EventQueue, directory: QueueDirectory, reports: Reports
) -> None:
    sqlite_queue.append(record(0))
    for path in directory.store.iterdir():
        path.unlink()
    sqlite_queue.append(record(1))
    assert "deleted or replaced" in str(reports[0])
    assert deliver_all(sqlite_queue).numbers == [1]
    assert_conserved(sqlite_queue.census())


def test_a_database_of_a_newer_version_is_left_alone(sqlite_queue: EventQueue, directory: QueueDirectory) -> None:
    sqlite_queue.append(record(0))
    sqlite_queue.close()
    with by_hand(directory) as connection:
        connection.execute("UPDATE counters SET value = 2 WHERE name = 'version'")
    with pytest.raises(QueueDamaged, match="newer version"):
        sqlite_queue.census()
    with pytest.raises(QueueDamaged, match="newer version"):
        sqlite_queue.consumer()


# Whose directory it is


@pytest.fixture(params=[BACKENDS, BACKENDS[::-1]], ids=" then ".join)
def two(request: pytest.FixtureRequest) -> tuple[str, str]:
    first, second = request.param
    return first, second


def test_a_directory_with_the_other_backends_events_is_refused_naming_both(
    directory: QueueDirectory, two: tuple[str, str]
) -> None:
    first, second = (make_queue(each, directory, refuse_reports) for each in two)
    first.prepare()
    first.append(record(0))
    first.close()
    for use in (second.prepare, second.consumer):
        with pytest.raises(QueueDirectoryError) as caught:
            use()
        assert all(word in str(caught.value) for word in (*map(repr, two), "lotus-durable migrate", "LOTUS_BACKEND"))
    assert deliver_all(first).numbers == [0]
    first.close()


def test_an_append_to_a_directory_of_the_other_backend_is_refused_and_leaves_nothing(
    directory: QueueDirectory, two: tuple[str, str]
) -> None:
    first, second = (make_queue(each, directory, refuse_reports) for each in two)
    first.prepare()
    with pytest.raises(QueueDirectoryError, match="lotus-durable migrate"):
        second.append(record(0))
    assert second.buffered() == 0
    assert first.census().accepted == 0
    assert directory.segments() == []
    first.close()


def test_a_journal_from_before_there_was_a_choice_is_the_journals(directory: QueueDirectory) -> None:
    queue = make_queue("journal", directory, refuse_reports)
    queue.append(record(0))
    queue.close()
    assert not directory.backend.exists()
    with pytest.raises(QueueDirectoryError, match="holds the events of backend 'journal'"):
        make_queue("sqlite", directory, refuse_reports).prepare()
    assert deliver_all(queue).numbers == [0]
    assert directory.backend.read_text() == "journal\n"
    queue.close()


def test_of_two_backends_that_come_to_an_empty_directory_the_second_is_refused(
    directory: QueueDirectory, two: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from lotus_durable.queue import backend as marker

    first, second = (make_queue(each, directory, refuse_reports) for each in two)
    create = marker._create

    def overtaken(*arguments: object) -> None:
        monkeypatch.setattr(marker, "_create", create)
        first.prepare()
        create(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(marker, "_create", overtaken)
    with pytest.raises(QueueDirectoryError, match=two[0]):
        second.prepare()
    assert [path.name for path in directory.root.iterdir() if path.name.endswith(".tmp")] == []
