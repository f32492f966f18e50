"""track_event in a coroutine: how late an event loop's other tasks are, beside a loop that tracks nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from benchmarks.bench import Bench
from benchmarks.child import in_child
from benchmarks.report import Cell, Goal, Report, Table
from benchmarks.server import serving
from benchmarks.surroundings import API_KEY

_HOW = {"nothing": "nothing", "track_event": "track_event, as it is", "to_thread": "track_event in a thread, for each"}
_TICK = 0.001
_PERCENTILES = (50, 99, 99.9, 100)


def run(bench: Bench) -> Report:
    found: dict[str, list[float]] = {}
    with serving() as server:
        for how in _HOW:
            with bench.folder() as folder:
                found[how] = in_child(
                    "benchmarks.scenarios.event_loop:late",
                    how,
                    str(folder / "queue"),
                    server.url,
                    str(bench.scale.paced_rate),
                    str(bench.scale.paced_seconds * bench.scale.rounds),
                )
    columns = (f"{bench.scale.paced_rate:,} a second", "p50", "p99", "p99.9", "max")
    rows: list[tuple[Cell, ...]] = [(label, *found[how]) for how, label in _HOW.items()]
    added = max(0.0, found["track_event"][0] - found["nothing"][0])
    return Report(
        "event_loop",
        [Table("event_loop", "How late a task of the same loop is, µs", columns, rows)],
        [Goal("event loop: what tracking adds to how late a task is, p50", added, "at most", 100, "µs")],
        {"late": found},
    )


def late(how: str, queue_dir: str, host: str, rate: str, seconds: str) -> list[float]:
    """Track in a loop beside a task that wakes up every millisecond; return percentiles of how late it was, in µs."""
    import lotus_durable

    client = lotus_durable.Client(api_key=API_KEY, host=host, queue_dir=queue_dir)

    def track() -> None:
        client.track_event(customer_id="customer-123", event_name="api_call", properties={"region": "US"})

    async def nothing() -> None:
        pass

    async def as_it_is() -> None:
        track()

    async def in_thread() -> None:
        await asyncio.to_thread(track)

    calls = {"nothing": nothing, "track_event": as_it_is, "to_thread": in_thread}
    track()  # it starts the flusher
    assert client.drain(30).complete
    lateness = sorted(asyncio.run(_lateness(calls[how], float(rate), float(seconds))))
    return [lateness[min(len(lateness) - 1, int(len(lateness) * each / 100))] * 1e6 for each in _PERCENTILES]


async def _lateness(call: Callable[[], Awaitable[None]], rate: float, seconds: float) -> list[float]:
    found: list[float] = []
    began = time.perf_counter()
    ends = began + seconds

    async def tick() -> None:
        while (now := time.perf_counter()) < ends:
            await asyncio.sleep(_TICK)
            found.append(time.perf_counter() - now - _TICK)

    async def work() -> None:
        due = began
        while due < ends:
            await call()
            due += 1 / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))

    await asyncio.gather(tick(), work())
    return found
