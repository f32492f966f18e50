"""A real disk that others have filled to its last byte: settling goes on."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from lotus_durable.queue.consumer import Consumer
from lotus_durable.queue.directory import QUEUE_DB, QueueDirectory
from lotus_durable.queue.format import encode_frame
from lotus_durable.queue.protocol import Settlement
from tests.pages import read_page

from .consuming import consuming, counts, deliver_all, read_pass, stored
from .faults import small_disk
from .segments import Reports, append, open_appender, open_sqlite, record, write_segment


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", "8m") as path:
        yield path


@pytest.fixture(params=[2_000, pytest.param(12_000, marks=pytest.mark.servers)])
def settlements(request: pytest.FixtureRequest) -> int:
    """How many: more than the log of the books has pages in reserve; many more in the long run (``-m servers``)."""
    return int(request.param)


@pytest.fixture
def small(disk: Path) -> QueueDirectory:
    directory = QueueDirectory(disk / "queue")
    directory.prepare()
    return directory


def fill(disk: Path) -> None:
    """Take all that is left."""
    with open(disk / f"others-{len(os.listdir(disk))}", "wb", buffering=0) as file:
        for size in (65536, 4096, 512, 1):
            with contextlib.suppress(OSError):
                while file.write(bytes(size)) == size:
                    pass
    assert os.statvfs(disk).f_bavail == 0


def free(disk: Path) -> None:
    for path in disk.glob("others-*"):
        path.unlink()


def settle_each(consumer: Consumer, *, ids: int = 0) -> int:
    """Deliver everything, one settlement for each event; return how many there were."""
    settlements = 0
    while (chunk := consumer.read(500)) is not None:
        for position in chunk.positions:
            names = [f"{settlements:030d}-{number}" for number in range(ids)]
            consumer.settle(Settlement({chunk.source: position}, delivered=1, delivered_ids=names))
            settlements += 1
    return settlements


def settle_until_full(consumer: Consumer, settlements: Iterable[Settlement]) -> int:
    """Settle one after the other until the disk refuses; return how many it took."""
    taken = 0
    for settlement in settlements:
        try:
            consumer.settle(settlement)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            break
        taken += 1
    return taken


def test_thousands_of_settlements_on_a_disk_that_others_filled_beside_readers_of_the_books(
    small: QueueDirectory, disk: Path, reports: Reports, settlements: int
) -> None:
    """They read a page at a time, as our commands do: each has a cursor open for a moment, at any moment."""
    write_segment(small, [record(number) for number in range(settlements)]).seal()
    with consuming(small, reports) as consumer:
        fill(disk)
        pages = 0
        is_over = threading.Event()

        def read_on() -> None:
            nonlocal pages
            while not is_over.is_set():
                read_page(small.books, "parked", 0, 100)
                pages += 1

        readers = [threading.Thread(target=read_on) for _ in range(2)]
        for reader in readers:
            reader.start()
        try:
            assert settle_each(consumer) == settlements
        finally:
            is_over.set()
            for reader in readers:
                reader.join()
        assert pages > 10
        consumer.retire()
        assert small.segments() == []
        assert counts(small, consumer).delivered == settlements


def test_many_small_segments_are_settled_and_retired_on_a_full_disk(
    small: QueueDirectory, disk: Path, reports: Reports
) -> None:
    for number in range(1_000):
        write_segment(small, [record(number)]).seal()
    with consuming(small, reports) as consumer:
        chunk = consumer.read(10)
        fill(disk)
        while chunk is not None:
            consumer.settle(Settlement({chunk.source: chunk.positions[-1]}, delivered=1))
            consumer.retire()
            chunk = consumer.read(10)
        consumer.retire()
        assert small.segments() == []
        assert counts(small, consumer).delivered == 1_000


def test_settlements_with_their_ids_on_a_disk_that_others_filled(
    small: QueueDirectory, disk: Path, reports: Reports
) -> None:
    write_segment(small, [record(number) for number in range(2_000)]).seal()
    with consuming(small, reports) as consumer:
        fill(disk)
        assert settle_each(consumer, ids=100) == 2_000
        assert consumer.was_delivered([f"{1999:030d}-7"]) == {f"{1999:030d}-7"}
    free(disk)
    with consuming(small, reports) as consumer:
        assert consumer.was_delivered([f"{1999:030d}-7"]) == {f"{1999:030d}-7"}


def test_parking_stops_before_it_takes_the_space_of_the_cursor(
    small: QueueDirectory, disk: Path, reports: Reports
) -> None:
    write_segment(small, [record(number, padding=2_000) for number in range(500)]).seal()
    write_segment(small, [record(number) for number in range(11_000)]).seal()
    with consuming(small, reports) as consumer:
        fill(disk)
        chunk = consumer.read(1000)
        assert chunk is not None
        parked = settle_until_full(
            consumer,
            (
                Settlement({chunk.source: position}, parked=[stored(each)])
                for each, position in zip(chunk.records, chunk.positions, strict=True)
            ),
        )
        assert 50 < parked < 500
        while chunk is not None and len(chunk.records[0]) > 1_000:
            chunk = consumer.read(1000)
        settlements = 0
        while chunk is not None:
            for position in chunk.positions:
                consumer.settle(Settlement({chunk.source: position}, delivered=1))
                settlements += 1
            chunk = consumer.read(1000)
        assert settlements == 11_000
        assert counts(small, consumer).parked == parked
        free(disk)
        event = consumer.page("parked", 0, 1)
        consumer.settle(Settlement(delivered=1, resolved=event))
        assert counts(small, consumer).parked == parked - 1
    with consuming(small, reports) as consumer:
        output = read_pass(consumer)
        consumer.settle(output.settlement(parked=output.records))
        consumer.retire()
        assert small.segments() == []
        assert counts(small, consumer).accepted == 11_500


def test_a_segment_of_refused_events_can_be_settled_on_a_full_disk_whole(
    small: QueueDirectory, disk: Path, reports: Reports
) -> None:
    """The reserve has room for it: what it is made for grows with the segments that are met."""
    write_segment(small, [record(number, padding=300) for number in range(1_000)]).seal()
    with consuming(small, reports) as consumer:
        first = consumer.read(500)
        for _ in range(10):
            consumer.retire()
        fill(disk)
        while first is not None:
            parked = [stored(each) for each in first.records]
            consumer.settle(Settlement({first.source: first.positions[-1]}, parked=parked))
            first = consumer.read(500)
        consumer.retire()
        assert small.segments() == []
        assert counts(small, consumer).parked == 1_000


def test_a_settlement_too_large_for_one_transaction_is_settled_in_several_and_counts_as_one(
    small: QueueDirectory, reports: Reports
) -> None:
    write_segment(small, [record(number, padding=2_000) for number in range(300)]).seal()
    with consuming(small, reports) as consumer:
        output = read_pass(consumer, limit=1000)
        consumer.settle(output.settlement(parked=output.records[:200], dead=output.records[200:]))
        found = counts(small, consumer)
        assert (found.parked, found.dead_lettered, found.pending) == (200, 100, 0)
        assert [event.record for event in consumer.page("parked", 0, 1000)] == output.records[:200]
        assert len(read_page(small.books, "dead", 0, 1000)) == 100


def test_a_flusher_can_begin_on_a_full_disk_when_one_has_been_there_before(
    small: QueueDirectory, disk: Path, reports: Reports
) -> None:
    appender = open_appender(small, reports)
    append(appender, *range(100))
    with consuming(small, reports) as consumer:
        consumer.read(1)
    fill(disk)
    with consuming(small, reports) as consumer:
        assert settle_each(consumer) == 100
    with consuming(small, reports) as consumer:
        assert counts(small, consumer).delivered == 100


def test_a_first_flusher_on_a_full_disk_is_refused_and_begins_when_there_is_room(
    small: QueueDirectory, disk: Path, reports: Reports
) -> None:
    append(open_appender(small, reports), 0)
    fill(disk)
    with pytest.raises(OSError, match=r"full|space|disk I/O|open"):
        Consumer(small, reports)
    free(disk)
    with consuming(small, reports) as consumer:
        assert deliver_all(consumer) == [0]


def test_a_reader_with_an_open_cursor_stops_nothing_for_good(
    small: QueueDirectory, disk: Path, reports: Reports
) -> None:
    from lotus_durable.queue.table import read_only

    write_segment(small, [record(number) for number in range(4_000)]).seal()
    with consuming(small, reports) as consumer:
        first = consumer.read(4_000)
        assert first is not None
        fill(disk)
        reader = read_only(small.books)
        cursor = reader.execute("SELECT * FROM settled UNION ALL SELECT * FROM settled")
        cursor.fetchone()
        settled = settle_until_full(
            consumer, (Settlement({first.source: position}, delivered=1) for position in first.positions)
        )
        assert settled < 4_000
        cursor.close()
        reader.close()
        for position in first.positions[settled:]:
            consumer.settle(Settlement({first.source: position}, delivered=1))
        assert consumer.progress().counts.delivered == len(first.records)


def test_delivering_empties_a_disk_that_the_queue_itself_has_filled(
    small: QueueDirectory, disk: Path, reports: Reports
) -> None:
    appender = open_appender(small, reports, segment_bytes=256 * 1024)
    accepted = 0
    with contextlib.suppress(OSError):
        while True:
            append(appender, accepted, padding=500)
            accepted += 1
    appender.close()
    with consuming(small, reports) as consumer:
        fill(disk)
        while output := read_pass_of_one_segment(consumer):
            records, through = output
            refused = [stored(each) for each in records[::2]]
            consumer.settle(Settlement(through, delivered=len(records) - len(refused), parked=refused))
            consumer.retire()
        consumer.retire()
        assert small.segments() == []
        assert counts(small, consumer).accepted == accepted


def read_pass_of_one_segment(consumer: Consumer) -> tuple[list[bytes], dict[str, tuple[int, int]]] | None:
    chunk = consumer.read(200)
    return None if chunk is None else (list(chunk.records), {chunk.source: chunk.positions[-1]})


# Filled by others, and staying full: whatever its size, whichever way was appended


@pytest.fixture(params=["8m", "32m", "256m", "1g"])
def full_size(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def put_rows(directory: QueueDirectory, reports: Reports, numbers: Iterable[int]) -> None:
    appender = open_sqlite(directory, reports)
    for number in numbers:
        assert appender.append(record(number), 0.0) is None
    appender.close()


def settle_with_refusals(consumer: Consumer) -> tuple[int, int]:
    """Settle event by event; each tenth is refused and parked while there is room, else the cursor goes no further."""
    delivered = parked = 0
    while (chunk := consumer.read(500)) is not None:
        for each, position in zip(chunk.records, chunk.positions, strict=True):
            if (delivered + parked) % 10 == 0:
                with contextlib.suppress(OSError):
                    consumer.settle(Settlement({chunk.source: position}, parked=[stored(each)]))
                    parked += 1
                    continue
            consumer.settle(Settlement({chunk.source: position}, delivered=1))
            delivered += 1
        consumer.retire()
    consumer.retire()
    return delivered, parked


@pytest.mark.parametrize("way", ["segments", "rows"])
def test_settling_goes_on_while_a_disk_of_any_size_stays_full_and_what_is_settled_goes_from_it(
    tmp_path: Path, reports: Reports, full_size: str, way: str, settlements: int
) -> None:
    with small_disk(tmp_path / "disk", full_size) as disk:
        directory = QueueDirectory(disk / "queue")
        directory.prepare()
        with consuming(directory, reports) as consumer:
            consumer.read(1)  # a flusher has been here
        if way == "rows":
            put_rows(directory, reports, range(settlements))
        else:
            write_segment(directory, [record(number) for number in range(settlements)]).seal()
        with consuming(directory, reports) as consumer:
            assert consumer.has_pending()
            fill(disk)
            delivered, parked = settle_with_refusals(consumer)
            assert delivered + parked == settlements
            assert parked > 0
            assert directory.segments() == []
            found = counts(directory, consumer)
            assert (found.delivered, found.parked, found.pending) == (delivered, parked, 0)
    assert reports == []


def test_rows_are_delivered_from_a_disk_that_was_filled_while_nobody_had_their_database_open(
    small: QueueDirectory, disk: Path, reports: Reports
) -> None:
    """SQLite deleted what several processes share of it with the last one, and has no room to make it anew."""
    with consuming(small, reports) as consumer:
        consumer.read(1)
    put_rows(small, reports, range(1_000))
    append(open_appender(small, reports), 1_000)
    fill(disk)
    with consuming(small, reports) as consumer:
        assert sorted(deliver_all(consumer)) == list(range(1_001))
        assert not consumer.has_pending()
    with consuming(small, reports) as consumer:
        assert deliver_all(consumer) == [], "not twice, though there was no room to delete them"
        free(disk)
        assert not read_pass(consumer).records
        appender = open_sqlite(small, reports)
        appender.append(record(1_001), 0.0)
        assert appender.written().keys() == {QUEUE_DB}, "it is shared again"
        appender.close()
        assert deliver_all(consumer) == [1_001]
        assert counts(small, consumer).delivered == 1_002
    assert reports == []


def test_a_disk_without_inodes_stops_no_settlement(tmp_path: Path, reports: Reports, settlements: int) -> None:
    with small_disk(tmp_path / "disk", "64m", inodes=200) as disk:
        directory = QueueDirectory(disk / "queue")
        directory.prepare()
        write_segment(directory, [record(number) for number in range(settlements)]).seal()
        with consuming(directory, reports) as consumer:
            consumer.read(1)
        with contextlib.suppress(OSError):
            for number in range(1_000):
                (disk / f"others-{number}").touch()
        with consuming(directory, reports) as consumer:
            delivered, parked = settle_with_refusals(consumer)
            assert delivered + parked == settlements
            assert directory.segments() == []


def test_the_segment_of_a_torn_tail_is_freed_on_a_full_disk(
    small: QueueDirectory, disk: Path, reports: Reports
) -> None:
    writer = write_segment(small, [record(number) for number in range(100)])
    with open(writer.path, "ab") as file:
        file.write(encode_frame(writer.header.marker, 100, record(100))[:-1])  # what a kill leaves of a frame
    writer.seal()
    with consuming(small, reports) as consumer:
        fill(disk)
        assert settle_each(consumer) == 100
        for _ in range(2):
            consumer.read(1)
            consumer.retire()
        assert small.segments() == []
