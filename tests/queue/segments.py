"""Segments to write and to read, and what was reported meanwhile."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable

import msgpack
import pytest

from lotus_durable.errors import LotusError
from lotus_durable.queue.appender import Appender
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.format import Origin
from lotus_durable.queue.limit import QueueLimit
from lotus_durable.queue.reader import Damage, SegmentReader
from lotus_durable.queue.sqlite import SqliteAppender
from lotus_durable.queue.writer import SegmentWriter

EPOCH = 1_700_000_000.0
"""When event 0 was accepted."""
KEY = b"key's id"
"""The fingerprint of the API key in tests."""


def record(number: int, padding: int = 0) -> bytes:
    """Return the record of event ``number``, longer by about ``padding`` bytes."""
    fields = [f"id-{number}", "customer", "event", "2026-01-01T00:00:00Z", {"p": "x" * padding}, EPOCH + number]
    packed: bytes = msgpack.packb(fields)
    return packed


def number_of(packed: bytes) -> int:
    """Return the number of the event in a record."""
    return int(msgpack.unpackb(packed)[0].removeprefix("id-"))


def numbers_of(packed: Iterable[bytes]) -> list[int]:
    return [number_of(each) for each in packed]


class Reports(list[LotusError]):
    """What was reported, to be called like ``on_error``."""

    def __call__(self, error: LotusError) -> None:
        self.append(error)

    def texts(self) -> list[str]:
        return [str(error) for error in self]


def open_appender(
    directory: QueueDirectory,
    report: Callable[[LotusError], None],
    *,
    limit: QueueLimit | None = None,
    power: bool = False,
    segment_bytes: int = 1 << 20,
    identify: Callable[[], object] = lambda: None,
) -> Appender:
    """Return an appender like a process's own."""
    limit = limit or QueueLimit(directory, 1 << 30)
    return Appender(
        directory,
        limit,
        key=KEY,
        identify=identify,
        power=power,
        report=report,
        sealed={},
        segment_bytes=segment_bytes,
    )


def open_sqlite(
    directory: QueueDirectory,
    report: Callable[[LotusError], None],
    *,
    power: bool = False,
    limit: int = 1 << 30,
    key: bytes = KEY,
) -> SqliteAppender:
    """Return one that tries SQLite first."""
    return SqliteAppender(
        directory,
        QueueLimit(directory, limit),
        key=key,
        identify=lambda: None,
        power=power,
        report=report,
        sealed={},
    )


def append(appender: Appender, *numbers: int, padding: int = 0) -> None:
    """Append events as a process does that has nothing else to do: safe on return."""
    for number in numbers:
        packed = record(number, padding)
        mark = appender.append(packed, time.monotonic())
        if mark is not None:
            try:
                appender.sync(mark)
            except OSError:
                appender.append_again(packed, time.monotonic(), mark)


def write_segment(directory: QueueDirectory, records: Iterable[bytes]) -> SegmentWriter:
    """Write a segment whose writer lives; the caller seals it."""
    writer = SegmentWriter(directory, KEY, sync=False)
    for each in records:
        writer.append(each)
    return writer


def read_segment(path: str | os.PathLike[str]) -> tuple[list[bytes], list[Damage]]:
    """Read what can be read of one segment now."""
    reader = SegmentReader(os.fspath(path))
    records: list[bytes] = []
    damages: list[Damage] = []
    while (stretch := reader.read(64)) is not None:
        records += stretch.records
        if stretch.damage is not None:
            damages.append(stretch.damage)
    reader.close()
    return records, damages


def read_journal(directory: QueueDirectory) -> list[int]:
    """Return the numbers of all events in the journal, as a flusher takes them that has read nothing before.

    Carried events that are still where they were count once.
    """
    numbers: list[int] = []
    seen: set[Origin] = set()
    for name in directory.segments():
        reader = SegmentReader(f"{directory.journal}/{name}")
        assert reader.header is not None
        while True:
            before = reader.position
            stretch = reader.read(1)
            if stretch is None:
                break
            assert stretch.damage is None, stretch.damage
            origin = stretch.carried.get(0, (reader.header.id, max(before[0], 56)))
            if origin not in seen:
                seen.add(origin)
                numbers += numbers_of(stretch.records)
        reader.close()
    return numbers


def writer_of(appender: Appender) -> SegmentWriter:
    assert appender.writer is not None
    return appender.writer


def let_only_told_time_pass(patch: pytest.MonkeyPatch) -> None:
    """Have the trust in a check run out when the test says so, and not because the machine is slow."""
    patch.setattr("lotus_durable.queue.appender._TRUST", 3600.0)


def expire_trust(appender: Appender) -> None:
    """Let so much time pass that the next event checks first."""
    appender.checked_at = math.inf


def trust(appender: Appender) -> None:
    """Have the last check be this very moment, however slow the machine is."""
    appender._trust(time.monotonic())


def carried_in(directory: QueueDirectory) -> dict[int, Origin]:
    """Return where each carried event was before."""
    found: dict[int, Origin] = {}
    for name in directory.segments():
        reader = SegmentReader(f"{directory.journal}/{name}")
        while (stretch := reader.read(100)) is not None:
            found.update({numbers_of(stretch.records)[index]: origin for index, origin in stretch.carried.items()})
        reader.close()
    return found


def flipped(data: bytes, index: int, bit: int) -> bytes:
    return data[:index] + bytes([data[index] ^ 1 << bit]) + data[index + 1 :]
