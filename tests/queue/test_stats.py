"""Counting from any process: by the segments' ends and what the heartbeat says, without a database."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lotus_durable.queue import counting
from lotus_durable.queue.consumer import Consumer
from lotus_durable.queue.counting import count
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.heartbeat import Progress
from lotus_durable.queue.protocol import Settlement

from .consuming import consuming, counts, deliver, deliver_all, read_pass
from .segments import EPOCH, Reports, append, open_appender, record, write_segment


def test_a_queue_that_does_not_exist_is_empty_and_is_not_made(directory: QueueDirectory) -> None:
    nowhere = QueueDirectory(Path(directory.root) / "nowhere")
    found = count(nowhere)
    assert (found.accepted, found.pending, found.oldest_age) == (0, 0, None)
    assert not Path(nowhere.root).exists()


def test_without_a_heartbeat_all_that_lies_there_is_pending(directory: QueueDirectory, reports: Reports) -> None:
    append(open_appender(directory, reports), *range(5))
    found = count(directory)
    assert (found.accepted, found.pending, found.delivered) == (5, 5, 0)


def test_pending_bytes_are_those_of_frames_that_are_not_settled(directory: QueueDirectory, reports: Reports) -> None:
    append(open_appender(directory, reports), *range(4))
    size = 4 * (16 + len(record(0)))
    with consuming(directory, reports) as consumer:
        assert counts(directory, consumer).pending_bytes == size
        chunk = consumer.read(1)
        assert chunk is not None
        consumer.settle(Settlement({chunk.source: chunk.positions[-1]}, delivered=1))
        assert counts(directory, consumer).pending_bytes == size * 3 // 4
        deliver(consumer)
        assert counts(directory, consumer).pending_bytes == 0


def test_the_oldest_pending_event_is_found_over_all_segments(
    directory: QueueDirectory, reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lotus_durable.queue.counting.time.time", lambda: EPOCH + 10)
    write_segment(directory, [record(7), record(2)])
    write_segment(directory, [record(5), record(1)])
    with consuming(directory, reports) as consumer:
        assert counts(directory, consumer).oldest_age == 10 - 5
        chunk = consumer.read(1)
        assert chunk is not None
        consumer.settle(Settlement({chunk.source: chunk.positions[-1]}, delivered=1))
        assert counts(directory, consumer).oldest_age == 10 - 2


def test_a_record_of_another_program_has_no_age_and_is_counted(directory: QueueDirectory) -> None:
    write_segment(directory, [b"no record"])
    found = count(directory)
    assert (found.pending, found.oldest_age) == (1, None)


def test_what_is_odd_in_the_journal_is_not_waited_for(directory: QueueDirectory) -> None:
    os.mkfifo(Path(directory.journal) / "0-fifo.seg")
    (Path(directory.journal) / "0-directory.seg").mkdir()
    (Path(directory.journal) / "readme.txt").write_text("hello")
    write_segment(directory, [record(0)])
    assert count(directory).pending == 1


def test_a_segment_that_is_released_keeps_its_place_in_the_heartbeat(
    directory: QueueDirectory, reports: Reports
) -> None:
    append(open_appender(directory, reports), *range(3))
    with consuming(directory, reports) as consumer:
        deliver(consumer)
        before = consumer.progress()
        directory.let_go(directory.segments()[0])
        assert count(directory, before).pending == 0


def test_segments_retired_after_the_heartbeat_are_counted_by_it(directory: QueueDirectory, reports: Reports) -> None:
    write_segment(directory, [record(number) for number in range(5)]).seal()
    with consuming(directory, reports) as consumer:
        deliver(consumer)
        deliver(consumer)
        heartbeat = consumer.progress()
        consumer.retire()
        assert directory.segments() == []
        found = count(directory, heartbeat)
        assert (found.accepted, found.delivered, found.pending) == (5, 5, 0)


@pytest.mark.parametrize("step", ["look_at", "read_progress"])
def test_what_is_settled_and_deleted_while_somebody_counts_is_not_missing(
    directory: QueueDirectory, reports: Reports, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Counters must not go back: a rate would be made of it that never was."""
    write_segment(directory, [record(number) for number in range(5)]).seal()
    write_segment(directory, [record(number) for number in range(5, 8)])
    progress = [Progress()]
    real: dict[str, Callable[..., Any]] = {"look_at": counting.look_at, "read_progress": lambda _: progress[0]}

    def flush_first(*arguments: Any) -> Any:
        if progress == [Progress()]:
            with consuming(directory, reports) as consumer:
                deliver(consumer)
                progress[0] = consumer.progress()
                consumer.retire()
        return real[step](*arguments)

    monkeypatch.setattr(counting, "read_progress", real["read_progress"])
    monkeypatch.setattr(counting, step, flush_first)
    found = count(directory)
    assert (found.accepted, found.delivered, found.pending) == (8, 8, 0)


def test_the_cursor_of_a_segment_that_was_moved_back_is_in_the_heartbeat_again(
    directory: QueueDirectory, reports: Reports
) -> None:
    writer = write_segment(directory, [record(number) for number in range(5)])
    with consuming(directory, reports) as consumer:
        deliver(consumer)
    away = Path(writer.path).rename(Path(directory.root) / "away")
    with consuming(directory, reports) as consumer:
        read_pass(consumer)
        assert consumer.progress().cursor == {}
        away.rename(writer.path)
        read_pass(consumer)
        assert counts(directory, consumer).pending == 0


def test_counts_add_up_while_a_flusher_settles_and_a_writer_appends(
    directory: QueueDirectory, reports: Reports
) -> None:
    heartbeats: list[Progress] = [Progress()]
    stop = threading.Event()
    troubles: list[BaseException] = []

    def flush() -> None:
        try:
            with_consumer(directory, reports, heartbeats, stop)
        except BaseException as error:  # noqa: BLE001  # shown by the test
            troubles.append(error)

    flusher = threading.Thread(target=flush)
    flusher.start()
    appender = open_appender(directory, reports, segment_bytes=2048)
    accepted = 0
    for _ in range(300):
        append(appender, *range(accepted, accepted + 7))
        accepted += 7
        found = count(directory, heartbeats[-1])
        settled = found.delivered + found.parked + found.dead_lettered
        assert found.accepted == settled + found.pending
        assert found.pending >= 0
    appender.close()
    stop.set()
    flusher.join()
    assert troubles == []
    assert count(directory, heartbeats[-1]).accepted == accepted


def with_consumer(
    directory: QueueDirectory, reports: Reports, heartbeats: list[Progress], stop: threading.Event
) -> None:
    with consuming(directory, reports) as consumer:
        ends = False
        while not ends:
            ends = stop.is_set()
            deliver(consumer, limit=16)
            heartbeats.append(consumer.progress())
            consumer.retire()
        deliver_all(consumer)
        heartbeats.append(consumer.progress())


def test_the_cost_depends_on_the_number_of_segments_and_not_of_events(
    directory: QueueDirectory, reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(open_appender(directory, reports), *range(5_000))
    read = 0
    real = os.pread

    def counted(descriptor: int, size: int, offset: int) -> bytes:
        nonlocal read
        data = real(descriptor, size, offset)
        read += len(data)
        return data

    monkeypatch.setattr(os, "pread", counted)
    assert count(directory).pending == 5_000
    assert read < 16_384


def test_who_counts_needs_no_database() -> None:
    code = "import sys, lotus_durable.queue.counting; print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for name in ("sqlite3", "persistqueue", "lotus_durable.queue.books", "lotus_durable.queue.table"):
        assert f"'{name}'" not in done.stdout


def test_the_counts_of_a_consumer_and_of_its_successor_are_the_same(
    directory: QueueDirectory, reports: Reports
) -> None:
    append(open_appender(directory, reports), *range(9))
    with consuming(directory, reports) as consumer:
        output = read_pass(consumer)
        consumer.settle(output.settlement(parked=output.records[:2], dead=output.records[2:3]))
        before = consumer.progress()
    second = Consumer(directory, reports)
    assert second.progress() == before
    second.close()
