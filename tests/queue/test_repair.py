"""Whatever happens to the file of the books: it is told, nothing is lost that can be kept, and the counts add up."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from lotus_durable.disk import DatabaseDamaged
from lotus_durable.errors import QueueDamaged
from lotus_durable.operate.pending import PendingReader
from lotus_durable.queue import books, contents, database, reserve
from lotus_durable.queue.consumer import Consumer
from lotus_durable.queue.contents import INSERT, read_all
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.files import open_to_read
from lotus_durable.queue.heartbeat import Beat, HeartbeatFile, Program, Progress, read_progress
from lotus_durable.queue.protocol import Settlement
from lotus_durable.queue.table import EventTable
from tests.pages import read_page

from .consuming import consuming, counts, deliver, deliver_all, read_pass, stored
from .faults import STRIDE, dies_at, refusing
from .segments import Reports, number_of, record, write_segment

PARTS = ("", "-wal", "-shm")


def part(directory: QueueDirectory, suffix: str) -> Path:
    return Path(directory.books).with_name(Path(directory.books).name + suffix)


def kept_of(directory: QueueDirectory, what: str) -> list[Path]:
    return sorted(
        path
        for path in Path(directory.quarantine).glob(f"books.db.{what}-*")
        if not path.name.endswith(("-wal", "-shm"))
    )


def remove_books(directory: QueueDirectory) -> None:
    for suffix in PARTS:
        part(directory, suffix).unlink()


def replace_books(directory: QueueDirectory) -> None:
    """Put other books in their place, as who restores a backup does."""
    remove_books(directory)
    other = Path(directory.root) / "other.db"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE others (data)")
    connection.close()
    other.rename(directory.books)


def remove_log(directory: QueueDirectory) -> None:
    part(directory, "-wal").unlink()


def remove_what_readers_share(directory: QueueDirectory) -> None:
    part(directory, "-shm").unlink()


@pytest.mark.parametrize("trouble", [remove_books, replace_books, remove_log, remove_what_readers_share])
def test_books_that_are_not_where_they_were_are_written_back_before_anything_is_deleted(
    directory: QueueDirectory, reports: Reports, trouble: Callable[[QueueDirectory], None]
) -> None:
    write_segment(directory, [record(number) for number in range(5)]).seal()
    write_segment(directory, [record(number) for number in range(5, 7)])
    with consuming(directory, reports) as consumer:
        output = read_pass(consumer)
        consumer.settle(output.settlement(parked=output.records[:2], ids=["a"]))
        trouble(directory)
        consumer.retire()
        assert len(directory.segments()) == 1, "the writer of the other one lives"
        found = counts(directory, consumer)
        assert (found.delivered, found.parked) == (5, 2)
        assert [number_of(event.record) for event in read_page(directory.books, "parked", 0, 9)] == [0, 1]
        consumer.settle(Settlement(delivered=2, resolved=consumer.page("parked", 0, 9)))
    with consuming(directory, reports) as consumer:
        found = counts(directory, consumer)
        assert (found.accepted, found.delivered, found.parked) == (7, 7, 0)
        assert consumer.was_delivered(["a"]) == {"a"}
        assert not consumer.is_new
    [told] = [text for text in reports.texts() if "written back" in text]
    kept = kept_of(directory, "replaced")
    assert len(kept) == (trouble is not remove_books)
    assert told.endswith(f"; what lay there is kept as {kept[0]}" if kept else "removed or replaced while in use")


def test_books_and_ids_are_not_written_back_into_another_queue_that_lies_where_theirs_did(
    directory: QueueDirectory, reports: Reports, tmp_path: Path
) -> None:
    """A link that is flipped, say: the other queue has parked events of its own."""
    other = QueueDirectory(tmp_path / "other")
    other.prepare()
    write_segment(other, [record(number) for number in range(3)]).seal()
    with consuming(other, reports) as consumer:
        output = read_pass(consumer)
        consumer.settle(output.settlement(parked=output.records))
    write_segment(directory, [record(7)]).seal()
    with consuming(directory, reports) as consumer:
        consumer.settle(read_pass(consumer).settlement(ids=["a"]))
        Path(directory.root).rename(tmp_path / "moved")
        Path(other.root).rename(directory.root)
        before = {path: path.read_bytes() for path in Path(directory.root).rglob("*") if path.is_file()}
        for _ in range(2):
            consumer.retire()
            with pytest.raises(FileNotFoundError, match="moved or replaced"):
                consumer.keep_books()
        assert {path: path.read_bytes() for path in Path(directory.root).rglob("*") if path.is_file()} == before
    assert [number_of(event.record) for event in read_page(directory.books, "parked", 0, 9)] == [0, 1, 2]
    assert not reports


def test_the_count_of_another_queue_is_not_taken_for_that_of_the_books_that_were_just_opened(
    directory: QueueDirectory, reports: Reports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_parked_and_dead(directory, reports)
    with consuming(directory, reports) as consumer, contextlib.closing(HeartbeatFile(directory)) as heartbeat:
        heartbeat.write(None, consumer.progress())
    told = len(reports)
    Path(directory.root).rename(tmp_path / "away")
    directory.prepare()  # somebody tracks meanwhile

    def moved_back(of: QueueDirectory) -> Progress:
        Path(directory.root).rename(tmp_path / "aside")
        (tmp_path / "away").rename(directory.root)
        return read_progress(of)

    monkeypatch.setattr(books, "read_progress", moved_back)
    with pytest.raises(FileNotFoundError, match="moved or replaced"):
        Consumer(directory, reports)
    assert len(reports) == told


def test_books_whose_second_table_went_elsewhere_because_the_directory_was_moved_are_made_again(
    directory: QueueDirectory, reports: Reports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def moved_for_a_moment(path: str, table: str) -> EventTable:
        if table == "dead":
            (tmp_path / "elsewhere").mkdir(exist_ok=True)
            path = str(tmp_path / "elsewhere" / "books.db")
        return EventTable(path, table)

    with monkeypatch.context() as patch:
        patch.setattr(database, "EventTable", moved_for_a_moment)
        with pytest.raises(OSError, match="no such table: queue_dead"):
            Consumer(directory, reports)
    write_segment(directory, [record(1)]).seal()
    with consuming(directory, reports) as consumer:
        output = read_pass(consumer)
        consumer.settle(output.settlement(dead=output.records))
    assert [number_of(event.record) for event in read_page(directory.books, "dead", 0, 9)] == [1]


@pytest.mark.parametrize("trouble", [remove_books, replace_books, remove_log])
def test_books_that_are_removed_in_the_moment_in_which_they_are_opened_are_written_back(
    directory: QueueDirectory,
    reports: Reports,
    trouble: Callable[[QueueDirectory], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_segment(directory, [record(number) for number in range(5)]).seal()
    with consuming(directory, reports) as consumer:
        output = read_pass(consumer)
        consumer.settle(output.settlement(parked=output.records[:2]))

    def opened_too_late(path: str) -> int:
        trouble(directory)
        return open_to_read(path)

    with monkeypatch.context() as patch:
        patch.setattr(database, "open_to_read", opened_too_late)
        consumer = Consumer(directory, reports)
    consumer.retire()
    consumer.close()
    assert [number_of(event.record) for event in read_page(directory.books, "parked", 0, 9)] == [0, 1]
    [told] = reports
    assert "were written back: they were removed or replaced while in use" in str(told)


def overwrite_books(directory: QueueDirectory) -> None:
    part(directory, "-wal").unlink()
    Path(directory.books).write_bytes(b"no database" * 1000)


@pytest.mark.parametrize("trouble", [remove_books, overwrite_books])
def test_what_was_in_books_of_which_nothing_is_left_is_told(
    directory: QueueDirectory, reports: Reports, trouble: Callable[[QueueDirectory], None]
) -> None:
    with_parked_and_dead(directory, reports)
    with consuming(directory, reports) as consumer:
        said = consumer.progress()
        program = Program("0.1.0", "", b"", b"", b"", 0.0)
        heartbeat = HeartbeatFile(directory)
        heartbeat.write(Beat(1, 0, 0, 0, "", "", "auto", program, 1, 0.0, "idle"), said)
        heartbeat.close()
    trouble(directory)
    with consuming(directory, reports) as consumer:
        assert consumer.is_new
        assert consumer.may_repeat
    [told] = [text for text in reports.texts() if "are gone" in text]
    assert f"parked events: {said.counts.parked}, dead letters: {said.counts.dead_lettered};" in told


def test_nothing_is_deleted_while_books_cannot_be_written_back(directory: QueueDirectory, reports: Reports) -> None:
    write_segment(directory, [record(0)]).seal()
    with consuming(directory, reports) as consumer:
        deliver_without_retiring(consumer)
        remove_books(directory)
        with refusing("open", errno.ENOSPC, where="books.db.new"):
            consumer.retire()
        assert len(directory.segments()) == 1
        consumer.retire()
        assert directory.segments() == []
    with consuming(directory, reports) as consumer:
        assert counts(directory, consumer).delivered == 1


@pytest.mark.parametrize("part", ["", "-wal", ".new"])
def test_books_that_were_written_back_keep_all_where_a_renaming_is_refused(
    directory: QueueDirectory, reports: Reports, part: str
) -> None:
    with_parked_and_dead(directory, reports)
    with consuming(directory, reports) as consumer:
        replace_books(directory)
        Path(f"{directory.books}-wal").touch()
        with refusing("rename", errno.EIO, where=lambda path: path == f"{directory.books}{part}", times=1) as refusal:
            consumer.retire()
        assert refusal.count == 1
        assert len(consumer.page("parked", 0, 100)) == 40
        consumer.retire()
    with consuming(directory, reports) as consumer:
        assert len(consumer.page("parked", 0, 100)) == counts(directory, consumer).parked == 40


def test_a_flusher_goes_on_when_books_that_were_written_back_cannot_be_opened_at_once(
    directory: QueueDirectory, reports: Reports
) -> None:
    write_segment(directory, [record(0), record(1)]).seal()
    with consuming(directory, reports) as consumer:
        deliver_without_retiring(consumer)
        remove_books(directory)
        with refusing("open", errno.EMFILE, where="/books.db", times=3) as refusal:
            consumer.retire()
            while refusal._left:
                consumer.retire()
        consumer.retire()
        assert directory.segments() == []
        assert counts(directory, consumer).delivered == 2


_NUMBERS = ("accepted", "delivered", "parked", "parked_high", "dead_high")
_STRANGE = [
    *(f"UPDATE settled SET {name} = {{}} WHERE segment = x''" for name in _NUMBERS),
    *(f"UPDATE settled SET {name} = {{}} WHERE segment > x''" for name in ("name", "offset", "sequence")),
    *(f"UPDATE retired SET {name} = {{}}" for name in ("segment", "offset", "sequence")),
    "UPDATE carried SET stop = {}",
    "UPDATE learned SET value = {}",
    "DELETE FROM settled WHERE segment = x'' AND {} IS NOT 0",
]


@pytest.mark.parametrize("statement", _STRANGE)
@pytest.mark.parametrize("value", ["NULL", "'text'", "-3", "9223372036854775807"])
def test_a_value_in_the_books_that_nobody_has_written_keeps_no_event_from_being_delivered(
    directory: QueueDirectory, reports: Reports, statement: str, value: str
) -> None:
    """SQLite has no checksums: a flipped bit on the disk can make a number nothing, or a text."""
    with_parked_and_dead(directory, reports)
    with consuming(directory, reports) as consumer:
        consumer.settle(Settlement(carried=[(b"a" * 16, 5, 9)]))
        consumer.books.forget({b"b" * 16: (100, 1)})
    connection = sqlite3.connect(directory.books)
    connection.execute(statement.format(value))
    connection.commit()
    connection.close()
    assert [found.record for found in PendingReader(directory, reports)][-2:] == [record(102), record(103)]
    write_segment(directory, [record(200)]).seal()
    with consuming(directory, reports) as consumer:
        assert {102, 103, 200} <= {*deliver_all(consumer)}
        assert len(consumer.page("parked", 0, 100)) == counts(directory, consumer).parked == 40
    with consuming(directory, reports) as consumer:
        assert deliver_all(consumer) == []


@pytest.mark.parametrize("again", ["removed", "replaced by older ones"])
def test_books_that_are_removed_once_more_before_they_can_be_opened_again_have_all_but_the_rows_that_went_with_them(
    directory: QueueDirectory, reports: Reports, again: str
) -> None:
    with consuming(directory, reports):
        pass
    older = Path(directory.books).read_bytes()
    with_parked_and_dead(directory, reports)
    with consuming(directory, reports) as consumer:
        before = counts(directory, consumer)
        remove_books(directory)
        with refusing("open", errno.EMFILE, where=lambda path: path == directory.books) as refusal:
            consumer.retire()
            assert refusal.count
            for path in Path(directory.root).glob("books.db*"):
                path.unlink()
            if again != "removed":
                Path(directory.books).write_bytes(older)
        consumer.retire()
        after = counts(directory, consumer)._replace(oldest_age=None)
        assert (after.accepted, after.parked) == (before.accepted, 0)
        assert after.dead_lettered == before.parked + before.dead_lettered
        assert f"could not be read from them: {after.dead_lettered}" in reports.texts()[-1]
    with consuming(directory, reports) as consumer:
        assert counts(directory, consumer)._replace(oldest_age=None) == after


def deliver_without_retiring(consumer: Consumer) -> None:
    assert deliver(consumer)
    assert deliver(consumer) == []


def test_a_kill_at_any_step_of_writing_back_leaves_the_books_or_nothing_deleted(
    memory_path: Path, reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reserve, "_LOG", 64)
    monkeypatch.setattr(reserve, "_FREE", 64)
    step = 0
    died = True
    while died:
        directory = QueueDirectory(memory_path / f"queue-{step}")
        directory.prepare()
        write_segment(directory, [record(number) for number in range(3)]).seal()

        def lose_books(directory: QueueDirectory = directory) -> None:
            consumer = Consumer(directory, reports)
            deliver_without_retiring(consumer)
            remove_books(directory)
            consumer.retire()

        died = dies_at(step, lose_books)
        with consuming(directory, reports) as consumer:
            deliver_all(consumer)
            found = counts(directory, consumer)
            assert (found.accepted, found.delivered) == (3, 3)
        assert not list(Path(directory.root).glob("books.db.new*"))
        shutil.rmtree(directory.root)
        step += STRIDE


def test_a_kill_at_any_step_of_writing_back_over_a_copy_leaves_what_was_finished(
    memory_path: Path, reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy is older, as one that was made without the log is: what it lacks is in the finished books alone."""
    monkeypatch.setattr(reserve, "_LOG", 64)
    monkeypatch.setattr(reserve, "_FREE", 64)
    step = finished = 0
    died = True
    while died:
        directory = QueueDirectory(memory_path / f"queue-{step}")
        directory.prepare()
        write_segment(directory, [record(number) for number in range(3)]).seal()
        with consuming(directory, reports) as consumer:
            copy = Path(shutil.copy(directory.books, Path(directory.root, "copy")))
            output = read_pass(consumer)
            consumer.settle(output.settlement(parked=output.records))
            consumer.retire()
        assert directory.segments() == []

        def replace_by_the_copy(directory: QueueDirectory = directory, copy: Path = copy) -> None:
            consumer = Consumer(directory, reports)
            copy.rename(directory.books)
            consumer.keep_books()

        died = dies_at(step, replace_by_the_copy)
        is_finished = part(directory, ".new").exists()
        finished += is_finished
        reports.clear()
        with consuming(directory, reports) as consumer:
            deliver_all(consumer)
            found = counts(directory, consumer)
        if is_finished:
            assert (found.accepted, found.parked) == (3, 3), f"at step {step}"
            assert len(kept_of(directory, "replaced")) == 1
            assert "were written back: a kill came" in reports.texts()[0]
        assert not list(Path(directory.root).glob("books.db.new*"))
        shutil.rmtree(directory.root)
        step += 1
    assert finished >= 3


# Damage


def scribble(path: str, offset: int, size: int = 4096) -> None:
    """Overwrite a part of a file; in another process, because this one may have it open, and SQLite's locks on it."""
    code = f"import os; d = os.open({path!r}, os.O_WRONLY); os.pwrite(d, b'\\xa5' * {size}, {offset})"
    subprocess.run([sys.executable, "-c", code], check=True)


def with_parked_and_dead(directory: QueueDirectory, reports: Reports, parked: int = 40) -> None:
    """Settle: 10 delivered, some parked, 5 dead letters; one segment lies there half settled."""
    write_segment(directory, [record(number, padding=500) for number in range(15 + parked)]).seal()
    with consuming(directory, reports) as consumer:
        output = read_pass(consumer)
        consumer.settle(output.settlement(parked=output.records[:parked], dead=output.records[parked : parked + 5]))
        consumer.retire()
        write_segment(directory, [record(number) for number in range(100, 104)]).seal()
        chunk = consumer.read(2)
        assert chunk is not None
        consumer.learn("host", "https://one")
        consumer.settle(Settlement({chunk.source: chunk.positions[-1]}, delivered=2, delivered_ids=["a"]))


def test_books_that_are_no_database_any_more_are_kept_of_and_new_ones_begun(
    directory: QueueDirectory, reports: Reports
) -> None:
    with_parked_and_dead(directory, reports)
    for suffix in PARTS[1:]:
        part(directory, suffix).unlink()
    Path(directory.books).write_bytes(b"no database" * 1000)
    with consuming(directory, reports) as consumer:
        assert consumer.is_new
        assert deliver_all(consumer) == [100, 101, 102, 103], "what lies in segments is delivered"
        found = counts(directory, consumer)
        assert (found.accepted, found.delivered, found.parked) == (4, 4, 0)
    [kept] = kept_of(directory, "damaged")
    assert kept.read_bytes().startswith(b"no database")
    assert sum(str(kept) in text for text in reports.texts()) == 1


def test_what_can_be_read_of_damaged_books_is_taken_over_and_the_rest_is_dead_letters(
    directory: QueueDirectory, reports: Reports
) -> None:
    with_parked_and_dead(directory, reports)
    gone = damage_a_page_of_parked_events(directory)
    with consuming(directory, reports) as consumer:
        parked = consumer.page("parked", 0, 100)  # meets the damage
        found = counts(directory, consumer)
        assert (found.accepted, found.delivered, found.pending) == (59, 12, 2)
        assert found.parked == 40 - len(gone)
        assert len(consumer.page("parked", 0, 100)) == found.parked
        assert found.dead_lettered == 5 + 40 - found.parked
        assert {number_of(event.record) for event in parked} == set(range(40)) - gone
        assert consumer.was_delivered(["a"]) == {"a"}
        assert consumer.learned("host") == "https://one"
        assert deliver_all(consumer) == [102, 103], "the cursor is known"
    with consuming(directory, reports) as consumer:
        found = counts(directory, consumer)
        assert (found.accepted, found.delivered, found.pending) == (59, 14, 0)
        assert len(read_page(directory.books, "dead", 0, 100)) == found.dead_lettered
    [kept] = kept_of(directory, "damaged")
    assert sum(str(kept) in text for text in reports.texts()) == 1


@pytest.mark.parametrize("way", ["by a flusher", "by a command"])
def test_rows_that_come_out_of_order_are_not_read_again_and_again(
    directory: QueueDirectory, reports: Reports, way: str
) -> None:
    with_parked_and_dead(directory, reports)
    with contextlib.closing(sqlite3.connect(directory.books)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        [[root]] = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'queue_dead'").fetchall()
    content = bytearray(Path(directory.books).read_bytes())
    begins = (
        root - 1
    ) * 4096 + 8  # where its page says where its rows are, in two bytes each; the first two come again
    content[begins + 6 : begins + 10] = content[begins : begins + 4]
    Path(directory.books).write_bytes(content)
    reports.clear()
    if way == "by a command":
        assert len([*read_all(directory.books, "dead", reports)]) <= 5
        assert "rows come out of order" in reports.texts()[0]
        return
    with consuming(directory, reports) as consumer:
        assert len(consumer.page("dead", 0, 100)) == counts(directory, consumer).dead_lettered >= 5
        assert len(consumer.page("parked", 0, 100)) == counts(directory, consumer).parked == 40
    assert "rows come out of order" in reports.texts()[0]


def test_rows_of_a_settlement_that_was_never_committed_are_not_taken_over_from_damaged_books(
    directory: QueueDirectory, reports: Reports
) -> None:
    with_parked_and_dead(directory, reports)
    with consuming(directory, reports) as consumer:
        with contextlib.closing(sqlite3.connect(directory.books)) as connection, connection:
            row = stored(record(999)).encode()
            for insert in INSERT.values():
                connection.executemany(insert, [(number, row, 0.0) for number in range(100, 103)])
        consumer.books.begin_anew(DatabaseDamaged("by hand"))
        found = counts(directory, consumer)
        assert (found.parked, found.dead_lettered) == (40, 5)
        assert len(consumer.page("parked", 0, 100)) == 40


def test_pages_are_read_on_right_behind_one_that_cannot_be(directory: QueueDirectory, reports: Reports) -> None:
    with_parked_and_dead(directory, reports)
    gone = damage_a_page_of_parked_events(directory)
    found = {number_of(row.record) for row in read_all(directory.books, "parked", reports)}
    assert found == set(range(40)) - gone
    [told] = reports.texts()
    assert told.endswith("; from row 1 on")


def damage_a_page_of_parked_events(directory: QueueDirectory) -> set[int]:
    """Scribble over a leaf of the table, in the middle of it; return the numbers of the events in it."""
    connection = sqlite3.connect(directory.books)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    content = Path(directory.books).read_bytes()
    pages = [start for start in range(0, len(content), 4096) if b"id-20" in content[start : start + 4096]]
    scribble(directory.books, pages[0])
    return {int(number) for number in re.findall(rb"id-(\d+)", content[pages[0] : pages[0] + 4096])}


def test_damage_that_a_settlement_meets_costs_it_nothing(directory: QueueDirectory, reports: Reports) -> None:
    with_parked_and_dead(directory, reports)
    with consuming(directory, reports) as consumer:
        rows = consumer.page("parked", 0, 100)
    damage_a_page_of_parked_events(directory)
    with consuming(directory, reports) as consumer:
        consumer.settle(Settlement(delivered=40, resolved=rows))
        found = counts(directory, consumer)
        assert (found.delivered, found.parked) == (52, 0)
        assert found.dead_lettered > 5, "what could not be read was told to be a dead letter"
        assert consumer.page("parked", 0, 100) == []
    assert len(kept_of(directory, "damaged")) == 1


def test_books_cut_short_are_begun_anew_with_what_can_be_read(directory: QueueDirectory, reports: Reports) -> None:
    with_parked_and_dead(directory, reports)
    connection = sqlite3.connect(directory.books)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    os.truncate(directory.books, 5 * 4096)
    with consuming(directory, reports) as consumer:
        deliver_all(consumer)
        consumer.page("parked", 0, 100)
        counts(directory, consumer)
        assert directory.segments() == []
    assert len(kept_of(directory, "damaged")) == 1


def test_books_damaged_in_any_page_never_keep_events_from_being_delivered(
    memory_path: Path, reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reserve, "_LOG", 64)
    monkeypatch.setattr(reserve, "_FREE", 64)
    directory = QueueDirectory(memory_path / "model")
    directory.prepare()
    with_parked_and_dead(directory, reports, parked=10)
    connection = sqlite3.connect(directory.books)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    free = connection.execute("PRAGMA freelist_count").fetchone()[0]
    connection.close()
    for page in range(min(pages, pages - free + 4)):
        copy = QueueDirectory(memory_path / f"copy-{page}")
        shutil.copytree(directory.root, copy.root)
        scribble(copy.books, page * 4096)
        with consuming(copy, reports) as consumer:
            for _ in range(2):
                deliver_all(consumer)
                consumer.page("parked", 0, 100)
                counts(copy, consumer)
            assert copy.segments() == []
            write_segment(copy, [record(200, padding=3_000)]).seal()
            output = read_pass(consumer)
            consumer.settle(output.settlement(parked=output.records))
            assert output.numbers[-1] == 200
            counts(copy, consumer)
        with consuming(copy, reports) as consumer:
            found = counts(copy, consumer)
            assert found.pending == 0
            assert found.accepted >= 5
        shutil.rmtree(copy.root)


def test_a_kill_at_any_step_of_beginning_anew_loses_no_row_that_could_be_read(
    memory_path: Path, reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reserve, "_LOG", 64)
    monkeypatch.setattr(reserve, "_FREE", 64)
    monkeypatch.setattr(contents, "_FEW", 10)
    model = QueueDirectory(memory_path / "model")
    model.prepare()
    with_parked_and_dead(model, reports)
    damage_a_page_of_parked_events(model)
    step = 0
    died = True
    expected = -1
    while died:
        directory = QueueDirectory(memory_path / f"queue-{step}")
        shutil.copytree(model.root, directory.root)
        died = dies_at(step, partial(meet_damage, directory))
        with consuming(directory, reports) as consumer:
            consumer.page("parked", 0, 100)
            found = counts(directory, consumer)
            assert found.accepted == 59
            expected = found.parked if expected < 0 else expected
            assert found.parked == expected > 0
            deliver_all(consumer)
            assert counts(directory, consumer).delivered == 14
        shutil.rmtree(directory.root)
        step += 3


def meet_damage(directory: QueueDirectory) -> None:
    Consumer(directory, Reports()).page("parked", 0, 100)


def test_books_of_a_later_version_are_not_touched(directory: QueueDirectory, reports: Reports) -> None:
    Consumer(directory, reports).close()
    connection = sqlite3.connect(directory.books)
    connection.execute("PRAGMA user_version=99")
    connection.close()
    before = Path(directory.books).read_bytes()
    with pytest.raises(QueueDamaged, match="newer version"):
        Consumer(directory, reports)
    assert Path(directory.books).read_bytes() == before


def test_a_damaged_row_is_an_event_without_record_and_hides_no_other(
    directory: QueueDirectory, reports: Reports
) -> None:
    write_segment(directory, [record(number) for number in range(3)]).seal()
    with consuming(directory, reports) as consumer:
        output = read_pass(consumer)
        consumer.settle(output.settlement(parked=output.records))
    connection = sqlite3.connect(directory.books)
    with connection:
        connection.execute("UPDATE queue_parked SET data = x'00' WHERE _id = 2")
    connection.close()
    with consuming(directory, reports) as consumer:
        rows = consumer.page("parked", 0, 10)
        assert [bool(row.record) for row in rows] == [True, False, True]
        assert "damaged" in rows[1].reason
        consumer.settle(Settlement(delivered=2, dead=[stored(b"", rows[1].reason)], resolved=rows))
        assert counts(directory, consumer).parked == 0


def test_errors_of_sqlite_come_out_as_the_disks(directory: QueueDirectory) -> None:
    assert read_page(directory.books, "dead", 0, 10) == []
    Path(directory.books).write_bytes(b"no database" * 1000)
    with pytest.raises(OSError, match="not a database"):
        read_page(directory.books, "dead", 0, 10)
