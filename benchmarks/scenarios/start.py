"""The event that starts a flusher: what that call takes, when the event arrives, and what a look takes afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from statistics import median

from benchmarks.bench import Bench
from benchmarks.child import in_child
from benchmarks.flushing import LIBRARIES
from benchmarks.report import Goal, Report, Table
from benchmarks.server import Server, serving
from benchmarks.subjects import DURABLE, DURABLE_EXTERNAL
from benchmarks.surroundings import API_KEY, environment, flushers_of
from benchmarks.watched import Watched

_BUSY_PROCESSES = 6
_BUSY = "import time\nends = time.monotonic() + 120\nwhile time.monotonic() < ends: pass"
_TIMEOUT = 30.0  # seconds
_LOOKS, _REPEATS, _FLOORS = 200, 15, 7


def run(bench: Bench) -> Report:
    busily = f"beside {_BUSY_PROCESSES} busy processes"
    with serving() as server:
        new = [_started(bench, server, is_new=True) for _ in range(bench.scale.starts)]
        idle = [_started(bench, server) for _ in range(bench.scale.starts)]
        with _busy_processes():
            busy = [_started(bench, server) for _ in range(bench.scale.starts)]
        look = _look(bench, server)
    found = {"a queue that is there": idle, f"the same, {busily}": busy, "a new queue": new}
    return Report(
        "start",
        [
            Table(
                "start",
                "The event that starts a flusher, medians",
                ("ms", "the call", "longest", "the event arrives", "at the latest", "flusher's CPU", "starts"),
                [
                    (
                        name,
                        *_figures([call for call, *_ in starts]),
                        *_figures([arrival for _, arrival, _ in starts]),
                        median(cpu for *_, cpu in starts),
                        len(starts),
                    )
                    for name, starts in found.items()
                ],
            ),
            Table(
                "start_look",
                "A look, every half second at most",
                ("µs", "a look", "floor: open, read, close"),
                [("", look["look"], look["floor"])],
            ),
        ],
        [
            _goal("start: first event arrives after the call", [arrival for _, arrival, _ in idle], 400, _loading()),
            _goal("start: processor time of the flusher, until then", [cpu for *_, cpu in idle], 200),
            _goal("start: the call that starts a flusher", [call for call, *_ in idle], 5, _shell()),
            _goal(f"start: the same {busily}", [call for call, *_ in busy], 25),
            Goal("start: a look", look["look"], "at most", 15, "µs", floor=f"{look['floor']:.1f} µs"),
        ],
    )


def _goal(name: str, milliseconds: list[float], limit: float, floor: list[float] | None = None) -> Goal:
    middle, longest = _figures(milliseconds)
    of = f"median of {len(milliseconds)}, longest {longest:.1f}"
    return Goal(name, middle, "at most", limit, "ms", of, "" if floor is None else f"{median(floor):.1f} ms")


def _loading() -> list[float]:
    """Return the ms that an interpreter takes to start and to import what any flusher needs."""
    return [_waited_for([sys.executable, "-c", LIBRARIES]) for _ in range(_FLOORS)]


def _shell() -> list[float]:
    """Return the ms that a shell takes to start a program that is not waited for."""
    return [_waited_for(["/bin/sh", "-c", "exec true &"]) for _ in range(_FLOORS)]


def _waited_for(command: list[str]) -> float:
    started = time.monotonic()
    os.waitpid(os.posix_spawn(command[0], command, environment()), 0)
    return (time.monotonic() - started) * 1e3


def _figures(milliseconds: list[float]) -> tuple[float, float]:
    return median(milliseconds), max(milliseconds)


def _started(bench: Bench, server: Server, *, is_new: bool = False) -> tuple[float, float, float]:
    """Track in a fresh process and queue; return the ms of the call, from its beginning until its event arrived, and of
    processor time that the flusher had taken by then.

    A new queue has its folders made and synced by its first event, which has nothing to do with the flusher.
    """
    server.mark()
    with bench.folder() as folder:
        if not is_new:
            bench.load_once(DURABLE_EXTERNAL, server, folder, calls=1, cold=True)
        [call] = bench.load_once(DURABLE, server, folder, calls=1, cold=True).calls
        arrived = server.wait_for(1, _TIMEOUT).first
        [flusher] = flushers_of(folder)
        cpu = Watched(flusher).cpu()
    assert arrived is not None
    return (call.ended - call.begun) / 1e6, arrived * 1e3 - call.begun / 1e6, cpu * 1e3


@contextmanager
def _busy_processes() -> Iterator[None]:
    with ExitStack() as stack:
        processes = [
            stack.enter_context(subprocess.Popen([sys.executable, "-c", _BUSY])) for _ in range(_BUSY_PROCESSES)
        ]
        for process in processes:
            stack.callback(process.kill)
        yield


def _look(bench: Bench, server: Server) -> dict[str, float]:
    with bench.folder() as folder:
        found: dict[str, float] = in_child("benchmarks.scenarios.start:look", str(folder / "queue"), server.url)
        return found


def look(queue_dir: str, host: str) -> dict[str, float]:
    """Look while somebody flushes; return the µs of one look and of the least it could be, medians of repeats."""
    import lotus_durable

    client = lotus_durable.Client(api_key=API_KEY, host=host, queue_dir=queue_dir)
    client.track_event(customer_id="customer-123", event_name="api_call")
    assert client.drain(_TIMEOUT).complete
    heartbeat = client._tracker.directory.heartbeat

    def floor() -> None:
        descriptor = os.open(heartbeat, os.O_RDONLY)
        os.pread(descriptor, 4096, 0)
        os.close(descriptor)

    return {"look": _timed(client._tracker.look_now), "floor": _timed(floor)}


def _timed(call: Callable[[], object]) -> float:
    times = []
    for _ in range(_REPEATS):
        started = time.perf_counter()
        for _ in range(_LOOKS):
            call()
        times.append(time.perf_counter() - started)
    return median(times) / _LOOKS * 1e6
