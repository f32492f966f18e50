"""Where the time goes: one track_event, and one batch of the flusher, by part."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from zlib import crc32

import msgpack

from benchmarks.backlog import fill
from benchmarks.bench import Bench
from benchmarks.report import Cell, Report, Table
from benchmarks.server import serving
from benchmarks.surroundings import API_KEY
from lotus_durable import fork
from lotus_durable.client import Client
from lotus_durable.config import Config
from lotus_durable.delivery.batch import Batch, Batcher
from lotus_durable.delivery.transport import HttpTransport
from lotus_durable.delivery.verdict import judge
from lotus_durable.delivery.wire import Dumps, encode_event, orjson_dumps, stdlib_dumps
from lotus_durable.event.properties import is_plain
from lotus_durable.event.record import EventEncoder
from lotus_durable.event.timestamps import Clock
from lotus_durable.log import Reporter
from lotus_durable.queue.consumer import Consumer
from lotus_durable.queue.format import MARKER_SIZE, encode_frame
from lotus_durable.queue.protocol import Settlement
from lotus_durable.tracker import Tracker

_CALLS, _REPEATS = 2_000, 30
_BATCH, _BATCHES = 500, 40
_PROPERTIES = {"region": "US", "mb_used": 150}
_NOWHERE = "http://127.0.0.1:9"


def run(bench: Bench) -> Report:
    with bench.folder() as folder:
        return Report(
            "parts",
            [
                Table("parts_call", "One track_event, two properties, by part", ("part", "µs"), _of_a_call(folder)),
                Table(
                    "parts_batch",
                    f"The flusher's batch of {_BATCH} events, by part",
                    ("part", "µs", "µs an event"),
                    [(part, taken, taken / _BATCH) for part, taken in _of_a_batch(folder).items()],
                ),
            ],
        )


def _least(call: Callable[[], object], calls: int = _CALLS) -> float:
    """Return the µs of one call, the least of many repeats: they compare where the machine is not quiet."""
    times = []
    for _ in range(_REPEATS):
        started = time.perf_counter()
        for _ in range(calls):
            call()
        times.append(time.perf_counter() - started)
    return min(times) / calls * 1e6


def _of_a_call(folder: Path) -> list[tuple[Cell, ...]]:
    config = Config.resolve(
        {"api_key": API_KEY, "host": _NOWHERE, "queue_dir": folder / "calls", "flusher": "external"}
    )
    client, tracker = Client.from_config(config), Tracker(config, Reporter(None))
    way, encoder = tracker._new_lane().way, EventEncoder(config.max_event_bytes)
    event = ("customer-123", "api_call", _PROPERTIES, None, None)
    _, record = encoder.encode(*event)
    fields, pack, clock, marker = msgpack.unpackb(record), msgpack.Packer().pack, Clock(), bytes(MARKER_SIZE)
    descriptor = os.open(folder / "floor", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    frame = encode_frame(marker, 0, record)
    padding = bytes(len(frame) - len(record))
    try:
        parts: dict[str, Callable[[], object]] = {
            "whole call": lambda: client.track_event(
                customer_id="customer-123", event_name="api_call", properties=_PROPERTIES
            ),
            "check, id, time, msgpack": lambda: encoder.encode(*event),
            "of that: msgpack": lambda: pack(fields),
            "of that: the properties, checked": lambda: is_plain(_PROPERTIES),
            "of that: time as text": lambda: clock.text(time.time()),
            "append": lambda: way.append(record, time.monotonic()),
            "of that: os.pwrite": lambda: os.pwrite(descriptor, frame, 0),
            "of that: frame and CRC-32": lambda: encode_frame(marker, 0, record),
            "of that: CRC-32": lambda: crc32(frame),
            "a fork noticed": lambda: fork.mark[0],
            "floor: msgpack + os.write": lambda: os.write(descriptor, padding + pack(fields)),
        }
        return [(part, _least(call)) for part, call in parts.items()]
    finally:
        os.close(descriptor)
        tracker.close()
        client.release()


def _of_a_batch(folder: Path) -> dict[str, float]:
    """Return µs for each part of a batch's way, the least of many batches."""
    consumer = Consumer(fill(folder / "backlog", _BATCH * _BATCHES), print)
    batches, making = _batches(consumer)
    records = batches[0].records
    parts = {
        "reading frames, decoding, encoding": making,
        "of that: decoding and encoding with orjson": _encoding(records, orjson_dumps()),
        "the same with the standard library": _encoding(records, stdlib_dumps),
    }
    with serving() as server:
        transport = HttpTransport(server.url, API_KEY)
        answer = transport.post_batch(batches[0].body())
        parts["the body of a request"] = _least(batches[0].body, 10)
        parts["a request and its answer"] = _least(lambda: transport.post_batch(batches[0].body()), 1)
        transport.close()
    ids, times = batches[0].ids, batches[0].times
    parts["verdicts"] = _least(lambda: judge(answer, ids, times, now=time.time()), 10)
    commits = []
    for batch in batches:
        started = time.perf_counter()
        consumer.settle(Settlement(batch.through, len(batch), delivered_ids=batch.ids))
        commits.append(time.perf_counter() - started)
    consumer.close()
    parts["the commit"] = min(commits) * 1e6
    return parts


def _encoding(records: Sequence[bytes], dumps: Dumps) -> float:
    return _least(lambda: [encode_event(record, dumps) for record in records], 1)


def _batches(consumer: Consumer) -> tuple[list[Batch], float]:
    """Return all batches of a queue, and the least µs that one took."""
    batcher = Batcher(consumer, max_events=_BATCH, max_bytes=1 << 20)
    batches, times = [], []
    while True:
        started = time.perf_counter()
        batch = batcher.next()
        if batch is None:
            break
        times.append(time.perf_counter() - started)
        batches.append(batch)
    return batches, min(times[:-1]) * 1e6
