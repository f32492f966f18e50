"""From one backend to the other: nothing lost, nothing doubled, every count the same, killed at whatever step."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lotus_durable.errors import LotusError, QueueDamaged, QueueDirectoryError
from lotus_durable.imports import import_for_sqlite
from lotus_durable.queue.backend import read_backend
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.protocol import Census, Settlement
from lotus_durable.queue.sqlite.migration import QueueInUse, migrate_to_journal, migrate_to_sqlite
from tests.queue.events import (
    assert_conserved,
    deliver_all,
    number_of,
    numbers_of,
    parked_rows,
    read_pass,
    record,
    stored,
)
from tests.queue.faults import dies_at

from .backends import BACKENDS, make_queue, refuse_reports, rows

OTHER = dict(zip(BACKENDS, reversed(BACKENDS), strict=True))
PENDING = 16


def migrate(directory: QueueDirectory, to: str, report: Callable[[LotusError], None] = refuse_reports) -> None:
    if to == "sqlite":
        migrate_to_sqlite(directory, report)
    else:
        migrate_to_journal(directory, report, segment_bytes=2_000)


def fill(backend: str, directory: QueueDirectory) -> Census:
    """Make a queue with something of everything: 20 delivered, 6 parked, 4 dead, and pending in mid-segment."""
    queue = make_queue(backend, directory, refuse_reports)
    queue.prepare()
    for number in range(30 + PENDING // 2):
        queue.append(record(number))
    consumer = queue.consumer()
    chunk = consumer.read(30)
    assert chunk is not None
    records = list(chunk.records)
    assert len(records) == 30
    consumer.settle(
        Settlement(
            {chunk.source: chunk.positions[-1]},
            delivered=20,
            parked=[stored(each) for each in records[:6]],
            dead=[stored(each) for each in records[6:10]],
        )
    )
    consumer.close()
    for number in range(30 + PENDING // 2, 30 + PENDING):
        queue.append(record(number))
    queue.close()
    census = queue.census()
    queue.close()
    return census


def counts(census: Census) -> Census:
    return replace(census, pending_bytes=0)


def check(backend: str, directory: QueueDirectory, before: Census) -> None:
    """Everything is there once, and the queue works."""
    queue = make_queue(backend, directory, refuse_reports)
    assert counts(queue.census()) == counts(before)
    assert sorted(numbers_of(row.record for row in rows(directory, "dead"))) == [6, 7, 8, 9]
    queue.append(record(1000))
    consumer = queue.consumer()
    assert sorted(number_of(row.record) for row in parked_rows(consumer)) == list(range(6))
    consumer.close()
    assert sorted(deliver_all(queue).numbers) == [*range(30, 30 + PENDING), 1000]
    census = queue.census()
    assert_conserved(census)
    assert (census.accepted, census.pending) == (before.accepted + 1, 0)
    queue.close()


def test_a_queue_moves_with_all_its_events_and_counts(backend: str, directory: QueueDirectory) -> None:
    before = fill(backend, directory)
    assert counts(before) == Census(30 + PENDING, 20, PENDING, 6, 4, 0, 0, before.oldest_accepted_at)
    migrate(directory, OTHER[backend])
    assert read_backend(directory) == OTHER[backend]
    with pytest.raises(QueueDirectoryError):
        make_queue(backend, directory, refuse_reports).consumer()
    check(OTHER[backend], directory, before)


def test_a_queue_moves_there_and_back_again_and_again(backend: str, directory: QueueDirectory) -> None:
    before = fill(backend, directory)
    for _ in range(2):
        migrate(directory, OTHER[backend])
        migrate(directory, OTHER[backend])  # to where it is: nothing happens
        migrate(directory, backend)
    check(backend, directory, before)


def test_an_empty_directory_becomes_the_named_backends(backend: str, directory: QueueDirectory) -> None:
    migrate(directory, backend)
    queue = make_queue(backend, directory, refuse_reports)
    queue.append(record(0))
    assert deliver_all(queue).numbers == [0]
    queue.close()


def test_a_migration_killed_at_any_step_is_finished_by_the_next(
    backend: str, memory_path: Path, tmp_path: Path
) -> None:
    import_for_sqlite()  # once here, and not once in each child
    prepared = QueueDirectory(tmp_path / "prepared")
    before = fill(backend, prepared)
    found: list[str | None] = []
    for step in range(10_000):
        shutil.rmtree(memory_path / "copy", ignore_errors=True)
        shutil.copytree(prepared.root, memory_path / "copy")
        directory = QueueDirectory(memory_path / "copy")
        if not dies_at(step, lambda directory=directory: migrate(directory, OTHER[backend])):  # type: ignore[misc]
            break
        said = read_backend(directory)
        found.append(said)
        if said is None or " to " in said:
            for each in BACKENDS:
                with pytest.raises(QueueDirectoryError, match="being moved"):
                    make_queue(each, directory, refuse_reports).prepare()
        else:
            queue = make_queue(said, directory, refuse_reports)
            assert counts(queue.census()) == counts(before)
            queue.close()
        migrate(directory, OTHER[backend])
        check(OTHER[backend], directory, before)
    # Many steps lie before, within and behind, or this test has not tested anything.
    assert min(found.count(said) for said in (backend, OTHER[backend])) >= 5
    assert len(found) - found.count(backend) - found.count(OTHER[backend]) > 20


def test_a_queue_that_somebody_writes_to_is_not_moved(backend: str, directory: QueueDirectory) -> None:
    before = fill(backend, directory)
    writer = make_queue(backend, directory, refuse_reports)
    writer.append(record(-1))
    with pytest.raises(QueueInUse, match="stop what uses the queue"):
        migrate(directory, OTHER[backend])
    assert read_backend(directory) == backend
    writer.append(record(-2))
    writer.close()
    migrate(directory, OTHER[backend])
    queue = make_queue(OTHER[backend], directory, refuse_reports)
    assert queue.census().accepted == before.accepted + 2
    queue.close()


def test_a_writer_that_comes_in_the_last_moment_is_noticed_and_everything_is_as_it_was(
    backend: str, directory: QueueDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lotus_durable.queue import backend as marker

    fill(backend, directory)
    writer = make_queue(backend, directory, refuse_reports)
    write = marker.write_backend

    def overtaken(where: QueueDirectory, text: str) -> None:
        if " to " in text:
            writer.append(record(-1))
        write(where, text)

    monkeypatch.setattr(marker, "write_backend", overtaken)
    with pytest.raises(QueueInUse):
        migrate(directory, OTHER[backend])
    assert read_backend(directory) == backend
    writer.append(record(-2))
    assert writer.buffered() == 0
    writer.close()


def test_the_other_direction_is_refused_in_the_middle(backend: str, directory: QueueDirectory) -> None:
    fill(backend, directory)
    directory.backend.write_text(f"{backend} to {OTHER[backend]}\n")
    with pytest.raises(QueueDamaged, match="finish that one first"):
        migrate(directory, backend)


def test_rows_that_are_gone_become_dead_letters_of_the_journal(directory: QueueDirectory) -> None:
    fill("sqlite", directory)
    connection = sqlite3.connect(directory.store / "events.db")
    with connection:
        connection.execute("DELETE FROM queue_pending WHERE _id IN (33, 34, 46)")
        connection.execute("UPDATE queue_pending SET data = 'no bytes' WHERE _id = 40")
    connection.close()
    migrate(directory, "journal")
    queue = make_queue("journal", directory, refuse_reports)
    consumer = queue.consumer()
    records = read_pass(consumer).records
    consumer.close()
    assert len(records) == PENDING
    assert records.count(b"") == 4
    assert_conserved(queue.census())


def test_what_waits_in_the_spill_is_moved_too(directory: QueueDirectory) -> None:
    before = fill("sqlite", directory)
    queue = make_queue("sqlite", directory, refuse_reports)
    queue._put_into_spill(record(500))  # type: ignore[attr-defined]
    queue.close()
    migrate(directory, "journal")
    journal = make_queue("journal", directory, refuse_reports)
    assert journal.census().accepted == before.accepted + 1
    assert 500 in deliver_all(journal).numbers
    journal.close()
