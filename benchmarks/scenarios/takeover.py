"""The flusher is killed while events come in: how long until another one has sent something?"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

from benchmarks.bench import Bench
from benchmarks.latency import Latencies
from benchmarks.report import Goal, Report, Table
from benchmarks.server import Server, serving
from benchmarks.surroundings import API_KEY, environment, flushers_of

_WORKERS = 3
_TIMEOUT = 30.0  # seconds
_LONGEST = 300.0  # seconds; no worker lives for longer
_TRACK_INTERVAL = 0.01  # seconds
_LOOK_INTERVAL = 0.002  # seconds

_T = TypeVar("_T")


def run(bench: Bench) -> Report:
    with bench.folder() as folder, serving() as server, ExitStack() as stack:
        for _ in range(_WORKERS):
            worker = stack.enter_context(subprocess.Popen(_command(folder / "queue", server), env=environment()))
            stack.callback(worker.kill)
        times = [_takeover(folder, server) for _ in range(bench.scale.takeovers)]
    latencies = Latencies.of(int(seconds * 1e9) for seconds in times)
    p50, p99, longest = (latencies.at(percentile) / 1e3 for percentile in (50, 99, 100))
    return Report(
        "takeover",
        [
            Table(
                "takeover",
                f"From SIGKILL of the flusher to another one's first request, {_WORKERS} processes tracking",
                ("kills", "p50 ms", "p99 ms", "longest ms"),
                [(len(times), p50, p99, longest)],
            )
        ],
        [Goal("takeover: p99", p99 / 1e3, "at most", 1, "s", f"of {len(times)} kills")],
        {"seconds": times},
    )


def _takeover(folder: Path, server: Server) -> float:
    """Kill the flusher at any moment; return the seconds until another one sends."""
    _waited_for(lambda: server.counts().first, "a request")
    flusher = _waited_for(lambda: flushers_of(folder) or None, "a flusher")
    time.sleep(random.uniform(0, 0.7))
    server.mark()
    killed = time.monotonic()
    for process in flusher:
        os.kill(process, signal.SIGKILL)
    # The killed one's connection is an old one: what still comes from it does not count.
    return _waited_for(lambda: server.counts().first_of_new, "another flusher's request") - killed


def _waited_for(look: Callable[[], _T | None], what: str) -> _T:
    ends = time.monotonic() + _TIMEOUT
    while (found := look()) is None:
        if time.monotonic() > ends:
            raise TimeoutError(f"no sign of {what} within {_TIMEOUT:g} s")
        time.sleep(_LOOK_INTERVAL)
    return found


def _command(queue: Path, server: Server) -> list[str]:
    return [sys.executable, "-m", "benchmarks.scenarios.takeover", str(queue), server.url]


def track_for_ever(queue_dir: str, host: str) -> None:
    """Be a worker: an event every 10 ms for as long as somebody is there to kill it."""
    import lotus_durable

    parent, ends = os.getppid(), time.monotonic() + _LONGEST
    # The server of 2022 may still be at work on a killed one's request, and the next one waits for that.
    client = lotus_durable.Client(api_key=API_KEY, host=host, queue_dir=queue_dir, api_version="2024")
    while os.getppid() == parent and time.monotonic() < ends:
        client.track_event(customer_id="customer-123", event_name="api_call")
        time.sleep(_TRACK_INTERVAL)
    client.release()


if __name__ == "__main__":
    track_for_ever(*sys.argv[1:])
