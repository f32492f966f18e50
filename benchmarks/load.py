"""The process that loads one subject and times its calls: ``python -m benchmarks.load SPECIFICATION``.

Needs the standard library alone, so that it runs in any environment. It opens the subject, warms it up, prints
``ready``, waits for a line, loads, writes the calls to a file (three 64-bit integers each: due, begun, ended), prints
what else it found as JSON, and ends without asking the subject's threads. ``benchmarks.loading`` starts it.
"""

from __future__ import annotations

import faulthandler
import json
import mmap
import os
import sys
import threading
import time
from array import array
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.subjects import Place, Track

_WARM_UP_CALLS = 200
_LONGEST = 300  # seconds; a subject that hangs must not hang the whole run


@dataclass(frozen=True, slots=True)
class Specification:
    opener: str
    options: dict[str, Any]
    server: str
    directory: str
    samples: str
    """The file for the calls."""
    calls: int
    """Per thread."""
    rate: float = 0.0
    """Calls a second of one thread; 0: one right after the other."""
    seconds: float = 3_600.0
    """No thread begins a call after this."""
    threads: int = 1
    warm_up_seconds: float = 0.0
    handler_seconds: float = 0.0
    """Pretend to be a request handler that works for so long, before it tracks."""
    cold: bool = False
    """No warm-up: the process's first call is the first one timed."""
    by_the_clock: bool = True
    """False: ours does with each event what belongs to it, and never what comes due with time."""
    accepted: str = ""
    """The file of a byte for each call: 1 for an event that was accepted, also when the process is killed."""
    environment: dict[str, str] = field(default_factory=dict)
    """More variables for the process."""

    def encode(self) -> str:
        return json.dumps(asdict(self))


def main() -> None:
    faulthandler.dump_traceback_later(_LONGEST, exit=True)
    specification = Specification(**json.loads(sys.argv[1]))
    if not specification.by_the_clock:
        _put_off()
    module, _, function = specification.opener.partition(":")
    place = Place(specification.server, Path(specification.directory), specification.options)
    track: Track = getattr(import_module(module), function)(place)
    if specification.accepted:
        track = _noted(track, specification)
    if not specification.cold:
        _warm_up(track, specification)
    print("ready", flush=True)
    sys.stdin.readline()
    before = os.times()
    made = _loaded(_handler(track, specification.handler_seconds), specification)
    after = os.times()
    samples = [times for times, _ in made]
    with open(specification.samples, "wb") as file:
        for times in samples:
            times.tofile(file)
    cpu = after.user + after.system - before.user - before.system
    found = {
        "cpu": cpu,
        "threads": [len(times) // 3 for times in samples],
        "refused": sum(refused for _, refused in made),
    }
    print(json.dumps(found), flush=True)
    sys.stdin.readline()  # until killed: some would wait for their queue to empty, for ever if a server fails
    os._exit(0)


def _put_off() -> None:
    appender: Any = import_module("lotus_durable.queue.appender")
    config: Any = import_module("lotus_durable.config")
    appender._TRUST = config.Constants.trusted_look = float("inf")


def _noted(track: Track, specification: Specification) -> Track:
    with open(specification.accepted, "w+b") as file:
        file.truncate(specification.calls)
        accepted = mmap.mmap(file.fileno(), specification.calls)

    def noted(number: int) -> object:
        taken = track(number)
        accepted[number] = taken is not False
        return taken

    return noted


def _warm_up(track: Track, specification: Specification) -> None:
    for number in range(min(_WARM_UP_CALLS, specification.calls)):
        track(number)
    time.sleep(specification.warm_up_seconds)


def _handler(track: Track, seconds: float) -> Track:
    if not seconds:
        return track
    rows = [{"id": number, "name": f"row {number}", "price": number / 7} for number in range(20)]

    def handle(number: int) -> object:
        ends = time.perf_counter() + seconds
        while time.perf_counter() < ends:
            json.dumps(rows)
        return track(number)

    return handle


def _loaded(track: Track, specification: Specification) -> list[tuple[array[int], int]]:
    """Load from as many threads as asked for; return the calls of each, and how many events were refused."""
    barrier = threading.Barrier(specification.threads)
    found: list[tuple[array[int], int]] = []

    def run(first: int) -> None:
        barrier.wait()
        found.append(_paced(track, specification, first) if specification.rate else _burst(track, specification, first))

    others = [
        threading.Thread(target=run, args=(number * specification.calls,)) for number in range(1, specification.threads)
    ]
    for other in others:
        other.start()
    run(0)
    for other in others:
        other.join()
    return found


def _burst(track: Track, specification: Specification, first: int) -> tuple[array[int], int]:
    """Call without a pause. What was refused is no call: to be quick to refuse is no merit."""
    clock = time.monotonic_ns
    times = array("q", bytes(24 * specification.calls))
    stops = clock() + int(specification.seconds * 1e9)
    at = refused = 0
    for number in range(specification.calls):
        begun = clock()
        taken = track(first + number)
        ended = clock()
        if taken is False:
            refused += 1
        else:
            times[at] = times[at + 1] = begun
            times[at + 2] = ended
            at += 3
        if ended > stops:
            break
    return times[:at], refused


def _paced(track: Track, specification: Specification, first: int) -> tuple[array[int], int]:
    clock = time.monotonic_ns
    times = array("q", bytes(24 * specification.calls))
    interval = 1e9 / specification.rate
    started = clock()
    stops = started + int(specification.seconds * 1e9)
    at = refused = 0
    for number in range(specification.calls):
        due = started + int(number * interval)
        early = due - clock()
        if early > 0:
            time.sleep(early / 1e9)
        begun = clock()
        taken = track(first + number)
        ended = clock()
        if taken is False:
            refused += 1
        else:
            times[at], times[at + 1], times[at + 2] = due, begun, ended
            at += 3
        if ended > stops:
            break
    return times[:at], refused


if __name__ == "__main__":
    main()
