"""The ids delivered lately: how many are known, to whom, and what is left when something happens to their file."""

from __future__ import annotations

import errno
import os
import sqlite3
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from lotus_durable.queue import lately
from lotus_durable.queue.books import Books
from lotus_durable.queue.consumer import Consumer
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.lately import KEY, MOST, DeliveredLately, keys_of

from .consuming import consuming, read_pass
from .faults import DIED, exit_status, in_child, refusing, small_disk
from .segments import Reports, record, write_segment

_HEADER = 16


@pytest.fixture
def path(memory_path: Path) -> Path:
    return memory_path / "delivered"


Opened = Callable[[], DeliveredLately]


@pytest.fixture
def opened(path: Path, reports: Reports) -> Iterator[Opened]:
    """Opens the file, each time as another flusher would."""
    all_of_them: list[DeliveredLately] = []

    def opened() -> DeliveredLately:
        all_of_them.append(DeliveredLately(str(path), reports))
        return all_of_them[-1]

    yield opened
    for each in all_of_them:
        each.close()


def batch_of(number: int, size: int = 500) -> list[str]:
    return [f"{number:08x}-0000-0000-0000-{each:012x}" for each in range(1, size + 1)]


def is_known(delivered: DeliveredLately, number: int) -> bool:
    first, *_, last = batch_of(number)
    known = delivered.known([first, last, "another"])
    assert known in (set(), {first, last})
    return bool(known)


def test_the_last_two_hundred_thousand_are_known_and_to_the_next_flusher_too(opened: Opened, path: Path) -> None:
    delivered = opened()
    for number in range(450):
        delivered.add(batch_of(number))
        if number % 100 == 0:
            assert is_known(delivered, number)
    for each in (delivered, opened()):
        assert [is_known(each, number) for number in range(0, 450, 7)] == [number >= 50 for number in range(0, 450, 7)]
    assert path.stat().st_size == _HEADER + MOST * KEY
    again = opened()
    again.add(batch_of(450))
    assert [is_known(again, number) for number in (50, 51, 449, 450)] == [False, True, True, True], "in the same order"


def test_marks_of_ids_that_are_forgotten_do_not_pile_up(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lately, "MOST", 1_000)
    delivered = opened()
    for number in range(40):
        delivered.add(batch_of(number, 100))
        assert delivered.known(batch_of(number, 1)) == {*batch_of(number, 1)}
    assert delivered.known(batch_of(39, 100)) == {*batch_of(39, 100)}
    assert delivered.known(batch_of(29, 100)) == set()
    assert sum(map(len, delivered._buckets)) <= 3 * 2_200


def test_ids_that_come_one_by_one_take_their_own_bytes_only(opened: Opened, path: Path) -> None:
    delivered = opened()
    ids = [str(uuid4()) for _ in range(5_000)]
    for id_ in ids:
        delivered.add([id_])
    assert path.stat().st_size == _HEADER + 5_000 * KEY
    again = opened()
    again.add(["one more"])
    assert again.known([*ids, str(uuid4()), "one more"]) == {*ids, "one more"}


def test_more_ids_than_are_known_at_all_leave_the_last_ones(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lately, "MOST", 100)
    delivered = opened()
    ids = [str(uuid4()) for _ in range(250)]
    delivered.add(ids)
    for each in (delivered, opened()):
        assert each.known(ids) == {*ids[150:]}


def test_ids_that_come_round_to_the_beginning_in_the_middle_leave_the_last_ones(
    opened: Opened, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lately, "MOST", 100)
    delivered = opened()
    ids = [str(uuid4()) for _ in range(180)]
    for start in range(0, 180, 60):
        delivered.add(ids[start : start + 60])
    for each in (delivered, opened()):
        assert each.known(ids) == {*ids[80:]}
    assert delivered.known([]) == set()
    path.unlink()
    delivered.keep_in_place()
    assert path.stat().st_size == _HEADER + 100 * KEY
    assert opened().known(ids) == {*ids[80:]}


def test_two_hundred_thousand_ids_take_less_than_four_megabytes_of_memory(opened: Opened) -> None:
    first, last = batch_of(0), [f"order {number}" for number in range(500)]
    tracemalloc.start()
    try:
        delivered = opened()
        delivered.add(first)
        for _ in range(398):
            delivered.add([str(UUID(bytes=os.urandom(16))) for _ in range(500)])
            assert delivered.known([str(uuid4())]) == set()
        delivered.add(last)
        assert delivered.known([*first, *last]) == {*first, *last}
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4_000_000


def test_an_id_between_two_others_is_not_taken_for_one(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lately, "hash", lambda _: 0, raising=False)  # all have the same mark
    delivered = opened()
    over = int.from_bytes(keys_of([str(UUID(int=0))]))
    one, two, between = (str(UUID(int=number ^ over)) for number in (1, 2, 256))
    delivered.add([one, two])
    assert keys_of([between]) in keys_of([one, two])
    assert delivered.known([between, two]) == {two}


def test_ids_that_are_counted_up_have_marks_of_their_own(opened: Opened) -> None:
    """Else all of the file would be read for each of them."""
    delivered = opened()
    for number in range(200):
        delivered.add(batch_of(number))
    assert delivered.known(batch_of(1_000)) == set()
    places = delivered._places_of(keys_of(batch_of(1_001)))
    assert sum(bucket.find(mark) >= 0 for bucket, mark in zip(*places, strict=True)) < 5


def test_ids_of_any_length_come_back(opened: Opened) -> None:
    delivered = opened()
    long = [f"{number:0255d}" for number in range(500)]
    odd = ["", "ü", "a b", "\ud800"]
    random = [str(uuid4()) for _ in range(500)]
    others = [random[0].upper(), "x" * 8 + "-4444-4444-4444-" + "0" * 12]
    for ids in (long, odd, random, others):
        delivered.add(ids)
    for each in (delivered, opened()):
        assert each.known([*long, *odd, "z"]) == {*long, *odd}
        assert each.known(random) == {*random}
        assert each.known([*others, random[1].upper()]) == {*others}


def test_the_ids_of_a_settlement_that_is_tried_again_and_again_take_nobodys_place(
    directory: QueueDirectory, reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    write_segment(directory, [record(number) for number in range(3)]).seal()
    with consuming(directory, reports) as consumer:
        entry = read_pass(consumer).settlement(ids=["a", "b", "c"])
        with monkeypatch.context() as patch:
            patch.setattr(Books, "_enter", refuse)
            for _ in range(5):
                with pytest.raises(OSError, match="disk I/O error"):
                    consumer.settle(entry)
        consumer.settle(entry)
        assert consumer.was_delivered(["a", "b", "c", "d"]) == {"a", "b", "c"}
    assert Path(directory.delivered).read_bytes()[_HEADER:].count(keys_of(["a"])) == 1


def test_a_flusher_that_dies_before_it_commits_leaves_the_ids_known(
    directory: QueueDirectory, reports: Reports
) -> None:
    """They were delivered: the next one settles them without sending, and writes on behind them."""
    write_segment(directory, [record(number) for number in range(3)]).seal()

    def settle_and_die() -> None:
        consumer = Consumer(directory, reports)
        output = read_pass(consumer)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Books, "settle", lambda *_: os._exit(DIED))
            consumer.settle(output.settlement(ids=["a", "b", "c"]))

    assert exit_status(in_child(settle_and_die)) == DIED
    with consuming(directory, reports) as consumer:
        output = read_pass(consumer)
        assert output.numbers == [0, 1, 2], "they are not settled"
        assert consumer.was_delivered(["a", "b", "c", "d"]) == {"a", "b", "c"}
        consumer.settle(output.settlement(ids=["d"]))
        assert consumer.was_delivered(["a", "b", "c", "d"]) == {"a", "b", "c", "d"}


def test_on_a_small_disk_fewer_are_known_and_it_is_never_full_of_them(tmp_path: Path, reports: Reports) -> None:
    with small_disk(tmp_path / "disk", "2m") as disk:
        path = disk / "delivered"
        delivered = DeliveredLately(str(path), reports)
        for number in range(100):
            delivered.add(batch_of(number))
        assert path.stat().st_size < 150_000
        assert [is_known(delivered, number) for number in (0, 95, 99)] == [False, True, True]
        (disk / "others").write_bytes(bytes(os.statvfs(disk).f_bavail * 4096))
        delivered.add(batch_of(100))
        assert is_known(delivered, 100), "in the place of others"
        delivered.close()


def test_a_disk_that_has_less_room_than_it_says_makes_fewer_of_them_known(opened: Opened) -> None:
    """A quota, say."""
    delivered = opened()
    delivered.add(batch_of(0))
    with refusing("pwrite", errno.EDQUOT, where="delivered", times=1):
        delivered.add(batch_of(1))
    delivered.add(batch_of(2, 100))
    assert delivered.known([*batch_of(0), *batch_of(1)]) == {*batch_of(0)[100:]}
    assert delivered.known(batch_of(2, 100)) == {*batch_of(2, 100)}


def test_a_disk_that_takes_half_of_them_leaves_the_first_ones_whole(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    delivered = opened()
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda descriptor, data, at: real(descriptor, data[:1_000], at))
    delivered.add(batch_of(0))
    monkeypatch.undo()
    assert delivered.known(batch_of(0)) == {*batch_of(0)}
    assert opened().known(batch_of(0)) == {*batch_of(0)}


def test_a_file_that_is_removed_or_replaced_while_open_is_written_back(
    directory: QueueDirectory, reports: Reports
) -> None:
    path = Path(directory.delivered)
    with consuming(directory, reports) as consumer:
        write_segment(directory, [record(1)]).seal()
        consumer.settle(read_pass(consumer).settlement(ids=["a"]))
        path.unlink()
        consumer.retire()
        assert consumer.was_delivered(["a"]) == {"a"}
        other = path.with_name("other")
        other.write_bytes(b"what somebody put there")
        other.rename(path)
        consumer.keep_books()
        assert consumer.was_delivered(["a"]) == {"a"}
    with consuming(directory, reports) as consumer:
        assert consumer.was_delivered(["a", "c"]) == {"a"}


def test_a_file_that_is_written_back_is_its_owners_and_takes_nothing_over_from_what_a_kill_has_left(
    opened: Opened, path: Path
) -> None:
    delivered = opened()
    assert path.stat().st_mode & 0o777 == 0o600
    delivered.add(batch_of(0))
    path.unlink()
    left, elsewhere = path.with_name("delivered.tmp"), path.with_name("elsewhere")
    elsewhere.write_bytes(b"somebody's")
    left.symlink_to(elsewhere)
    delivered.keep_in_place()
    assert elsewhere.read_bytes() == b"somebody's"
    os.mkfifo(left)
    path.unlink()
    delivered.keep_in_place()
    assert is_known(opened(), 0)
    left.write_bytes(bytes(200_000))
    left.chmod(0o644)
    again = opened()
    again.add(batch_of(1))
    path.unlink()
    again.keep_in_place()
    assert not left.exists()
    assert path.stat().st_size == _HEADER + lately._FIRST_ROOM
    path.unlink()
    again.keep_in_place()
    assert path.stat().st_mode & 0o777 == 0o600
    assert is_known(opened(), 1)


def test_who_lets_go_of_it_twice_closes_nothing_of_others(opened: Opened) -> None:
    delivered = opened()
    number = delivered._descriptor
    delivered.close()
    others = os.open("/dev/null", os.O_RDONLY)
    try:
        assert others == number
        assert delivered._descriptor == -1
        delivered.close()
        assert os.fstat(others)
    finally:
        os.close(others)


def test_it_is_kept_open_in_a_program_without_standard_input_too(path: Path, reports: Reports) -> None:
    def work() -> None:
        os.close(0)
        delivered = DeliveredLately(str(path), reports)
        for number in range(3):
            delivered.add(batch_of(number))
            assert delivered._descriptor == 0
        path.unlink()
        delivered.keep_in_place()
        assert path.exists()
        again = DeliveredLately(str(path), reports)
        assert again._descriptor == 0, "it was let go of"
        again.close()
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(0)

    assert exit_status(in_child(work)) == 0


def test_where_the_disk_has_no_room_for_it_nothing_is_damaged_and_it_is_made_when_there_is(
    opened: Opened, reports: Reports
) -> None:
    with refusing("pwrite", errno.ENOSPC, where="delivered"):
        delivered = opened()
        delivered.add(["a"])
        assert delivered.known(["a"]) == set()
    delivered.add(["b"])
    assert delivered.known(["a", "b"]) == {"b"}
    assert reports == []


def test_who_removes_the_whole_directory_is_not_disturbed(directory: QueueDirectory, reports: Reports) -> None:
    delivered = DeliveredLately(directory.delivered, reports)
    delivered.add(["a"])
    os.rename(directory.root, f"{directory.root}-gone")
    with pytest.raises(FileNotFoundError):
        delivered.keep_in_place()
    assert not os.path.exists(directory.root)
    delivered.close()


@pytest.mark.parametrize("trouble", ["a full disk", "something else in its place"])
def test_a_file_that_cannot_be_written_back_hinders_nothing_and_is_written_back_later(
    directory: QueueDirectory, reports: Reports, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    """What is delivered has to leave a full disk: only that makes room again."""
    path = Path(directory.delivered)
    write_segment(directory, [record(1)]).seal()
    with consuming(directory, reports) as consumer:
        consumer.settle(read_pass(consumer).settlement(ids=["a"]))
        path.unlink()
        if trouble != "a full disk":
            path.mkdir()
        with refusing("pwrite", errno.ENOSPC, where="delivered.tmp") as refusal:
            consumer.retire()
            consumer.retire()
        assert directory.segments() == []
        assert consumer.was_delivered(["a"]) == {"a"}
        assert not path.with_name("delivered.tmp").exists()
        assert refusal.count == 1, "not with each pass"
        [told] = reports.texts()
        assert f"{path} was removed or replaced, and is not written back" in told
        if path.exists():
            path.rmdir()
        monkeypatch.setattr(lately, "_RETRY_INTERVAL", 0.0)
        consumer.retire()
    with consuming(directory, reports) as consumer:
        assert consumer.was_delivered(["a"]) == {"a"}


def test_a_file_that_cannot_be_opened_when_it_is_written_back_is_still_read(
    directory: QueueDirectory, reports: Reports
) -> None:
    delivered = DeliveredLately(directory.delivered, reports)
    delivered.add(["a"])
    os.unlink(directory.delivered)
    with refusing("open", errno.EMFILE, where=lambda path: path == directory.delivered):
        delivered.keep_in_place()
    assert delivered.known(["a"]) == {"a"}
    delivered.close()


@pytest.mark.parametrize("damage", [b"", b"LOTUS", b"something that is longer than a header"])
def test_a_damaged_file_is_begun_anew(opened: Opened, path: Path, damage: bytes) -> None:
    path.write_bytes(damage)
    delivered = opened()
    assert delivered.known(["a"]) == set()
    delivered.add(["a"])
    assert delivered.known(["a"]) == {"a"}
    assert opened().known(["a"]) == {"a"}


def test_a_file_that_was_cut_off_or_has_zeros_at_its_end_holds_what_is_left(opened: Opened, path: Path) -> None:
    nobody = str(UUID(int=0))
    delivered = opened()
    delivered.add(batch_of(0))
    os.truncate(path, _HEADER + 100 * KEY + 3)
    assert delivered.known(batch_of(0)) == {*batch_of(0)[:100]}
    again = opened()
    assert again.known(batch_of(0)) == {*batch_of(0)[:100]}
    again.add(batch_of(1))
    os.truncate(path, _HEADER + 700 * KEY)
    for each in (again, opened()):
        assert each.known([nobody, *batch_of(1)]) == {*batch_of(1)}
    again.add([nobody])
    assert again.known([nobody]) == {nobody}


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: os.symlink("elsewhere", path)])
def test_something_else_in_its_place_is_told_and_hinders_nothing(
    directory: QueueDirectory, reports: Reports, make: Callable[[str], None]
) -> None:
    make(directory.delivered)
    write_segment(directory, [record(1)]).seal()
    with consuming(directory, reports) as consumer:
        assert consumer.was_delivered(["a"]) == set()
        consumer.settle(read_pass(consumer).settlement(ids=["a"]))
        consumer.retire()
        assert consumer.was_delivered(["a"]) == set()
        assert directory.segments() == []
    [told] = reports
    assert directory.delivered in str(told)
    assert "what was delivered lately is not known" in str(told)


def test_ids_that_the_disk_does_not_give_back_are_told_and_hold_no_delivery(opened: Opened, reports: Reports) -> None:
    opened().add(["a"])
    again = opened()
    with refusing("pread", errno.EIO, where="delivered"):
        assert again.known(["a", "b"]) == set()
    [told] = reports
    assert "what was delivered lately is not known" in str(told)
    assert again.known(["a", "b"]) == {"a"}


def test_what_was_added_is_synced_before_a_segment_is_deleted_for_it(
    directory: QueueDirectory, reports: Reports
) -> None:
    write_segment(directory, [record(1)]).seal()
    with consuming(directory, reports) as consumer:
        consumer.settle(read_pass(consumer).settlement(ids=["a"]))
        with refusing("fdatasync", errno.EIO, where="delivered", times=1) as refusal:
            consumer.retire()
            assert len(directory.segments()) == 1
            consumer.retire()
        assert refusal.count == 1
        assert directory.segments() == []
        with refusing("fdatasync", errno.EIO, where="delivered") as refusal:
            consumer.make_safe()
        assert refusal.count == 0, "nothing came since"
