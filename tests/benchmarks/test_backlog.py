from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import backlog
from benchmarks.backlog import fill
from lotus_durable import Client
from lotus_durable.event.record import decode_record
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.reader import SegmentReader


def _ids(directory: QueueDirectory) -> Iterator[str]:
    for name in directory.segments():
        reader = SegmentReader(f"{directory.journal}/{name}")
        while (stretch := reader.read(1_000)) is not None:
            yield from (decode_record(record).idempotency_id for record in stretch.records)
        reader.close()


def test_a_filled_backlog_is_pending_and_each_event_has_an_id_of_its_own(tmp_path: Path) -> None:
    fill(tmp_path / "queue", 300)
    directory = fill(tmp_path / "queue", 200)
    with Client(queue_dir=tmp_path / "queue", flusher="external") as client:
        assert client.stats().pending == 500
    assert len(set(_ids(directory))) == 500


def test_a_backlog_that_is_larger_than_a_segment_goes_on_in_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "_SEGMENT_BYTES", 1_000)
    monkeypatch.setattr(backlog, "_EVENTS_PER_WRITE", 10)
    directory = fill(tmp_path / "queue", 25)
    assert len(directory.segments()) == 3
    assert len(set(_ids(directory))) == 25
