"""The least that recovery can cost: loops that read what is pending and hand it on, and do nothing else.

Each runs in a process of its own, see :mod:`benchmarks.child`.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from urllib.parse import urlsplit

import msgpack
import orjson

from benchmarks.subjects.rivals import event
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.format import FRAME_HEADER_SIZE, HEADER_SIZE

_FRAME = struct.Struct("<4sIII")
_HEAD = b"POST /api/track/ HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
BATCH = 500
_RECEIVE = 1 << 16


def loop(queue_dir: str, host: str) -> None:
    """Read frames, decode them, encode them with orjson, and write them to a socket; each request waits for its answer.

    No checksum is looked at, nothing is settled, and an answer is taken for a success.
    """
    address = urlsplit(host)
    with socket.create_connection((address.hostname or "", address.port or 80)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        batch: list[bytes] = []
        for record in records(Path(queue_dir)):
            batch.append(as_json(record))
            if len(batch) == BATCH:
                post(connection, batch)
                batch = []
        post(connection, batch)


def records(queue_dir: Path) -> Iterator[bytes]:
    """Give the records of all segments."""
    directory = QueueDirectory(queue_dir)
    for name in directory.segments():
        data = Path(directory.journal, name).read_bytes()
        offset, size = HEADER_SIZE, len(data)
        while offset < size:
            start = offset + FRAME_HEADER_SIZE
            offset = start + _FRAME.unpack_from(data, offset)[2]
            yield data[start:offset]


def as_json(record: bytes) -> bytes:
    """Return an event as it is sent."""
    event_id, customer, name, created, properties, accepted = msgpack.unpackb(record)
    return orjson.dumps(
        {
            "event_name": name,
            "customer_id": customer,
            "idempotency_id": event_id,
            "time_created": created or datetime.fromtimestamp(accepted, UTC).isoformat(),
            "properties": properties,
        }
    )


def post(connection: socket.socket, batch: list[bytes]) -> None:
    """Send a request, and wait for what it is answered."""
    body = b'{"batch":[' + b",".join(batch) + b"]}"
    connection.sendall(_HEAD % len(body) + body)
    connection.recv(_RECEIVE)


def take(folder: str, events: str, synchronous: str) -> float:
    """Put so many events into persist-queue, and return how many a second get() and task_done() take out again."""
    queue = import_module("persistqueue").SQLiteQueue(folder, auto_commit=False)
    for number in range(int(events)):
        queue.put(event(number))
    queue.task_done()
    queue._putter.execute(f"PRAGMA synchronous={synchronous}")  # no other way
    began = time.perf_counter()
    for _ in range(int(events)):
        queue.get(block=False)
        queue.task_done()
    took = time.perf_counter() - began
    return int(events) / took
