"""Forks with hooks and without, in both backends: a child loses nothing, and takes nothing from its parent."""

from __future__ import annotations

import os
import threading
from functools import partial
from pathlib import Path

import pytest

from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.protocol import EventQueue
from tests.queue.events import assert_conserved, deliver_all, record
from tests.queue.faults import exit_status, in_child
from tests.queue.waiting import wait_until
from tests.scripts import run

from .backends import make_queue, refuse_reports
from .conftest import OpenAny

HOOKS = pytest.mark.parametrize("hooks", [True, False], ids=["with hooks", "without hooks"])
FORKS = 12


def forked(queue: EventQueue, action: partial[None], *, hooks: bool) -> int:
    if not hooks:
        return in_child(action)

    def child() -> None:
        assert queue.abandon()
        action()

    queue.before_fork()
    pid = in_child(child)
    queue.after_fork_in_parent()
    return pid


@HOOKS
def test_parent_and_child_go_on_with_the_same_queue(any_queue: EventQueue, backend: str, hooks: bool) -> None:
    any_queue.append(record(0))

    def child(first: int) -> None:
        if backend == "journal" and not hooks:
            any_queue.abandon()  # it is the client that looks at the pid there
        for number in range(first, first + 100):
            any_queue.append(record(number))
        any_queue.close()

    pids = [forked(any_queue, partial(child, first), hooks=hooks) for first in (1000, 2000, 3000)]
    for number in range(1, 100):
        any_queue.append(record(number))
    assert [exit_status(pid) for pid in pids] == [0, 0, 0]
    expected = [first + number for first in (0, 1000, 2000, 3000) for number in range(100)]
    assert sorted(deliver_all(any_queue).numbers) == expected
    assert any_queue.census().accepted == 400
    assert_conserved(any_queue.census())


@pytest.mark.usefixtures("eager_switching")
@HOOKS
def test_forks_while_threads_append_lose_nothing(
    open_any: OpenAny, backend: str, directory: QueueDirectory, hooks: bool
) -> None:
    queue = open_any()
    stop, permits = threading.Event(), threading.Semaphore(0)
    counts = [0] * 3

    def work(index: int) -> None:
        while permits.acquire() and not stop.is_set():
            queue.append(record(index * 1_000_000 + counts[index]))
            counts[index] += 1

    def child(number: int) -> None:
        queue.abandon()
        own = make_queue(backend, directory, refuse_reports)
        for each in range(20):
            own.append(record(-1 - number * 20 - each))
        own.close()

    def have_appended(total: int) -> bool:
        return sum(counts) > total

    threads = [threading.Thread(target=work, args=(index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    try:
        for number in range(FORKS):
            permits.release(60)  # enough to be busy through the fork
            wait_until(partial(have_appended, 60 * number))
            assert exit_status(forked(queue, partial(child, number), hooks=hooks)) == 0
    finally:
        stop.set()
        permits.release(len(threads))
        for thread in threads:
            thread.join(10)
    queue.close()
    expected = [index * 1_000_000 + number for index, count in enumerate(counts) for number in range(count)]
    assert sorted(deliver_all(queue).numbers) == sorted([*range(-FORKS * 20, 0), *expected])
    assert_conserved(queue.census())


@HOOKS
def test_children_that_end_in_order_take_nothing_from_their_parent(tmp_path: Path, backend: str, hooks: bool) -> None:
    """The end of an interpreter closes what is open: a child must not close its parent's."""
    result = run(
        """
        from lotus_durable.queue.directory import QueueDirectory
        from tests.queue.conformance.backends import make_queue, refuse_reports
        from tests.queue.events import deliver_all, record
        hooks, backend = sys.argv[2] == "True", sys.argv[3]
        directory = QueueDirectory(queue_dir)
        queue = make_queue(backend, directory, refuse_reports)
        found = []
        for number in range(0, 1200, 100):
            for each in range(number, number + 50):
                queue.append(record(each))
            if hooks:
                queue.before_fork()
            read, write = os.pipe()
            pid = os.fork()
            if pid == 0:
                os.close(write)
                os.read(read, 1)  # it ends when the parent has gone on
                if hooks:
                    queue.abandon()
                sys.exit(0)
            if hooks:
                queue.after_fork_in_parent()
            os.close(read)
            # Everybody else lets go of the database in between, and it is written anew.
            other = make_queue(backend, directory, refuse_reports)
            queue.close()
            other.append(record(number + 50))
            other.close()
            for each in range(number + 51, number + 100):
                queue.append(record(each))
            os.close(write)
            assert ended(pid) == 0
            if number % 300 == 0:
                found += deliver_all(queue).numbers
        found += deliver_all(queue).numbers
        assert sorted(found) == list(range(1200)), (len(found), len(set(found)))
        assert queue.census().delivered == 1200
        queue.close()
        """,
        tmp_path / "queue",
        hooks,
        backend,
    )
    assert result.returncode == 0, result.stderr


@HOOKS
def test_a_child_does_not_write_what_waits_in_its_parents_memory(open_any: OpenAny, hooks: bool) -> None:
    queue = open_any()
    queue.append(record(0))
    queue._fallback.keep(record(1), OSError("full"))  # type: ignore[attr-defined]

    def child() -> None:
        queue.abandon()
        assert queue.buffered() == 0

    assert exit_status(forked(queue, partial(child), hooks=hooks)) == 0
    assert queue.buffered() == 1
    assert queue.write_back() == 0
    assert sorted(deliver_all(queue).numbers) == [0, 1]


def test_the_end_of_a_fork_that_had_no_beginning_does_no_harm(any_queue: EventQueue) -> None:
    any_queue.after_fork_in_parent()
    any_queue.before_fork()
    any_queue.after_fork_in_parent()
    any_queue.append(record(0))
    assert deliver_all(any_queue).numbers == [0]


def test_a_child_that_inherited_a_connection_must_not_lead_and_says_why_it_cannot_count(
    directory: QueueDirectory,
) -> None:
    queue = make_queue("sqlite", directory, refuse_reports)
    queue.append(record(0))

    def child() -> None:
        for _ in range(2):  # a child of it, too
            queue.append(record(1))
            assert not queue.abandon()
            other = make_queue("sqlite", directory, refuse_reports)
            for question in (other.census, other.consumer):
                with pytest.raises(OSError, match="forked while its parent"):
                    question()
            assert other.abandon() is False
            if os.fork():
                os._exit(os.waitstatus_to_exitcode(os.wait()[1]))

    assert exit_status(in_child(child)) == 0
    assert sorted(deliver_all(queue).numbers) == [0, 1, 1]
    queue.close()


def test_a_process_that_was_forked_in_mid_import_keeps_its_events_in_the_spill(
    directory: QueueDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = make_queue("sqlite", directory, refuse_reports)
    with monkeypatch.context() as cut:
        cut.setattr("lotus_durable.imports._was_cut", True)
        queue.append(record(0))
        assert len(directory.segments()) == 1
        with pytest.raises(OSError, match="importing"):
            queue.consumer()
    assert deliver_all(queue).numbers == [0]
    queue.close()


def test_the_end_of_a_child_does_not_close_an_inherited_connection(tmp_path: Path) -> None:
    """SQLite would take locks that the child does not have, and might write an old log over what others have stored."""
    result = run(
        """
        import gc
        from lotus_durable.queue.directory import QueueDirectory
        from lotus_durable.queue.sqlite.pending import PendingQueue
        from tests.queue.conformance.backends import make_queue, refuse_reports
        from tests.queue.events import record
        close = PendingQueue.close

        def said_close(queue):
            say("closed by", os.getpid())
            close(queue)

        PendingQueue.close = said_close
        queue = make_queue("sqlite", QueueDirectory(queue_dir), refuse_reports)
        queue.append(record(0))
        pid = os.fork()
        if pid == 0:
            if sys.argv[2] == "used":
                queue.append(record(1))
            queue = None
            gc.collect()
            sys.exit(0)
        assert ended(pid) == 0
        say("parent", os.getpid())
        queue.close()
        """,
        tmp_path / "queue",
        "used",
    )
    assert result.returncode == 0, result.stderr
    [parent, closed] = result.stdout.splitlines()
    assert closed.split()[-1] == parent.split()[-1]
