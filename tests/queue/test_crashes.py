"""A flusher that dies at any step leaves the books of before or of after, and nothing is lost or counted twice."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from lotus_durable.errors import LotusError
from lotus_durable.queue import database, files, reserve
from lotus_durable.queue.books import Books
from lotus_durable.queue.consumer import Consumer
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.protocol import Settlement

from .consuming import consuming, counts, deliver_all, read_pass, stored
from .faults import STRIDE, dies_at, exit_status, in_child
from .segments import Reports, append, open_appender, record, write_segment
from .waiting import wait_until

EVENTS = 24


@pytest.fixture(autouse=True)
def small_reserve(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of books are made here."""
    monkeypatch.setattr(reserve, "_LOG", 64)
    monkeypatch.setattr(reserve, "_FREE", 64)


def ignore(_error: LotusError) -> None:
    """Report to nobody."""


def prepare(directory: QueueDirectory) -> None:
    """Fill a queue: two segments without a writer, one of them with damage, one whose writer lives, and copies."""
    directory.prepare()
    write_segment(directory, [record(number) for number in range(10)]).seal()
    damaged = write_segment(directory, [record(number) for number in range(10, 14)])
    damaged.seal()
    content = bytearray(Path(damaged.path).read_bytes())
    content[len(content) // 2] ^= 0xFF
    Path(damaged.path).write_bytes(content)
    appender = open_appender(directory, ignore)
    append(appender, *range(14, EVENTS))
    directory.let_go(directory.segments()[-1])
    appender.close()


def flush(directory: QueueDirectory) -> None:
    """Do all that a flusher does to the books."""
    consumer = Consumer(directory, ignore)
    first = consumer.read(6)
    assert first is not None
    consumer.settle(
        Settlement(
            {first.source: first.positions[-1]},
            delivered=3,
            parked=[stored(each) for each in first.records[3:5]],
            dead=[stored(first.records[5])],
            delivered_ids=["a", "b", "c"],
        )
    )
    parked = consumer.page("parked", 0, 10)
    consumer.settle(Settlement(delivered=1, parked=[stored(parked[1].record, attempts=2)], resolved=parked))
    consumer.learn("host", "https://one")
    output = read_pass(consumer)
    consumer.settle(output.settlement(parked=output.records[:1], ids=["d"]))
    read_pass(consumer)
    consumer.retire()
    consumer.close()


def check(directory: QueueDirectory, reports: Reports) -> None:
    """Whatever was done before, all events are there once, and the rest can be delivered."""
    with consuming(directory, reports) as consumer:
        assert counts(directory, consumer).accepted in (EVENTS, EVENTS + 10), (
            "copies that are not yet known count twice"
        )
        output = read_pass(consumer)
        consumer.settle(output.settlement())
        deliver_all(consumer)
        found = counts(directory, consumer)
        assert found.accepted == EVENTS
        assert found.pending == 0
        assert len(consumer.page("parked", 0, 100)) == found.parked
        assert directory.segments() == []


def test_a_flusher_that_dies_at_any_step_leaves_the_books_of_before_or_of_after(
    memory_path: Path, reports: Reports
) -> None:
    model = QueueDirectory(memory_path / "model")
    prepare(model)
    step = 0
    died = True
    while died:
        directory = QueueDirectory(memory_path / f"queue-{step}")
        shutil.copytree(model.root, directory.root)
        died = dies_at(step, partial(flush, directory))
        check(directory, reports)
        shutil.rmtree(directory.root)
        step += STRIDE
    assert step > 60, "there were as many steps"


def test_a_flusher_that_dies_while_rows_go_ahead_of_their_settlement_leaves_none_of_them(
    memory_path: Path, reports: Reports
) -> None:
    model = QueueDirectory(memory_path / "model")
    model.prepare()
    write_segment(model, [record(number, padding=3_000) for number in range(EVENTS)]).seal()
    Consumer(model, reports).close()

    def park(directory: QueueDirectory) -> None:
        consumer = Consumer(directory, ignore)
        output = read_pass(consumer)
        consumer.settle(output.settlement(parked=output.records))

    step = 0
    died = True
    while died:
        directory = QueueDirectory(memory_path / f"queue-{step}")
        shutil.copytree(model.root, directory.root)
        died = dies_at(step, partial(park, directory))
        with consuming(directory, reports) as consumer:
            found = counts(directory, consumer)
            assert (found.parked, found.pending) in ((0, EVENTS), (EVENTS, 0))
            assert len(consumer.page("parked", 0, 100)) == found.parked
        shutil.rmtree(directory.root)
        step += STRIDE


def test_flushers_killed_at_any_moment_settle_every_event_once(memory_path: Path, reports: Reports) -> None:
    """By SIGKILL, also in the middle of SQLite's own system calls."""
    directory = QueueDirectory(memory_path / "queue")
    directory.prepare()
    appender = open_appender(directory, reports, segment_bytes=4096)
    random.seed(1)
    accepted = 0
    for _ in range(40):
        append(appender, *range(accepted, accepted + 50))
        accepted += 50
        started = memory_path / "started"
        child = in_child(partial(flush_for_ever, directory, started))
        wait_until(started.exists)
        started.unlink()
        spin(random.uniform(0.0, 0.02))
        os.kill(child, signal.SIGKILL)
        assert exit_status(child) == -signal.SIGKILL
    appender.close()
    with consuming(directory, reports) as consumer:
        assert counts(directory, consumer).accepted == accepted
        deliver_all(consumer)
        found = counts(directory, consumer)
        assert (found.accepted, found.pending) == (accepted, 0)
        assert found.parked == len(consumer.page("parked", 0, accepted))
        assert found.parked > 0
        assert directory.segments() == []
    assert reports == []


def flush_for_ever(directory: QueueDirectory, started: Path) -> None:
    consumer = Consumer(directory, ignore)
    started.touch()
    while True:
        chunk = consumer.read(3)
        if chunk is not None:
            refused = [stored(each) for each in chunk.records[:1]]
            delivered = len(chunk.records) - len(refused)
            consumer.settle(Settlement({chunk.source: chunk.positions[-1]}, delivered, parked=refused))
        consumer.retire()


def spin(seconds: float) -> None:
    """Let that much time pass: the moment of the kill is left to chance."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def test_what_is_deleted_was_settled_in_what_a_power_cut_leaves(
    directory: QueueDirectory, reports: Reports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut leaves at least what was synced: at each deletion that must say that the segment is settled."""
    synced = tmp_path / "synced"
    deleted: list[bytes] = []
    names: dict[str, bytes] = {}
    real_sync, real_unlink = files.sync_data, os.unlink

    def sync(descriptor: int) -> None:
        real_sync(descriptor)
        shutil.rmtree(synced, ignore_errors=True)
        synced.mkdir()
        for part in ("", "-wal"):
            shutil.copy(f"{directory.books}{part}", synced)

    def unlink(path: str | os.PathLike[str], **options: int) -> None:
        if os.fspath(path).endswith(".seg"):
            # In a child: closing a copy of the books must not disturb the open ones.
            assert exit_status(in_child(lambda: check_settled(synced, names[os.path.basename(path)]))) == 0
            deleted.append(names[os.path.basename(path)])
        real_unlink(path, **options)

    monkeypatch.setattr(database, "sync_data", sync)
    monkeypatch.setattr(os, "unlink", unlink)
    for start in range(0, 60, 10):
        writer = write_segment(directory, [record(number) for number in range(start, start + 10)])
        writer.seal()
        names[writer.name] = writer.header.id
    with consuming(directory, reports) as consumer:
        settle_and_retire_by_turns(consumer)
    assert len(deleted) == 6


def settle_and_retire_by_turns(consumer: Consumer) -> None:
    while (chunk := consumer.read(4)) is not None:
        consumer.settle(Settlement({chunk.source: chunk.positions[-1]}, delivered=len(chunk.records)))
        consumer.retire()
    consumer.retire()


def check_settled(synced: Path, segment: bytes) -> None:
    assert Books(QueueDirectory(synced), ignore).known.cursors[segment].sequence == 10


def test_every_kill_in_the_middle_of_a_system_call_of_sqlite_leaves_whole_books(
    memory_path: Path, reports: Reports
) -> None:
    """The log is cut off at each byte boundary that a killed commit can leave."""
    directory = QueueDirectory(memory_path / "queue")
    directory.prepare()
    write_segment(directory, [record(number) for number in range(10)])
    consumer = Consumer(directory, reports)
    before = _log_of(directory)
    output = read_pass(consumer)
    consumer.settle(output.settlement(parked=output.records[:3]))
    after = _log_of(directory)
    changed = [index for index in range(0, len(after), 24) if before[index : index + 24] != after[index : index + 24]]
    last = changed[-1] + 24
    copies: list[Callable[[], None]] = []
    for cut in (*range(changed[0], last, 512), last):
        root = memory_path / f"copy-{cut}"
        shutil.copytree(directory.root, root)
        (root / "books.db-shm").unlink()
        log = root / "books.db-wal"
        log.write_bytes(after[:cut] + before[cut:])
        copies.append(partial(_check_copy, QueueDirectory(root)))
    consumer.close()
    for copy in copies:
        copy()


def _log_of(directory: QueueDirectory) -> bytes:
    return Path(directory.books).with_name("books.db-wal").read_bytes()


def _check_copy(directory: QueueDirectory) -> None:
    with consuming(directory, ignore) as consumer:
        found = counts(directory, consumer)
        assert found.accepted == 10
        assert (found.delivered, found.parked) in ((0, 0), (7, 3))
        deliver_all(consumer)
        assert counts(directory, consumer).accepted == 10
