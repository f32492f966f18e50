"""The books themselves: pages, ids delivered lately, segments retired lately, and what stays on the disk."""

from __future__ import annotations

import contextlib
import errno
import os
import pickletools
import sqlite3
import stat
import struct
import tracemalloc
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from lotus_durable.queue import books as books_module
from lotus_durable.queue import lately
from lotus_durable.queue.books import Books, read_page
from lotus_durable.queue.lately import DeliveredLately, keys_of
from lotus_durable.queue.protocol import Cursor, Settlement
from lotus_durable.queue.reserve import Reserve
from lotus_durable.queue.table import DatabaseDamaged

from .consuming import stored
from .faults import refusing
from .segments import EPOCH, record

SEGMENT = b"a segment's id.."


@pytest.fixture
def path(memory_path: Path) -> Path:
    return memory_path / "books.db"


def opened(path: Path) -> Books:
    books = Books(str(path))
    books.open()
    return books


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
        books.settle(
            Settlement(
                cursors={SEGMENT: cursor}, accepted=1, delivered=1, parked=parked, delivered_ids=[f"{number:036d}"] * 50
            )
        )
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


def test_books_are_opened_also_while_another_file_lies_where_their_log_was(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody removes the log and makes another, just when it is to be stretched."""
    opened(path).close()
    path.with_name("books.db-wal").unlink()
    checkpoint = Reserve.checkpoint

    def replaced(reserve: Reserve) -> None:
        path.with_name("books.db-wal").unlink()
        path.with_name("books.db-wal").touch()
        checkpoint(reserve)

    monkeypatch.setattr(Reserve, "checkpoint", replaced)
    books = opened(path)
    assert not books.database.is_in_place(), "so that they are written back"
    books.abandon()


def test_a_commit_that_is_refused_counts_for_nothing_and_can_be_repeated(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    books = opened(path)
    entry = Settlement(
        cursors={SEGMENT: Cursor("name", 10, 1)}, accepted=1, parked=[stored(record(1))], delivered_ids=["a"]
    )

    def refuse(*_arguments: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(Books, "_insert", refuse)
        with pytest.raises(OSError, match="disk I/O error"):
            books.settle(entry)
    assert books.counts.accepted == 0
    assert books.cursors == {}
    assert books.page("parked", 0, 10) == []
    assert books.delivered.known(["a"]) == set()
    books.settle(entry)
    assert books.counts.accepted == 1
    assert books.delivered.known(["a"]) == {"a"}
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
    assert books.counts.delivered == 1
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
        opened(path)
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
    assert books.cursors == {}
    assert [segment[0] for segment in books.retired] == [3, 4, 5]
    books.close()
    books = opened(path)
    assert [segment[0] for segment in books.retired] == [3, 4, 5]
    assert books.retired[bytes([5]) * 16] == (100, 5)
    books.close()


# Ids delivered lately


def batch_of(number: int, size: int = 500) -> list[str]:
    return [f"{number:08x}-0000-0000-0000-{each:012x}" for each in range(size)]


def delivered_at(books: Books, at: float, ids: list[str]) -> None:
    books.settle(Settlement(delivered_ids=ids, at=at))


def is_known(books: Books, number: int) -> bool:
    first, *_, last = batch_of(number)
    known = books.delivered.known([first, last, "another"])
    assert known in (set(), {first, last})
    return bool(known)


def test_twenty_thousand_ids_are_known_however_old_they_are(path: Path) -> None:
    books = opened(path)
    for number in range(50):
        delivered_at(books, number * 3600.0, batch_of(number))
        assert len(books.delivered) <= 20_000 + 500
    assert [is_known(books, number) for number in range(50)] == [False] * 10 + [True] * 40
    books.close()


def test_ids_of_the_last_minute_are_known_up_to_two_hundred_thousand(path: Path) -> None:
    books = opened(path)
    for number in range(300):
        delivered_at(books, 1000 + number / 10, batch_of(number))
    assert len(books.delivered) == 150_000
    for number in range(300, 450):
        delivered_at(books, 1031, batch_of(number))
    assert len(books.delivered) == 200_000
    assert [is_known(books, number) for number in range(450)] == [False] * 50 + [True] * 400
    books.close()


def test_what_is_older_than_a_minute_makes_way_and_nothing_younger(path: Path) -> None:
    books = opened(path)
    for number in range(200):
        delivered_at(books, 1000 + number, batch_of(number))
    assert [is_known(books, number) for number in range(200)] == [False] * 140 + [True] * 60
    books.close()


def test_ids_that_come_one_by_one_share_a_row_and_are_known_to_the_next_flusher(path: Path) -> None:
    books = opened(path)
    ids = [str(uuid4()) for _ in range(1_200)]
    for number, id_ in enumerate(ids):
        delivered_at(books, float(number), [id_])
    books.close()
    books = opened(path)
    assert books.delivered.known([*ids, str(uuid4())]) == {*ids}
    delivered_at(books, 2000, ["one more"])
    assert books.delivered.known([*ids, "one more"]) == {*ids, "one more"}
    books.close()
    assert len(used_rows(path)) == 3


def test_more_ids_than_a_row_holds_are_known(path: Path) -> None:
    books = opened(path)
    ids = [str(uuid4()) for _ in range(1_700)]
    delivered_at(books, 1000, ids)
    books.close()
    books = opened(path)
    assert books.delivered.known(ids) == {*ids}
    assert len(books.delivered) == 1_700
    books.close()


def test_a_settlement_that_fails_leaves_the_ids_as_they_were(path: Path) -> None:
    books = opened(path)
    for number in range(60):
        delivered_at(books, 1000 + number * 3, batch_of(number))
    before = [is_known(books, number) for number in range(60)]
    for ids in (batch_of(60), ["one"]):
        with pytest.raises(OSError, match="the books"):
            books.settle(Settlement(delivered_ids=ids, at=2000, carried=[(None, 0, 0)]))  # type: ignore[list-item]
        assert [is_known(books, number) for number in range(61)] == [*before, False]
        assert not books.delivered.known(["one"])
    delivered_at(books, 2000, batch_of(60))
    assert is_known(books, 60)
    books.close()


def used_rows(path: Path) -> list[tuple[float, int]]:
    """Return time and count of each row that holds ids, the oldest first."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        rows = [struct.unpack_from("<QdI", ids) for (ids,) in connection.execute("SELECT ids FROM delivered")]
    return [(at, count) for serial, at, count in sorted(rows) if serial]


def test_a_batch_is_one_row_and_another_flusher_knows_the_same_ids(path: Path) -> None:
    books = opened(path)
    for number in range(60):
        delivered_at(books, 1000 + number * 3, batch_of(number))
    before = [is_known(books, number) for number in range(60)]
    first = before.index(True)
    assert before == [False] * first + [True] * (60 - first)
    books.close()
    books = opened(path)
    assert [is_known(books, number) for number in range(60)] == before
    delivered_at(books, 1300, batch_of(60))
    assert [is_known(books, number) for number in (first, first + 1)] == [False, True], "in the same order"
    books.close()
    assert used_rows(path) == [*((1000 + number * 3, 500) for number in range(first + 1, 60)), (1300, 500)]


def test_a_clock_that_went_back_makes_no_id_forgotten(path: Path) -> None:
    books = opened(path)
    delivered_at(books, 9000, batch_of(0))
    for number in range(1, 60):
        delivered_at(books, 1000, batch_of(number))
    assert all(is_known(books, number) for number in range(60))
    books.close()


def test_two_hundred_thousand_ids_take_little_more_than_four_megabytes() -> None:
    first, last = batch_of(0), [f"order {number}" for number in range(500)]
    tracemalloc.start()
    try:
        delivered = DeliveredLately()
        delivered.begin(keys_of(first))
        for _ in range(398):
            delivered.begin(os.urandom(8_000))
        delivered.begin(keys_of(last))
        assert delivered.known([*first, *last]) == {*first, *last}
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(delivered) == 200_000
    assert peak < 4_300_000


def test_an_id_between_two_others_is_not_taken_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lately, "hash", lambda _: 0, raising=False)  # all have the same mark
    delivered = DeliveredLately()
    one, two, between = (str(UUID(int=number)) for number in (1, 2, 256))
    delivered.begin(keys_of([one, two]))
    assert keys_of([between]) in keys_of([one, two])
    assert delivered.known([between, two]) == {two}
    delivered.begin(keys_of([between]))
    delivered.forget_oldest()
    assert delivered.known([one, two, between]) == {between}


def test_ids_that_are_counted_up_have_marks_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else each of them would be looked for among all keys."""
    looked_for: list[bytes] = []
    monkeypatch.setattr(DeliveredLately, "_is_in_a_run", lambda _, key: looked_for.append(key))
    delivered = DeliveredLately()
    for number in range(200):
        delivered.begin(keys_of(batch_of(number)))
    assert delivered.known(batch_of(1_000)) == set()
    assert len(looked_for) < 5


def test_an_id_that_was_delivered_twice_is_known_until_the_later_time_is_past() -> None:
    delivered = DeliveredLately()
    delivered.begin(keys_of(["a"]))
    delivered.begin(keys_of(["a"]))
    delivered.forget_oldest()
    assert delivered.known(["a"])
    delivered.forget_oldest()
    assert not delivered.known(["a"])
    assert len(delivered) == 0


def test_ids_of_any_length_come_back(path: Path) -> None:
    books = opened(path)
    long = [f"{number:0255d}" for number in range(500)]
    books.settle(Settlement(delivered_ids=long))
    books.settle(Settlement(delivered_ids=["", "ü", "a b"]))
    random = [str(uuid4()) for _ in range(500)]
    books.settle(Settlement(delivered_ids=random))
    books.settle(Settlement(delivered_ids=[random[0].upper(), "x" * 8 + "-4444-4444-4444-" + "0" * 12]))
    books.close()
    books = opened(path)
    assert books.delivered.known([*long, "ü", "a b", "z"]) == {*long, "ü", "a b"}
    assert books.delivered.known(random) == {*random}
    assert books.delivered.known([random[0].upper(), random[1].upper(), ""]) == {random[0].upper(), ""}
    assert len(books.delivered) == 500 + 3 + 500 + 2
    books.close()


def test_a_damaged_row_of_ids_is_no_ids(path: Path) -> None:
    books = opened(path)
    books.settle(Settlement(delivered_ids=["a"]))
    books.close()
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE delivered SET ids = x'00' WHERE slot = 2")
        connection.execute("UPDATE delivered SET ids = NULL WHERE slot = 3")
        connection.execute("UPDATE delivered SET ids = printf('%8020s', 'a text as long as ids are') WHERE slot = 4")
    books = opened(path)
    assert books.delivered.known(["a"]) == {"a"}
    books.settle(Settlement(delivered_ids=["b"]))
    assert books.delivered.known(["a", "b"]) == {"a", "b"}
    for number in range(50):
        delivered_at(books, number * 3600.0, batch_of(number))
    assert books.delivered.known(["a", "b"]) == set(), "it is forgotten like any other"
    assert len(books.delivered) < 21_000
    books.close()
