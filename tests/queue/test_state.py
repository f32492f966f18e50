"""The state file, whose replacement is the commit point."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest

from lotus_durable.errors import QueueDamaged
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
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.journal import JournalQueue
from lotus_durable.queue.protocol import Settlement

from .conftest import OpenQueue
from .events import read_pass, record
from .faults import full_disk, replaced


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
