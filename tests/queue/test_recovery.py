"""A crash at every step, and state that is damaged, newer or gone: what was before or what was after, nothing lost."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lotus_durable.errors import LotusError, QueueDamaged
from lotus_durable.queue import cursor
from lotus_durable.queue.cursor import (
    State,
    StoreMarks,
    decode_state,
    encode_state,
    load_state,
    read_signature,
    reserve_slots,
    save_state,
)
from lotus_durable.queue.directory import QueueDirectory, failed_mark
from lotus_durable.queue.journal import JournalQueue
from lotus_durable.queue.protocol import Census, Consumer, LeadershipLost, Settlement

from .conftest import OpenQueue
from .events import Reports, assert_conserved, deliver_all, numbers_of, parked_rows, read_pass, record
from .faults import dies_at, full_disk, refusing, replaced

# A crash at every step of a settlement


def make_queue(directory: QueueDirectory, *, sync_interval: float = 0.0) -> JournalQueue:
    def report(error: LotusError) -> None:
        raise AssertionError(f"reported: {error}")

    return JournalQueue(
        directory,
        segment_bytes=400,
        max_queue_bytes=1 << 30,
        power=False,
        sync_interval=sync_interval,
        report=report,
    )


def prepare_queue(directory: QueueDirectory) -> None:
    """Make a queue with something of everything: 30 events, of which 10 are settled, with rows in both tables."""
    queue = make_queue(directory)
    for number in range(10):
        queue.append(record(number))
    consumer = queue.consumer()
    output = read_pass(consumer)
    consumer.settle(output.settlement(parked=output.records[:3], dead=output.records[3:5]))
    consumer.close()
    for number in range(10, 30):
        queue.append(record(number))
    queue.close()


def settle_everything(directory: QueueDirectory) -> None:
    """Settle the 20 pending events and two of the parked ones, at once, and retire the segments."""
    consumer = make_queue(directory).consumer()
    output = read_pass(consumer)
    settlement = output.settlement(parked=output.records[:4], dead=output.records[4:6])
    consumer.settle(replace(settlement, delivered=settlement.delivered + 2, resolved=consumer.parked(0, 2)))
    read_pass(consumer)


def settle_without_rows(directory: QueueDirectory) -> None:
    """Settle in small steps that are not durable each."""
    consumer = make_queue(directory, sync_interval=1000.0).consumer()
    while (chunk := consumer.read(5)) is not None:
        consumer.settle(Settlement({chunk.source: chunk.positions[-1]}, delivered=len(chunk.records)))


BEFORE = Census(30, 5, 20, 3, 2, 0, 0, None)
AFTER = Census(30, 21, 0, 5, 4, 0, 0, None)


def counts(census: Census) -> Census:
    return replace(census, pending_bytes=0, oldest_accepted_at=None)


def check_nothing_is_lost(directory: QueueDirectory) -> Census:
    """Check what the next leader finds against what the census says, and let it finish."""
    queue = make_queue(directory)
    census = queue.census()
    assert_conserved(census)
    consumer = queue.consumer()
    assert counts(queue.census()) == counts(census)
    parked = [event.record for event in parked_rows(consumer)]
    dead = [event.record for event in queue._store.page("dead", 0, load_state(directory).dead.high, 1000)]
    output = read_pass(consumer)
    assert (len(parked), len(dead), len(output.records)) == (census.parked, census.dead_lettered, census.pending)
    known = [*numbers_of(parked), *numbers_of(dead), *output.numbers]
    assert len(set(known)) == len(known)
    assert len(known) + census.delivered == 30
    consumer.settle(output.settlement())
    consumer.close()
    consumer = queue.consumer()
    assert read_pass(consumer).numbers == []
    consumer.close()
    assert counts(queue.census()) == replace(
        counts(census), pending=0, delivered=census.delivered + len(output.records)
    )
    assert directory.segments() == []
    assert list(directory.quarantine.iterdir()) == []
    return counts(census)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> QueueDirectory:
    import persistqueue  # noqa: F401  # once here, and not once in each child

    directory = QueueDirectory(tmp_path_factory.mktemp("prepared") / "queue")
    prepare_queue(directory)
    return directory


@pytest.fixture
def fresh(prepared: QueueDirectory, memory_path: Path) -> Callable[[], QueueDirectory]:
    """Makes a copy of the prepared queue, in the place of the last one."""

    def copy() -> QueueDirectory:
        shutil.rmtree(memory_path / "copy", ignore_errors=True)
        shutil.copytree(prepared.root, memory_path / "copy")
        return QueueDirectory(memory_path / "copy")

    return copy


def test_a_leader_that_dies_at_any_step_leaves_the_state_of_before_or_of_after(
    fresh: Callable[[], QueueDirectory],
) -> None:
    found: list[Census] = []
    for step in range(10_000):
        directory = fresh()
        if not dies_at(step, lambda directory=directory: settle_everything(directory)):  # type: ignore[misc]
            break
        found.append(check_nothing_is_lost(directory))
    switch = found.index(AFTER)
    assert found == [BEFORE] * switch + [AFTER] * (len(found) - switch)
    # Many steps lie before the commit, and many behind it, or this test has not tested anything.
    assert min(switch, len(found) - switch) > 10


def test_a_leader_that_dies_between_commits_that_are_not_durable_repeats_one_step_at_most(
    fresh: Callable[[], QueueDirectory],
) -> None:
    delivered: list[int] = []
    for step in range(10_000):
        directory = fresh()
        if not dies_at(step, lambda directory=directory: settle_without_rows(directory)):  # type: ignore[misc]
            break
        delivered.append(check_nothing_is_lost(directory).delivered)
    assert delivered == sorted(delivered)
    assert len(set(delivered)) >= 4


def test_a_new_leader_that_dies_while_it_recovers_is_no_worse(fresh: Callable[[], QueueDirectory]) -> None:
    """Dies behind the insertion of rows, and the next one at each step of undoing that."""

    def settle_and_fail(directory: QueueDirectory) -> None:
        consumer = make_queue(directory).consumer()
        output = read_pass(consumer)
        with refusing("replace", errno.EIO), pytest.raises(OSError, match="Input/output"):
            consumer.settle(output.settlement(parked=output.records[:4], dead=output.records[4:6]))

    def recover(directory: QueueDirectory) -> None:
        make_queue(directory).consumer()

    for step in range(10_000):
        directory = fresh()
        settle_and_fail(directory)
        if not dies_at(step, lambda directory=directory: recover(directory)):  # type: ignore[misc]
            break
        assert check_nothing_is_lost(directory) == BEFORE
    assert step > 20


def test_a_writer_that_dies_at_any_step_leaves_what_it_acknowledged(memory_path: Path) -> None:
    """Also while it creates the directory and while it rotates."""

    def append_ten(directory: QueueDirectory, acknowledged: Path) -> None:
        queue = make_queue(directory)
        descriptor = os.open(acknowledged, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for number in range(10):
            queue.append(record(number))
            os.write(descriptor, b"%d\n" % number)
        queue.close()

    steps = 0
    for step in range(10_000):
        directory, acknowledged = QueueDirectory(memory_path / f"{step}" / "queue"), memory_path / f"{step}.txt"
        died = dies_at(step, lambda d=directory, a=acknowledged: append_ten(d, a))  # type: ignore[misc]
        said = [int(line) for line in acknowledged.read_text().split()] if acknowledged.exists() else []
        queue = make_queue(directory)
        numbers = deliver_all(queue).numbers
        assert numbers[: len(said)] == said
        assert len(numbers) - len(said) <= 1
        if not died:
            break
        steps += 1
    assert steps > 40
    assert said == list(range(10))


# Two leaders


def test_a_leader_that_was_overtaken_notices_at_its_next_commit(queue: JournalQueue) -> None:
    for number in range(4):
        queue.append(record(number))
    stale = queue.consumer()
    output = read_pass(stale)
    other = queue.consumer()
    with pytest.raises(LeadershipLost):
        stale.settle(output.settlement(parked=output.records))
    census = queue.census()
    assert (census.pending, census.parked) == (4, 0)
    # It has left no rows behind that the other would take for its own.
    output = read_pass(other)
    other.settle(output.settlement(parked=output.records[:1]))
    assert len(parked_rows(other)) == 1
    for consumer in (stale, other):
        consumer.close()
    assert deliver_all(queue).numbers == []


def test_a_leader_overtaken_within_one_tick_of_the_clock_notices_too(queue: JournalQueue) -> None:
    """Two commits in place change neither the inode nor, perhaps, the time of the file."""
    stale = queue.consumer()
    stale.settle(Settlement(delivered=0))
    status = os.stat(queue.directory.recent_state)
    state = load_state(queue.directory)
    save_state(queue.directory, replace(state, generation=state.generation + 1), durable=False)
    os.utime(queue.directory.recent_state, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(LeadershipLost):
        stale.settle(Settlement())
    stale.close()


# Damaged, newer or missing state


def settled_queue(queue: JournalQueue) -> Consumer:
    """Return the consumer of a queue with 6 events: 1 delivered, 2 parked, 1 dead, 2 pending."""
    for number in range(4):
        queue.append(record(number))
    consumer = queue.consumer()
    output = read_pass(consumer)
    consumer.settle(output.settlement(parked=output.records[:2], dead=output.records[2:3]))
    for number in range(4, 6):
        queue.append(record(number))
    return consumer


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "gone"])
def test_without_a_state_everything_is_sent_again_and_no_row_is_lost(
    directory: QueueDirectory, queue: JournalQueue, reports: Reports, damage: str
) -> None:
    settled_queue(queue).close()
    data = directory.state.read_bytes()
    if damage == "gone":
        directory.state.unlink()
    else:
        directory.state.write_bytes({"flipped": data[:20] + b"~" + data[21:], "cut": data[:-20], "empty": b""}[damage])
    consumer = queue.consumer()
    assert [type(error) for error in reports] == [QueueDamaged]
    assert "will be sent again" in str(reports[0])
    assert numbers_of(event.record for event in parked_rows(consumer)) == [0, 1]
    output = read_pass(consumer)
    assert output.numbers == list(range(6))
    assert_conserved(queue.census())
    consumer.settle(output.settlement())
    census = queue.census()
    assert_conserved(census)
    assert (census.delivered, census.parked, census.dead_lettered, census.pending) == (6, 2, 1, 0)
    consumer.close()
    kept = [path for path in directory.root.iterdir() if "damaged" in path.name]
    assert len(kept) == (0 if damage == "gone" else 1)


def test_old_commits_do_not_come_back_after_starting_over(directory: QueueDirectory, queue: JournalQueue) -> None:
    """The new state must be above what is left of the old one in ``state.recent``."""
    consumer = settled_queue(queue)
    for _ in range(20):
        consumer.settle(Settlement())
    consumer.close()
    before = load_state(directory).generation
    directory.state.write_bytes(b"damaged")
    consumer = queue.consumer()
    assert load_state(directory).generation > before
    assert queue.census().delivered == 0
    consumer.close()


def test_slots_that_cannot_be_reserved_are_the_disks_refusal(directory: QueueDirectory) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with refusing("posix_fallocate", errno.ENOSPC), pytest.raises(OSError, match="No space"):
        reserve_slots(directory)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_leader_that_dies_while_it_starts_over_loses_no_row(
    directory: QueueDirectory, queue: JournalQueue, memory_path: Path
) -> None:
    settled_queue(queue).close()
    queue.close()
    directory.state.write_bytes(b"damaged")
    for step in range(10_000):
        copy = QueueDirectory(memory_path / f"copy-{step}")
        shutil.copytree(directory.root, copy.root)
        again = JournalQueue(
            copy, segment_bytes=1000, max_queue_bytes=1 << 30, power=False, sync_interval=0.0, report=Reports()
        )
        died = dies_at(step, lambda again=again: again.consumer())  # type: ignore[misc]
        consumer = again.consumer()
        assert len(parked_rows(consumer)) == 2
        assert read_pass(consumer).numbers == list(range(6))
        census = again.census()
        assert_conserved(census)
        assert (census.parked, census.dead_lettered) == (2, 1)
        consumer.close()
        shutil.rmtree(copy.root)
        if not died:
            break
    assert step > 20


def test_a_state_of_a_newer_version_is_not_touched(
    directory: QueueDirectory, queue: JournalQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled_queue(queue).close()
    for durable in (True, False):
        with monkeypatch.context() as newer:
            newer.setattr(cursor, "VERSION", 2)
            save_state(directory, State(generation=1000), durable=durable)
        files = {path: path.read_bytes() for path in (directory.state, directory.recent_state)}
        with pytest.raises(QueueDamaged, match="newer version"):
            queue.consumer()
        assert {path: path.read_bytes() for path in files} == files
        directory.state.write_bytes(encode_state(State()))


def test_the_first_leader_of_a_new_queue_reports_nothing(queue: JournalQueue, reports: Reports) -> None:
    queue.append(record(0))
    consumer = queue.consumer()
    assert reports == []
    assert load_state(queue.directory).generation == 1
    consumer.close()


# A store that is damaged or gone


def test_a_damaged_store_is_set_aside_and_delivery_goes_on(
    directory: QueueDirectory, queue: JournalQueue, reports: Reports
) -> None:
    settled_queue(queue).close()
    (directory.store / "events.db").write_bytes(b"no database" * 1000)
    consumer = queue.consumer()
    assert [type(error) for error in reports] == [QueueDamaged]
    assert "3 events were in it" in str(reports[0])
    census = queue.census()
    assert_conserved(census)
    assert (census.parked, census.dead_lettered, census.discarded) == (0, 0, 3)
    output = read_pass(consumer)
    consumer.settle(output.settlement(parked=output.records))
    assert len(parked_rows(consumer)) == 2
    assert_conserved(queue.census())
    consumer.close()
    assert [path.name for path in directory.store.iterdir() if "damaged" in path.name] != []


def test_a_store_damaged_under_a_leader_is_set_aside_too(
    directory: QueueDirectory, queue: JournalQueue, reports: Reports
) -> None:
    consumer = settled_queue(queue)
    (directory.store / "events.db").write_bytes(b"no database" * 1000)
    output = read_pass(consumer)
    consumer.settle(output.settlement(dead=output.records))
    assert len(reports) == 1
    census = queue.census()
    assert_conserved(census)
    assert (census.dead_lettered, census.discarded) == (2, 3)
    consumer.close()
    assert deliver_all(queue).numbers == []
    assert queue.census() == census


def test_a_damaged_state_and_a_damaged_store_together_lose_no_pending_event(
    directory: QueueDirectory, queue: JournalQueue, reports: Reports
) -> None:
    settled_queue(queue).close()
    directory.state.write_bytes(b"damaged")
    (directory.store / "events.db").write_bytes(b"no database" * 1000)
    assert deliver_all(queue).numbers == list(range(6))
    assert len(reports) == 2
    assert_conserved(queue.census())


def test_a_store_deleted_by_hand_is_reported_and_counted_as_discarded(
    directory: QueueDirectory, queue: JournalQueue, reports: Reports
) -> None:
    settled_queue(queue).close()
    (directory.store / "events.db").unlink()
    consumer = queue.consumer()
    assert ["somebody else changed it" in text for text in reports.texts()] == [True]
    census = queue.census()
    assert_conserved(census)
    assert (census.parked, census.dead_lettered, census.discarded) == (0, 0, 3)
    consumer.close()
    queue.consumer().close()
    assert len(reports) == 1


def test_rows_deleted_by_hand_are_reported_and_counted_as_discarded(queue: JournalQueue, reports: Reports) -> None:
    settled_queue(queue).close()
    queue._store.delete("parked", [1])
    consumer = queue.consumer()
    census = queue.census()
    assert_conserved(census)
    assert (census.parked, census.dead_lettered, census.discarded) == (1, 1, 1)
    assert len(reports) == 1
    assert len(parked_rows(consumer)) == 1
    consumer.close()


def test_rows_that_should_be_gone_do_not_come_back(queue: JournalQueue, reports: Reports) -> None:
    consumer = settled_queue(queue)
    rows = consumer.parked(0, 1)
    with pytest.MonkeyPatch.context() as patch:

        def refuse(*_arguments: object) -> None:
            raise OSError(errno.EIO, "injected")

        patch.setattr(queue._store, "delete", refuse)
        consumer.settle(Settlement(delivered=1, resolved=rows))
    assert numbers_of(event.record for event in parked_rows(consumer)) == [1]
    assert numbers_of(event.record for event in consumer.parked(0, 1)) == [1]
    assert queue._store.count("parked", 100) == 2
    consumer.close()
    consumer = queue.consumer()
    assert numbers_of(event.record for event in parked_rows(consumer)) == [1]
    assert queue._store.count("parked", 100) == 1
    census = queue.census()
    assert_conserved(census)
    assert (census.delivered, census.parked) == (2, 1)
    assert reports == []
    consumer.close()


# Leftovers


def age(path: Path, seconds: float = 120.0) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


@pytest.mark.parametrize("name", ["journal/0-1-c1000000.new", "state.77-aa.tmp", "leader.json.77-aa.tmp"])
def test_old_leftovers_of_a_crash_are_removed_and_young_ones_are_not(
    directory: QueueDirectory, queue: JournalQueue, name: str
) -> None:
    path = directory.root / name
    path.touch()
    queue.consumer().close()
    assert path.exists()
    age(path)
    queue.consumer().close()
    assert not path.exists()


def test_an_old_unfinished_segment_that_somebody_holds_is_left_alone(
    directory: QueueDirectory, queue: JournalQueue
) -> None:
    import fcntl

    path = directory.journal / "0-1-c1000000.new"
    with open(path, "wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        age(path)
        queue.consumer().close()
        assert path.exists()
    queue.consumer().close()
    assert not path.exists()


def test_marks_for_writers_of_segments_that_are_gone_are_removed(
    directory: QueueDirectory, queue: JournalQueue
) -> None:
    queue.append(record(0))
    [name] = directory.segments()
    living, orphan = directory.journal / failed_mark(name), directory.journal / failed_mark("0-1-c1000000.seg")
    living.touch()
    orphan.touch()
    queue.consumer().close()
    assert (living.exists(), orphan.exists()) == (True, False)


def test_a_writer_whose_unfinished_segment_was_taken_away_makes_another(queue: JournalQueue) -> None:
    real = os.rename

    def take_away(source: str, target: str) -> None:
        os.unlink(source)
        real(source, target)

    with replaced("rename", take_away, where=".new", times=1) as renames:
        queue.append(record(0))
    assert renames.count == 1
    assert deliver_all(queue).numbers == [0]


# The order of things, for a power cut


def test_a_deleted_segment_is_durably_gone_before_the_state_forgets_it(
    directory: QueueDirectory, queue: JournalQueue
) -> None:
    queue.append(record(0))
    queue.close()
    consumer = queue.consumer()
    output = read_pass(consumer)
    steps: list[str] = []
    real_unlink, real_sync, real_replace = os.unlink, os.fsync, os.replace

    def unlink(path: str) -> None:
        steps.append("delete")
        real_unlink(path)

    def sync(descriptor: int) -> None:
        steps.append("sync")
        real_sync(descriptor)

    def commit(source: str, target: str) -> None:
        steps.append("commit, retired: " + str(len(decode_state(Path(source).read_bytes()).retired)))
        real_replace(source, target)

    consumer._durable_at = float("-inf")
    with (
        replaced("unlink", unlink, where=".seg"),
        replaced("fsync", sync, where=lambda path: path == str(directory.journal)),
        replaced("replace", commit, where="state"),
    ):
        consumer.settle(output.settlement())
        consumer._durable_at = float("-inf")
        consumer.settle(Settlement())
    consumer.close()
    # The segment, and the mark for its writer if there were one.
    assert steps == ["commit, retired: 1", "delete", "delete", "sync", "commit, retired: 0"]


# The state file


def test_a_state_comes_back_as_it_was_written() -> None:
    state = State(
        generation=3,
        cursor={"b.seg": (17, 2), "a.seg": (32, 0)},
        retired=("c.seg",),
        accepted=9,
        delivered=5,
        discarded=1,
        parked=StoreMarks(7, (3, 4), 2),
        dead=StoreMarks(1, (), 1),
    )
    assert decode_state(encode_state(state)) == state


def test_no_flipped_bit_of_a_state_goes_unnoticed() -> None:
    data = encode_state(State(cursor={"a.seg": (17, 2)}))
    for bit in range(8 * (len(data) - 1)):  # the newline at the end says nothing
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(QueueDamaged):
            decode_state(bytes(damaged))


def test_the_newest_of_the_three_places_counts(directory: QueueDirectory) -> None:
    assert load_state(directory) == State()
    for generation, durable in enumerate([True, False, False, False, True, False], start=1):
        save_state(directory, State(generation=generation), durable=durable)
        assert load_state(directory).generation == generation


def test_a_torn_slot_leaves_the_commit_before_it(directory: QueueDirectory) -> None:
    for generation in range(1, 5):
        save_state(directory, State(generation=generation, delivered=generation), durable=generation == 1)
    whole = directory.recent_state.read_bytes()
    slot = len(whole) // 2
    data = encode_state(State(generation=5, delivered=5))
    for size in range(len(data)):
        torn = data[:size] + whole[slot + size :]
        if torn.startswith(data):
            break  # what is left of the old one is the same
        directory.recent_state.write_bytes(whole[:slot] + torn)
        assert load_state(directory).generation == 4
    directory.recent_state.write_bytes(whole[:slot] + data + whole[slot + len(data) :])
    assert load_state(directory).generation == 5


def test_a_commit_torn_by_a_crash_does_not_touch_the_one_before(directory: QueueDirectory) -> None:
    real = os.pwrite

    def tear(descriptor: int, data: bytes, offset: int) -> int:
        real(descriptor, data[:4], offset)
        raise OSError(errno.EIO, "injected")

    for generation in range(1, 10):
        save_state(directory, State(generation=generation), durable=False)
        with replaced("pwrite", tear), pytest.raises(OSError, match="injected"):
            save_state(directory, State(generation=generation + 1), durable=False)
        assert load_state(directory).generation == generation


def test_a_state_too_large_for_a_slot_is_committed_durably(directory: QueueDirectory) -> None:
    large = State(generation=1, cursor={f"{number}.seg": (32, 0) for number in range(3000)})
    assert save_state(directory, large, durable=False)
    assert load_state(directory) == large
    with full_disk(str(directory.root)), pytest.raises(OSError, match="No space"):
        save_state(directory, replace(large, generation=2), durable=True)
    assert load_state(directory) == large


def test_reserving_slots_keeps_what_is_in_them(directory: QueueDirectory) -> None:
    reserve_slots(directory)
    size = directory.recent_state.stat().st_size
    assert directory.recent_state.stat().st_blocks * 512 >= size > 0
    save_state(directory, State(generation=1), durable=False)
    reserve_slots(directory)
    assert load_state(directory).generation == 1
    assert directory.recent_state.stat().st_size == size


def test_every_commit_changes_the_signature(directory: QueueDirectory) -> None:
    seen = {read_signature(directory)}
    for generation in range(1, 10):
        save_state(directory, State(generation=generation), durable=generation % 3 == 0)
        seen.add(read_signature(directory))
    assert len(seen) == 10


def test_a_busy_leader_pays_for_a_sync_only_now_and_then(open_queue: OpenQueue) -> None:
    queue = open_queue(sync_interval=1000.0)
    consumer = queue.consumer()
    with replaced("fsync", os.fsync) as syncs:
        for _ in range(50):
            consumer.settle(Settlement(delivered=0))
        assert syncs.count == 0
        consumer._durable_at -= 1000.0
        consumer.settle(Settlement())
        assert syncs.count == 2  # the data and the name
    consumer.close()
