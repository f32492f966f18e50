"""The leader is killed while events come in: how long until another one has sent something?"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import TypeVar

from benchmarks.bench import Bench
from benchmarks.report import Goal, Report, Table
from benchmarks.server import Server, serving
from benchmarks.surroundings import API_KEY, environment
from benchmarks.watched import Watched
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.heartbeat import read_heartbeat

_WAYS = (("thread", "the leader"), ("process", "uploader"), ("process", "its starter"))
"""The option ``flusher``, and what is killed."""
_WORKERS = 3
_TIMEOUT = 30.0  # seconds
_LONGEST = 120.0  # seconds; no worker lives for longer
_TRACK_INTERVAL = 0.01  # seconds
_LOOK_INTERVAL = 0.002  # seconds

_T = TypeVar("_T")
_Workers = dict[int, "subprocess.Popen[bytes]"]


def run(bench: Bench) -> Report:
    found = {way: _takeovers(bench, *way) for way in _WAYS}
    times = found[_WAYS[0]]
    return Report(
        "takeover",
        [
            Table(
                "takeover",
                "From SIGKILL to another leader's first request",
                ("flusher", "killed", "kills", "median ms", "longest ms"),
                [(*way, len(each), median(each) * 1e3, max(each) * 1e3) for way, each in found.items()],
            )
        ],
        [Goal("takeover: the longest", max(times), "at most", 1, "s", f"of {len(times)} kills")],
        {"seconds": times},
    )


def _takeovers(bench: Bench, flusher: str, victim: str) -> list[float]:
    times = []
    with bench.folder() as folder, serving() as server, ExitStack() as stack:
        queue = folder / "queue"
        workers: _Workers = {}
        stack.callback(_kill_all, workers)
        for _ in range(bench.scale.takeovers):
            while len(workers) < _WORKERS:
                worker = _start(queue, server, flusher)
                workers[worker.pid] = worker
            times.append(_takeover(queue, server, workers, victim))
    return times


def _takeover(queue: Path, server: Server, workers: _Workers, victim: str) -> float:
    """Kill whoever leads, or who started that, at any moment; return the seconds until somebody else sends."""
    leader = _waited_for(lambda: _leader(queue, workers), "a leader")
    time.sleep(random.uniform(0, 0.5))
    server.mark()
    killed = time.monotonic()
    if victim == "uploader":
        os.kill(leader, signal.SIGKILL)
    else:
        _kill(workers, leader if leader in workers else Watched(leader).parent())
    # The dead leader's connection is an old one: what still comes from it does not count.
    return _waited_for(lambda: server.counts().first_of_new, "another leader's request") - killed


def _leader(queue: Path, workers: _Workers) -> int | None:
    heartbeat = read_heartbeat(QueueDirectory(queue))
    if heartbeat is None:
        return None
    with contextlib.suppress(OSError):  # it is gone, and nobody took over yet
        if workers.keys() & {heartbeat.pid, Watched(heartbeat.pid).parent()}:
            return heartbeat.pid
    return None


def _waited_for(look: Callable[[], _T | None], what: str) -> _T:
    ends = time.monotonic() + _TIMEOUT
    while (found := look()) is None:
        if time.monotonic() > ends:
            raise TimeoutError(f"no sign of {what} within {_TIMEOUT:g} s")
        time.sleep(_LOOK_INTERVAL)
    return found


def _start(queue: Path, server: Server, flusher: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "benchmarks.scenarios.takeover", str(queue), server.url]
    return subprocess.Popen(command, env=environment(LOTUS_FLUSHER=flusher))


def _kill(workers: _Workers, pid: int) -> None:
    worker = workers.pop(pid)
    worker.kill()
    worker.wait()


def _kill_all(workers: _Workers) -> None:
    for pid in list(workers):
        _kill(workers, pid)


def track_for_ever(queue_dir: str, host: str) -> None:
    """Be a worker: an event every 10 ms, and a candidate, for as long as somebody is there to kill it."""
    import lotus_durable

    parent, ends = os.getppid(), time.monotonic() + _LONGEST
    client = lotus_durable.Client(api_key=API_KEY, host=host, queue_dir=queue_dir)
    while os.getppid() == parent and time.monotonic() < ends:
        client.track_event(customer_id="customer-123", event_name="api_call")
        time.sleep(_TRACK_INTERVAL)


if __name__ == "__main__":
    track_for_ever(*sys.argv[1:])
