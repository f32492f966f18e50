"""An event's whole way, from ``track_event`` to the server's word: processor time and bytes, by stage."""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.child import in_child
from benchmarks.flushing import flushing
from benchmarks.report import Report, Table
from benchmarks.server import serving
from benchmarks.surroundings import API_KEY
from benchmarks.watched import Watched

_START_TIMEOUT = 60.0  # seconds
_LEAST_RATE = 2_000  # events/s


def run(bench: Bench) -> Report:
    events = bench.scale.cost_events
    with bench.folder() as folder, serving() as server:
        queue = folder / "queue"
        tracked = in_child("benchmarks.scenarios.cost:track", str(queue), server.url, str(events))
        on_disk = sum(path.stat().st_size for path in (queue / "journal").iterdir()) / events
        server.mark()
        with flushing(queue, server) as flusher:
            before = server.wait_for(1, _START_TIMEOUT)
            cpu, written = flusher.cpu(), float(flusher.written())
            after = server.wait_for(events, _START_TIMEOUT + events / _LEAST_RATE)
            uploaded = max(1, after.events - before.events)
            sent = (after.bytes - before.bytes) / uploaded
            cpu, written = (flusher.cpu() - cpu) / uploaded, (flusher.written() - written) / uploaded
    rows = [
        ("track_event", tracked["cpu"] / events * 1e6, tracked["written"] / events, on_disk, None),
        ("flusher", cpu * 1e6, written, None, sent),
        ("together", (tracked["cpu"] / events + cpu) * 1e6, tracked["written"] / events + written, on_disk, sent),
    ]
    columns = ("per event", "CPU µs", "bytes to files", "bytes of the journal", "bytes to the server")
    return Report("cost", [Table("cost", f"{events:,} events with two properties", columns, rows)])


def track(queue_dir: str, host: str, events: str) -> dict[str, float]:
    """Track in this process, which does not upload; return seconds of processor time, and bytes written."""
    import lotus_durable

    client = lotus_durable.Client(api_key=API_KEY, host=host, queue_dir=Path(queue_dir), flusher="external")
    client.track_event(customer_id="customer-123", event_name="api_call", properties={"region": "US", "mb_used": 0})
    cpu, written = time.process_time(), Watched().written()
    for number in range(int(events) - 1):
        client.track_event(
            customer_id="customer-123", event_name="api_call", properties={"region": "US", "mb_used": number}
        )
    used = {"cpu": time.process_time() - cpu, "written": float(Watched().written() - written)}
    client.release()
    return used
