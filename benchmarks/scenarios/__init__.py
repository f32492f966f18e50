"""One scenario a module, each with ``run(bench) -> Report``."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from benchmarks.bench import Bench
from benchmarks.report import Report

SCENARIOS = {
    "calls": "one process tracks while that is delivered: bursts and steady paces, beside what else there is",
    "losses": "what is lost of what was accepted: a killed process, a server that is down",
    "workers": "1 to 16 processes, and threads, on one queue",
    "drain": "an external flusher and backlogs of up to five million",
    "recovery": "a backlog after an outage: beside a bare loop, persist-queue and another build, and with slow answers",
    "settling": "the transaction after each request, beside another build",
    "crowds": "many segments, parked events and pending ones",
    "short_lives": "processes one after the other that track one event and end",
    "operating": "commands on a queue of a million pending events",
    "interference": "track_event, a request handler and a Django view beside a flusher at work",
    "power": "durability power beside a bare write and fdatasync, and threads that share a sync",
    "memory": "eight workers and their flusher, for each client",
    "start": "the event that starts a flusher, and a look",
    "takeover": "the flusher is killed",
    "fleet": "hosts, a real RabbitMQ and relays",
    "event_loop": "track_event in an event loop: how late its other tasks are",
    "imports": "time and memory of the import",
    "cost": "processor time, bytes and system calls of an event's whole way, for each client",
    "instructions": "instructions of one track_event, which repeat where times do not",
}
"""Names, in the order in which they run, and what they are."""


GROUPS = {"guest": ("memory", "calls", "start", "takeover", "imports")}
"""What the library and its flusher are to a process that tracks; names for several scenarios."""


def scenario(name: str) -> Callable[[Bench], Report]:
    """Return a scenario's function."""
    run: Callable[[Bench], Report] = import_module(f"benchmarks.scenarios.{name}").run
    return run
