"""Track a backlog, or settle it batch after batch, in this process: for this build of the package and for others."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import UUID

from benchmarks.surroundings import API_KEY

BATCH = 500  # events


def track(queue_dir: str, host: str, events: int) -> None:
    """Track, without a flusher."""
    import lotus_durable

    client = lotus_durable.Client(api_key=API_KEY, host=host, queue_dir=Path(queue_dir), max_queue_bytes=1 << 34)
    for number in range(events):
        client.track_event(
            customer_id="customer-123", event_name="api_call", properties={"region": "US", "mb_used": number}
        )


def settle(queue_dir: str, settlements: int, ids: int) -> list[float]:
    """Read all that is pending, settle so many batches as delivered, and return the seconds that each took."""
    from lotus_durable.queue.protocol import Settlement

    consumer = _opened(Path(queue_dir))
    places: list[tuple[str, Any, int]] = []
    while (chunk := consumer.read(BATCH)) is not None:
        places.append((chunk.source, chunk.positions[-1], len(chunk.records)))
    took = []
    drawn = map(str, random_ids(settlements * BATCH if ids else 0))
    batches = iter([[next(drawn) for _ in range(BATCH)] for _ in range(settlements if ids else 0)])
    for source, position, count in places[:settlements]:
        more: dict[str, Any] = {"delivered_ids": next(batches)} if ids else {}
        settlement = Settlement(through={source: position}, delivered=count, **more)
        began = time.perf_counter()
        consumer.settle(settlement)
        took.append(time.perf_counter() - began)
    return took


def random_ids(count: int) -> Iterator[UUID]:
    """Give ids like those that an event has by default."""
    drawn = os.urandom(16 * count)
    return (UUID(bytes=drawn[start : start + 16], version=4) for start in range(0, len(drawn), 16))


def _opened(root: Path) -> Any:  # noqa: ANN401  # of another build
    consumer: Any = import_module("lotus_durable.queue.consumer")
    directory: Any = import_module("lotus_durable.queue.directory").QueueDirectory(root)
    if hasattr(consumer, "Consumer"):
        return consumer.Consumer(directory, print)
    store = import_module("lotus_durable.queue.store").Store(directory.store)  # as it was until eaa2519
    return consumer.JournalConsumer(directory, store, print, sync_interval=1.0)


if __name__ == "__main__":
    what, folder, *rest = sys.argv[1:]
    if what == "track":
        track(folder, rest[0], int(rest[1]))
    else:
        print(json.dumps(settle(folder, int(rest[0]), int(rest[1]))), flush=True)
        os._exit(0)  # what the end of a flusher takes is not looked at
