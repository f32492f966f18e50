"""Millions of pending events at once: journal segments as writers that are gone would have left them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from benchmarks.surroundings import API_KEY
from lotus_durable.event.encoder import EventEncoder
from lotus_durable.queue.directory import QueueDirectory, segment_name
from lotus_durable.queue.files import FILE_MODE
from lotus_durable.queue.format import encode_frame, new_header
from lotus_durable.queue.identity import fingerprint

_SEGMENT_BYTES = 16 << 20
_EVENTS_PER_WRITE = 10_000


def fill(root: Path, events: int) -> QueueDirectory:
    """Add a backlog of ``events`` to the queue directory ``root``, each with an id of its own."""
    directory = QueueDirectory(root)
    directory.prepare()
    before, after = _record_around_its_id()
    numbers = iter(range(events))
    salt = os.urandom(6).hex()
    key = fingerprint(API_KEY)
    left = events
    while left:
        left -= _write_segment(
            directory, key, (before + b"%08x-0000-4000-8000-%s" % (number, salt.encode()) + after for number in numbers)
        )
    return directory


def crowd(root: Path, segments: int) -> None:
    """Add so many segments with one event each, as processes leave them that end at once."""
    directory = QueueDirectory(root)
    directory.prepare()
    key = fingerprint(API_KEY)
    encode = EventEncoder(1 << 15).encode
    for _ in range(segments):
        _write_segment(directory, key, iter([encode("customer-123", "api_call", None, None, None)[1]]))


def _record_around_its_id() -> tuple[bytes, bytes]:
    properties = {"region": "US", "mb_used": 150}
    event_id, record = EventEncoder(1 << 15).encode("customer-123", "api_call", properties, None, None)
    before, _, after = record.partition(event_id.encode())
    return before, after


def _write_segment(directory: QueueDirectory, key: bytes, records: Iterator[bytes]) -> int:
    """Fill one segment and return how many records went into it."""
    header = new_header(time.time_ns(), key)
    path = f"{directory.journal}/{segment_name(header.created_ns, header.pid, header.marker)}"
    sequence = 0
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE), "wb") as file:
        file.write(header.encode())
        while file.tell() < _SEGMENT_BYTES:
            frames = [
                encode_frame(header.marker, sequence + index, record)
                for index, record in enumerate(islice(records, _EVENTS_PER_WRITE))
            ]
            if not frames:
                break
            file.write(b"".join(frames))
            sequence += len(frames)
    return sequence
