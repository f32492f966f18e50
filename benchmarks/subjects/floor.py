"""The least that keeping an event can cost: pack it, and hand the same number of bytes to the kernel."""

from __future__ import annotations

import os
import time
import uuid

import msgpack

from benchmarks.subjects import Place, Track
from lotus_durable.queue.format import FRAME_HEADER_SIZE

_HEADER = b"\xc1" * FRAME_HEADER_SIZE


def opened(place: Place) -> Track:
    """Write a frame of the size ours has; id, time and checksum are there already."""
    pack = msgpack.Packer().pack
    descriptor = _file(place)
    event_id, time_text, now = str(uuid.uuid4()), "2024-02-19T12:34:56.123456Z", time.time()
    write = os.write

    def track(number: int) -> None:
        record = pack((event_id, "customer-123", "api_call", time_text, {"region": "US", "mb_used": number}, now))
        write(descriptor, _HEADER + record)

    return track


def opened_for_nothing(_: Place) -> Track:
    """Do nothing: what a load takes itself."""
    return lambda _: None


def opened_with_sync(place: Place) -> Track:
    """Write a frame of a fixed content, and have the disk keep it."""
    descriptor = _file(place)
    frame = bytes(150)

    def track(_: int) -> None:
        os.write(descriptor, frame)
        os.fdatasync(descriptor)

    return track


def _file(place: Place) -> int:
    path = place.directory / f"floor-{os.getpid()}"
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
