"""Whatever hands and flushers do to segments, in any order: each event is settled once, and the counts add up."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from lotus_durable.operate.pending import PendingReader
from lotus_durable.queue import reserve
from lotus_durable.queue.appender import Appender
from lotus_durable.queue.carry_over import write_carried
from lotus_durable.queue.consumer import Consumer
from lotus_durable.queue.contents import Ranges
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.format import FRAME_HEADER_SIZE, HEADER_SIZE, Header, decode_header, new_header
from lotus_durable.queue.protocol import Settlement
from lotus_durable.queue.reader import Chunk

from .conftest import MEMORY_DISK
from .consuming import consuming, counts, deliver, deliver_all, read_pass
from .segments import KEY, Reports, append, numbers_of, open_appender, record, write_segment


class Hands(RuleBasedStateMachine):
    """A writer, a flusher, and somebody who moves, renames and deletes the segments under both of them."""

    def __init__(self) -> None:
        super().__init__()
        folder = MEMORY_DISK if os.access(MEMORY_DISK, os.W_OK) else None
        self.root = Path(tempfile.mkdtemp(prefix="lotus_durable-", dir=folder))
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(reserve, "_LOG", 64)
        self.patch.setattr(reserve, "_FREE", 64)
        self.directory = QueueDirectory(self.root / "queue")
        self.directory.prepare()
        self.away = self.root / "away"
        self.away.mkdir()
        self.reports = Reports()
        self.appender: Appender = open_appender(self.directory, self.reports, segment_bytes=600)
        self.consumer = Consumer(self.directory, self.reports)
        self.now = 1000.0
        self.accepted = 0
        self.settled: Counter[int] = Counter()
        self.read: list[Chunk] = []

    def teardown(self) -> None:
        try:
            self._finish()
        finally:
            self.consumer.close()
            self.appender.close()
            self.patch.undo()
            shutil.rmtree(self.root, ignore_errors=True)

    @initialize()
    def begin(self) -> None:
        self.append(2, later=True)

    @rule(count=st.integers(1, 4), later=st.booleans())
    def append(self, count: int, later: bool) -> None:
        if later:
            self.now += 1.0  # the last check is too old by now
        for _ in range(count):
            self.appender.append(record(self.accepted), self.now)
            self.accepted += 1

    @rule()
    def end_writer(self) -> None:
        self.appender.close()
        self.appender = open_appender(self.directory, self.reports, segment_bytes=600)

    @rule(data=st.data())
    def move_away(self, data: Any) -> None:
        if names := self._there():
            name = data.draw(st.sampled_from(names))
            (Path(self.directory.journal) / name).rename(self._free(self.away, name))

    @rule(data=st.data())
    def move_back(self, data: Any) -> None:
        if names := sorted(os.listdir(self.away)):
            self._move_back(data.draw(st.sampled_from(names)))

    @rule(data=st.data(), number=st.integers(0, 9))
    def rename(self, data: Any, number: int) -> None:
        if names := self._there():
            name = data.draw(st.sampled_from(names))
            new = self._free(self.directory.journal, f"{number}-{name}")
            (Path(self.directory.journal) / name).rename(new)

    @rule()
    def delete_what_is_being_written(self) -> None:
        writer = self.appender.writer
        if writer is not None and Path(writer.path).exists() and writer.is_at(str(writer.path)):
            Path(writer.path).unlink()

    @rule()
    def delete_the_journal(self) -> None:
        """All of it is moved away: a new one is made."""
        for name in self._there():
            (Path(self.directory.journal) / name).rename(self._free(self.away, name))
        shutil.rmtree(self.directory.journal, ignore_errors=True)

    @precondition(lambda self: Path(self.directory.journal).is_dir())
    @rule(data=st.data())
    def let_go(self, data: Any) -> None:
        if names := [name for name in self._there() if name.endswith(".seg") and name in self.directory.segments()]:
            name = data.draw(st.sampled_from(names))
            self.directory.let_go(name)

    @rule(limit=st.integers(1, 5), chunks=st.integers(1, 3))
    def read_some(self, limit: int, chunks: int) -> None:
        for _ in range(chunks):
            if (chunk := self.consumer.read(limit)) is not None:
                assert chunk.damage is None
                self.read.append(chunk)

    @rule(count=st.integers(1, 4))
    def settle(self, count: int) -> None:
        chunks, self.read = self.read[:count], self.read[count:]
        numbers = numbers_of(each for chunk in chunks for each in chunk.records)
        through = {chunk.source: chunk.positions[-1] for chunk in chunks}
        self.consumer.settle(Settlement(through, delivered=len(numbers)))
        self.settled.update(numbers)

    @rule()
    def retire(self) -> None:
        self.consumer.retire()

    @rule()
    def restart_flusher(self) -> None:
        self.consumer.close()
        self.consumer = Consumer(self.directory, self.reports)
        self.read.clear()

    def _finish(self) -> None:
        """All comes back, and everything is delivered."""
        self.directory.prepare()
        for name in sorted(os.listdir(self.away)):
            self._move_back(name)
        self.appender.close()
        for _ in range(4):
            self.settle(len(self.read))
            while (chunk := self.consumer.read(3)) is not None:
                self.read.append(chunk)
            self.consumer.retire()
        assert self.settled == Counter(range(self.accepted))
        assert self.directory.segments() == []
        assert counts(self.directory, self.consumer).accepted == self.accepted
        assert self.consumer.progress().counts.delivered == self.accepted

    def _there(self) -> list[str]:
        try:
            return sorted(os.listdir(self.directory.journal))
        except FileNotFoundError:
            return []

    def _move_back(self, name: str) -> None:
        if Path(self.directory.journal).is_dir():
            (self.away / name).rename(self._free(self.directory.journal, name))

    @staticmethod
    def _free(folder: str | Path, name: str) -> Path:
        path = Path(folder) / name
        while path.exists():
            path = path.with_name(f"0{path.name}")
        return path


TestHands = Hands.TestCase
TestHands.settings = settings(
    max_examples=int(os.environ.get("LOTUS_TEST_EXAMPLES", "40")),
    stateful_step_count=30,
    suppress_health_check=list(HealthCheck),
)


def test_ranges_join_where_they_touch_or_overlap() -> None:
    ranges = Ranges()
    for start, end in ((10, 20), (30, 40), (20, 30), (5, 6), (35, 60)):
        ranges.add(start, end)
    assert list(ranges) == [(5, 6), (10, 60)]
    assert [offset in ranges for offset in (4, 5, 6, 10, 59, 60)] == [False, True, False, True, True, False]


def test_a_copy_of_an_event_that_is_settled_is_neither_sent_nor_counted(
    directory: QueueDirectory, reports: Reports
) -> None:
    appender = open_appender(directory, reports)
    append(appender, 0, 1, 2)
    with consuming(directory, reports) as consumer:
        assert deliver(consumer) == [0, 1, 2]
        assert consumer.in_doubt_since is None
        for name in directory.segments():
            directory.let_go(name)
        appender.check()
        append(appender, 3)
        assert deliver_all(consumer) == [3]
        assert counts(directory, consumer).accepted == 4


def test_a_copy_that_comes_first_is_sent_and_the_segment_it_came_from_is_not_when_it_is_moved_back(
    directory: QueueDirectory, reports: Reports, tmp_path: Path
) -> None:
    appender = open_appender(directory, reports)
    append(appender, 0, 1, 2)
    [name] = directory.segments()
    (Path(directory.journal) / name).rename(tmp_path / name)
    appender.check()
    with consuming(directory, reports) as consumer:
        assert deliver_all(consumer) == [0, 1, 2]
        assert consumer.in_doubt_since is not None
    with consuming(directory, reports) as consumer:
        (tmp_path / name).rename(Path(directory.journal) / name)
        assert deliver_all(consumer) == []
        assert counts(directory, consumer).accepted == 3
        assert directory.segments() == []


def test_while_a_copy_is_being_sent_the_event_it_is_a_copy_of_is_held_back(
    directory: QueueDirectory, reports: Reports, tmp_path: Path
) -> None:
    appender = open_appender(directory, reports)
    append(appender, 0, 1)
    [name] = directory.segments()
    (Path(directory.journal) / name).rename(tmp_path / name)
    appender.check()
    with consuming(directory, reports) as consumer:
        first = read_pass(consumer)
        assert first.numbers == [0, 1]
        (tmp_path / name).rename(Path(directory.journal) / name)
        assert read_pass(consumer).records == []
        assert consumer.has_pending(), "it waits"
    with consuming(directory, reports) as consumer:
        assert deliver_all(consumer) == [0, 1], "nothing was settled, so nothing was passed over"
        assert counts(directory, consumer).accepted == 2


def carried_copies(directory: QueueDirectory, numbers: range, source: Header) -> Path:
    """Write copies of events that were in a segment, one after another from its beginning."""
    places: list[tuple[int, bytes]] = []
    offset = HEADER_SIZE
    for number in numbers:
        places.append((offset, record(number)))
        offset += FRAME_HEADER_SIZE + len(record(number))
    name, _ = write_carried(directory, source, [*places], sync=False)
    return Path(directory.journal) / name


def test_damage_among_copies_is_one_dead_letter_and_hides_none_behind_it(
    directory: QueueDirectory, reports: Reports
) -> None:
    path = carried_copies(directory, range(5), new_header(1, KEY))
    data = path.read_bytes()
    path.write_bytes(data.replace(b"id-2", b"id-X"))
    with consuming(directory, reports) as consumer:
        output = read_pass(consumer)
        assert output.numbers == [0, 1, 3, 4]
        assert [damage.events for damage in output.damages] == [1]
        consumer.settle(output.settlement())
        consumer.retire()
        assert directory.segments() == []
        found = counts(directory, consumer)
        assert (found.accepted, found.delivered, found.dead_lettered) == (5, 4, 1)


def test_what_comes_before_an_event_that_is_held_back_is_given(
    directory: QueueDirectory, reports: Reports, tmp_path: Path
) -> None:
    appender = open_appender(directory, reports)
    append(appender, 0, 1)
    [name] = directory.segments()
    moved = (Path(directory.journal) / name).rename(tmp_path / name)
    header = decode_header(moved.read_bytes()[:HEADER_SIZE])
    assert header is not None
    second = carried_copies(directory, range(2), header)  # another writer's copies of the same two
    second = second.rename(second.with_name(f"1-{second.name}"))
    appender.check()
    with consuming(directory, reports) as consumer:
        first = read_pass(consumer)
        assert first.numbers == [0, 1], "the other copies are held back"
        assert read_pass(consumer).records == []
        consumer.settle(first.settlement())
        assert deliver_all(consumer) == []
        assert counts(directory, consumer).accepted == 2


def test_copies_can_be_settled_one_by_one(directory: QueueDirectory, reports: Reports) -> None:
    carried_copies(directory, range(4), new_header(1, KEY))
    with consuming(directory, reports) as consumer:
        chunk = consumer.read(10)
        assert chunk is not None
        assert len(chunk.positions) == len(chunk.records) == 4
        for position in chunk.positions[:3]:
            consumer.settle(Settlement({chunk.source: position}, delivered=1))
            counts(directory, consumer)
    with consuming(directory, reports) as consumer:
        assert deliver_all(consumer) == [3]
        assert counts(directory, consumer).accepted == 4


def test_two_segments_that_lost_their_headers_are_two(directory: QueueDirectory, reports: Reports) -> None:
    for numbers in (range(3), range(3, 5)):
        writer = write_segment(directory, [record(number) for number in numbers])
        writer.seal()
        path = Path(writer.path)
        path.write_bytes(bytes(HEADER_SIZE) + path.read_bytes()[HEADER_SIZE:])
    with consuming(directory, reports) as consumer:
        assert sorted(deliver_all(consumer)) == [0, 1, 2, 3, 4]
        assert counts(directory, consumer).accepted == 5
        assert directory.segments() == []


def test_copies_of_what_was_delivered_from_a_segment_that_is_deleted_are_nowhere_shown_as_pending(
    directory: QueueDirectory, reports: Reports
) -> None:
    writer = write_segment(directory, [record(number) for number in range(3)])
    writer.seal()
    with consuming(directory, reports) as consumer:
        assert deliver_all(consumer) == [0, 1, 2]
    assert directory.segments() == []
    carried_copies(directory, range(4), writer.header)
    assert numbers_of([found.record for found in PendingReader(directory, reports)]) == [3]
    with consuming(directory, reports) as consumer:
        assert deliver_all(consumer) == [3]
