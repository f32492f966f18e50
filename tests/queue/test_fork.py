"""Forks: with hooks and without, while other threads use the queue."""

from __future__ import annotations

import errno
import os
import select
import signal
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from lotus_durable.queue.books import StoredEvent
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.journal import JournalQueue
from lotus_durable.queue.protocol import Settlement
from lotus_durable.queue.writer import is_abandoned

from .conftest import OpenQueue
from .events import assert_conserved, deliver_all, read_pass, record, stored
from .faults import exit_status, in_child, refusing
from .waiting import wait_until

FORKS = 40


class Latch:
    """Lets a process wait until another one says so: a pipe, because locks are not shared across a fork."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()

    def open(self) -> None:
        os.write(self._write, b"x")

    def wait(self) -> None:
        """Wait, and end when nobody opens it for long: the other process has failed."""
        if not select.select([self._read], [], [], 30)[0]:
            os._exit(1)
        os.read(self._read, 1)

    def close(self) -> None:
        os.close(self._read)
        os.close(self._write)


def is_alive(path: Path) -> bool:
    with open(path, "rb") as file:
        return not is_abandoned(file.fileno())


def journal_descriptors(directory: QueueDirectory) -> list[str]:
    """Return the files of this journal that this process has open."""
    found = []
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{descriptor}")
        except OSError:
            continue
        found += [target] if target.startswith(f"{directory.journal}/") else []
    return found


def test_a_child_that_abandons_leaves_the_parents_segment_alive_and_intact(
    directory: QueueDirectory, open_queue: OpenQueue
) -> None:
    queue = open_queue()
    queue.append(record(0))
    [name] = directory.segments()

    def child() -> None:
        assert queue.abandon()
        assert journal_descriptors(directory) == []
        own = open_queue()
        own.append(record(1))
        own.close()

    assert exit_status(in_child(child)) == 0
    assert is_alive(Path(directory.journal) / name)
    queue.append(record(2))
    assert sorted(deliver_all(queue).numbers) == [0, 1, 2]
    assert directory.segments() == [name]


def _have_appended(counts: list[int], total: int) -> bool:
    return sum(counts) > total


@pytest.mark.usefixtures("eager_switching")
@pytest.mark.parametrize("hooks", [True, False])
def test_forks_while_threads_append_lose_nothing(directory: QueueDirectory, open_queue: OpenQueue, hooks: bool) -> None:
    queue = open_queue(segment_bytes=5000)
    stop, permits = threading.Event(), threading.Semaphore(0)
    counts = [0] * 4

    def work(index: int) -> None:
        while permits.acquire() and not stop.is_set():
            queue.append(record(index * 1_000_000 + counts[index]))
            counts[index] += 1

    def child(number: int) -> None:
        queue.abandon()
        # Without hooks the fork may come in the middle of opening one.
        assert not hooks or journal_descriptors(directory) == []
        own = open_queue()
        own.append(record(-1 - number))
        own.close()

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    try:
        for number in range(FORKS):
            permits.release(200)  # enough to be busy through the fork
            wait_until(partial(_have_appended, counts, 200 * number))
            if hooks:
                queue.before_fork()
            pid = in_child(partial(child, number))
            if hooks:
                queue.after_fork_in_parent()
            assert exit_status(pid) == 0
    finally:
        stop.set()
        permits.release(len(threads))
        for thread in threads:
            thread.join(10)
    queue.close()
    expected = [index * 1_000_000 + number for index, count in enumerate(counts) for number in range(count)]
    output = deliver_all(queue)
    assert sorted(output.numbers) == sorted([*range(-FORKS, 0), *expected])
    assert output.damages == []
    assert directory.segments() == []


def test_a_child_that_keeps_the_descriptor_delays_nothing_once_the_parent_has_sealed(
    directory: QueueDirectory, queue: JournalQueue
) -> None:
    queue.append(record(0))
    done = Latch()
    child = in_child(done.wait)
    queue.close()
    assert deliver_all(queue).numbers == [0]
    assert directory.segments() == []
    done.open()
    assert exit_status(child) == 0
    done.close()


def test_a_child_that_keeps_the_descriptor_of_a_killed_parent_delays_only_the_deletion(
    directory: QueueDirectory, queue: JournalQueue
) -> None:
    """A fork that ran no hooks, and then the parent is killed: the lock lives on in the child."""
    ready, done = Latch(), Latch()

    def middle() -> None:
        queue.append(record(0))
        if os.fork() == 0:
            done.wait()
            os._exit(0)
        ready.open()
        signal.pause()

    pid = in_child(middle)
    ready.wait()
    os.kill(pid, signal.SIGKILL)
    assert exit_status(pid) == -signal.SIGKILL
    [name] = directory.segments()
    assert is_alive(Path(directory.journal) / name)
    consumer = queue.consumer()
    output = read_pass(consumer)
    assert output.numbers == [0]
    consumer.settle(output.settlement())
    assert read_pass(consumer).numbers == []
    assert directory.segments() == [name]
    done.open()
    wait_until(lambda: read_pass(consumer).numbers == [] and directory.segments() == [])
    consumer.close()
    assert_conserved(queue.census())
    for latch in (ready, done):
        latch.close()


def test_a_child_of_a_leader_does_not_keep_segments_locked(directory: QueueDirectory, open_queue: OpenQueue) -> None:
    """The leader holds the lock of an abandoned segment while it reads it; a fork at that moment shares it."""
    writer, leader = open_queue(), open_queue()
    for number in range(3):
        writer.append(record(number))
    writer.close()
    consumer = leader.consumer()
    chunk = consumer.read(2)
    assert chunk is not None
    reader = consumer._reader
    assert reader is not None
    assert not reader.finished()  # asks for the lock, and gets it
    done = Latch()
    child = in_child(done.wait)
    consumer.close()
    assert deliver_all(leader).numbers == [0, 1, 2]
    assert directory.segments() == []
    done.open()
    assert exit_status(child) == 0
    done.close()


def test_a_child_does_not_take_over_what_waits_in_the_parents_memory(queue: JournalQueue) -> None:
    queue.append(record(0))
    with refusing("write", errno.ENOSPC, where=".seg"):
        queue.append(record(1))

        def child() -> None:
            assert queue.buffered() == 1
            queue.abandon()
            assert queue.buffered() == 0

        assert exit_status(in_child(child)) == 0
    assert queue.write_back() == 0
    assert deliver_all(queue).numbers == [0, 1]


@pytest.fixture
def during_an_insert(queue: JournalQueue, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Runs something in the main thread while another thread has a SQLite connection open."""

    def run(action: Callable[[], None]) -> None:
        inside, go_on = threading.Event(), threading.Event()
        encode = StoredEvent.encode

        def slow(event: StoredEvent) -> bytes:
            inside.set()
            assert go_on.wait(10)
            return encode(event)

        monkeypatch.setattr(StoredEvent, "encode", slow)
        consumer = queue.consumer()
        thread = threading.Thread(target=consumer.settle, args=(Settlement(dead=[stored(record(0))]),))
        thread.start()
        assert inside.wait(10)
        timer = threading.Timer(0.05, go_on.set)
        timer.start()
        try:
            action()
        finally:
            go_on.set()
            thread.join(10)
            timer.join(10)
            consumer.close()

    return run


def test_a_child_that_inherited_an_open_connection_must_not_lead(
    queue: JournalQueue, during_an_insert: Callable[[Callable[[], None]], None]
) -> None:
    def fork_without_hooks() -> None:
        def child() -> None:
            assert queue.abandon() is False

        assert exit_status(in_child(child)) == 0

    during_an_insert(fork_without_hooks)


def test_a_fork_with_hooks_waits_until_no_connection_is_open(
    queue: JournalQueue, during_an_insert: Callable[[Callable[[], None]], None]
) -> None:
    def fork_with_hooks() -> None:
        queue.before_fork()
        pid = in_child(lambda: os._exit(0 if queue.abandon() else 1))
        queue.after_fork_in_parent()
        assert exit_status(pid) == 0

    during_an_insert(fork_with_hooks)
    assert queue.census().dead_lettered == 1


def test_the_end_of_a_fork_that_had_no_beginning_does_no_harm(queue: JournalQueue) -> None:
    queue.after_fork_in_parent()
    queue.before_fork()
    queue.after_fork_in_parent()
    queue.append(record(0))
    assert deliver_all(queue).numbers == [0]
