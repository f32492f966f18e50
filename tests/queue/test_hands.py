"""A writer against a plain model: whatever hands do to its files, no event is read twice, and none lost untold.

The flusher of the model does what the real one does: it reads on where it was in each segment, takes a carried event
only when it has not come so far in the segment where that was before, and deletes what it has read to the end and
nobody writes any more.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from lotus_durable.errors import QueueDamaged
from lotus_durable.queue.directory import QueueDirectory, released_name
from lotus_durable.queue.format import HEADER_SIZE
from lotus_durable.queue.reader import START, Position, SegmentReader

from .conftest import MEMORY_DISK
from .consuming import consuming, read_pass
from .segments import Reports, append, expire_trust, number_of, open_appender, trust, writer_of

DESTROYED = re.compile(r"events destroyed, at the most: (\d+)")


class ModelFlusher:
    """Reads all segments, again and again."""

    def __init__(self, directory: QueueDirectory) -> None:
        self.directory = directory
        self.read: list[int] = []
        self.damaged = 0
        self._positions: dict[bytes, Position] = {}

    def flush(self) -> None:
        for name in self.directory.segments():
            path = Path(self.directory.journal) / name
            reader = SegmentReader(str(path))
            if reader.header is not None:
                reader.position = self._positions.get(reader.header.id, START)
                self._read_all(reader, reader.header.id)
                self._positions[reader.header.id] = reader.position
            is_finished = reader.finished()
            reader.close()
            if is_finished:
                path.unlink()

    def _read_all(self, reader: SegmentReader, segment: bytes) -> None:
        while (stretch := reader.read(3)) is not None:
            self.damaged += stretch.damage.events if stretch.damage else 0
            self._positions[segment] = reader.position
            for index, packed in enumerate(stretch.records):
                if index in stretch.carried:
                    source, offset = stretch.carried[index]
                    there, count = self._positions.get(source, (HEADER_SIZE, 0))
                    if offset < there:
                        continue
                    self._positions[source] = (offset + 1, count + 1)
                self.read.append(number_of(packed))


class HandsMachine(RuleBasedStateMachine):
    """Events are appended, time passes, a flusher reads, and hands meddle."""

    def __init__(self) -> None:
        super().__init__()
        where = MEMORY_DISK if os.access(MEMORY_DISK, os.W_OK) else None
        self.root = Path(tempfile.mkdtemp(prefix="lotus_durable-hands-", dir=where))
        self.directory = QueueDirectory(self.root / "queue")
        self.directory.prepare()
        self.reports = Reports()
        self.flusher = ModelFlusher(self.directory)
        self.accepted = 0
        self.theirs: list[int] = []
        self.meddled = False

    @initialize(segment_bytes=st.sampled_from([4096, 100_000]), power=st.booleans())
    def choose(self, segment_bytes: int, power: bool) -> None:
        self.appender = open_appender(self.directory, self.reports, segment_bytes=segment_bytes, power=power)

    def teardown(self) -> None:
        try:
            if hasattr(self, "appender"):
                self.appender.close()
                self.flusher.flush()
                self.check_all()
        finally:
            for descriptor in self.theirs:
                os.close(descriptor)
            shutil.rmtree(self.root)

    def check_all(self) -> None:
        times = Counter(self.flusher.read)
        assert max(times.values(), default=1) == 1, times.most_common(3)
        missing = set(range(self.accepted)) - set(times)
        told = sum(int(match[1]) for text in self.reports.texts() if (match := DESTROYED.search(text)))
        assert len(missing) <= told + self.flusher.damaged, (sorted(missing), self.reports)
        assert {type(report) for report in self.reports} <= {QueueDamaged}
        if not self.meddled:
            assert missing == set()
            assert self.reports == []

    @rule(count=st.integers(1, 5), padding=st.sampled_from([0, 0, 500, 3000]))
    def append(self, count: int, padding: int) -> None:
        for _ in range(count):
            append(self.appender, self.accepted, padding=padding)
            self.accepted += 1

    @rule()
    def let_time_pass(self) -> None:
        expire_trust(self.appender)

    @rule()
    def check(self) -> None:
        self.appender.check()

    @rule()
    def flush(self) -> None:
        self.flusher.flush()

    @rule()
    def end_and_begin_again(self) -> None:
        self.appender.close()

    @precondition(lambda self: self.is_writing())
    @rule()
    def release(self) -> None:
        name = writer_of(self.appender).name
        if (Path(self.directory.journal) / name).exists():
            self.directory.let_go(name)

    def is_writing(self) -> bool:
        return hasattr(self, "appender") and self.appender.writer is not None

    # Hands

    def path_in_use(self) -> Path | None:
        self.meddled = True
        path = Path(writer_of(self.appender).path)
        for each in (path, path.with_name(released_name(path.name))):
            if each.exists():
                return each
        return None

    @precondition(lambda self: self.is_writing())
    @rule()
    def delete(self) -> None:
        if (path := self.path_in_use()) is not None:
            path.unlink()

    @precondition(lambda self: self.is_writing())
    @rule(share=st.floats(0, 1), is_noticed=st.booleans())
    def cut_off(self, share: float, is_noticed: bool) -> None:
        """The writer looks at its next event; or it writes on where its end was, and what was cut off is zeros.

        The header among it: see the last test here. The flusher of the model knows a segment by its header alone.
        """
        if (path := self.path_in_use()) is not None:
            size = int(path.stat().st_size * share)
            os.truncate(path, size)
            if is_noticed or size < HEADER_SIZE:
                expire_trust(self.appender)
            else:
                trust(self.appender)

    @precondition(lambda self: self.is_writing())
    @rule()
    def close_descriptor(self) -> None:
        self.meddled = True
        if writer_of(self.appender).own_status() is not None:
            os.close(writer_of(self.appender).descriptor)

    @precondition(lambda self: self.is_writing())
    @rule()
    def take_descriptor(self) -> None:
        self.meddled = True
        number = writer_of(self.appender).descriptor
        if writer_of(self.appender).own_status() is not None:
            theirs = os.open(self.root / f"theirs-{len(self.theirs)}", os.O_RDWR | os.O_CREAT)
            os.dup2(theirs, number)
            os.close(theirs)
            self.theirs.append(number)

    @rule()
    def delete_everything(self) -> None:
        """What nobody writes any more must have been read before: nobody could tell of it."""
        self.meddled = True
        self.flusher.flush()
        shutil.rmtree(self.directory.root, ignore_errors=True)

    # At any moment

    @invariant()
    def no_event_is_read_twice(self) -> None:
        assert len(set(self.flusher.read)) == len(self.flusher.read)


TestHands = HandsMachine.TestCase
TestHands.settings = settings(max_examples=150, stateful_step_count=30, suppress_health_check=list(HealthCheck))


def test_behind_a_header_that_was_cut_off_what_is_written_is_read_and_what_was_there_is_told(
    directory: QueueDirectory, reports: Reports
) -> None:
    appender = open_appender(directory, reports)
    append(appender, 0)
    os.truncate(writer_of(appender).path, 0)
    trust(appender)
    append(appender, 1)
    appender.close()
    with consuming(directory, reports) as consumer:
        output = read_pass(consumer)
    assert output.numbers == [1]
    assert sum(damage.events for damage in output.damages) == 1
    assert all("damage in segment" in text for text in reports.texts())
