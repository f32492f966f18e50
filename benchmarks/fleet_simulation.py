"""What an hour without Lotus, a rolling deploy and a relay's death come to in fleets of 10 to 100,000 hosts.

``python -m benchmarks.fleet_simulation`` prints the sizing tables (``benchmarks/fleet.py`` has what is simulated), and
with ``--publish docs`` writes them into docs/scaling.md, with the plot. ``--measure`` measures how long a request takes
at FakeLotus, of either generation, on this machine.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

import numpy as np
import requests

from benchmarks.fleet import END, MEASURED, MOST_EVENTS, Seen, Service, flush_interval, simulate
from benchmarks.plots import draw
from benchmarks.publish import fill_in
from benchmarks.report import Table, as_markdown, as_text
from lotus_durable.testing.process import FakeLotusProcess

HOSTS = (10, 100, 1_000, 10_000, 100_000)
_SLOWER = 10.0
"""A server with a database takes longer than FakeLotus."""
_MESSAGE_BYTES, _EVENT_BYTES = 300, 135
"""On a node's disk: of a message besides its events, and of an event."""
_PLOTTED = 1_000


def measure(generation: str, tries: int = 30) -> Service:
    """Return how long requests take at FakeLotus: the quickest of each size, and a line through them."""
    sizes = (1, 50, 200, MOST_EVENTS)
    with FakeLotusProcess(generation) as server, requests.Session() as session:  # type: ignore[arg-type]
        session.headers.update({"X-API-KEY": server.api_key, "Content-Type": "application/json"})
        quickest = [min(_timed(session, server.host, size) for _ in range(tries)) for size in sizes]
    event, request = np.polyfit(sizes, quickest, 1)
    return Service(float(request), float(event))


def _timed(session: requests.Session, host: str, size: int) -> float:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    event = {"customer_id": "c1", "event_name": "call", "time_created": now, "properties": {"path": "/a", "n": 5}}
    body = json.dumps({"batch": [{**event, "idempotency_id": str(uuid4())} for _ in range(size)]})
    began = time.perf_counter()
    session.post(f"{host}/api/track/", data=body, timeout=60).raise_for_status()
    return time.perf_counter() - began


Lines = dict[str, list[tuple[int, int]]]
"""By its name in the legend: seconds, and what was pending then."""


def sizing(sizes: Sequence[int], *, slower: float = 1.0, end: float = END) -> tuple[Table, Lines]:
    """Return the table, and what is pending by the second in fleets of the size that is plotted."""
    rows: list[list[str]] = []
    lines: Lines = {}
    for generation in MEASURED:
        for hosts in sizes:
            alone = simulate(generation, hosts, relay=False, slower=slower, end=end)
            relayed = simulate(generation, hosts, relay=True, slower=slower, end=end)
            rows.append([f"{hosts:,}", generation, *_without(alone), *_with(hosts, relayed)])
            if hosts == _PLOTTED:
                lines[f"{generation}, each host by itself"] = alone.pending
                lines[f"{generation}, a relay"] = relayed.pending
    name, title = "fleet_sizing", "Lotus as quick as FakeLotus"
    if slower != 1.0:
        name, title = "fleet_sizing_slower", f"Lotus takes {slower:g} times as long"
    return Table(name, title, _COLUMNS, rows), lines


_COLUMNS = (
    "hosts",
    "Lotus",
    "alone: caught up",
    "requests/s, at once",
    "lost with disks",
    "relay: caught up",
    "requests/s, at once",
    "broker holds",
    "disk of a node",
    "flush_interval",
    "after a kill",
)


def _without(seen: Seen) -> list[str]:
    return [_duration(seen.caught_up), f"{seen.requests:,.0f}, {seen.at_once:,}", f"{seen.died:,}"]


def _with(hosts: int, seen: Seen) -> list[str]:
    megabytes = (seen.depth * _EVENT_BYTES + seen.messages * _MESSAGE_BYTES) / 1e6
    return [
        _duration(seen.caught_up),
        f"{seen.requests:,.0f}, {seen.at_once:,}",
        f"{seen.depth:,}",
        f"{megabytes:,.0f} MB" if megabytes >= 1 else "1 MB",
        f"{flush_interval(hosts):g} s",
        _duration(seen.after_kill),
    ]


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "never"
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate, print, and publish."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fleet_simulation", description=__doc__.split("\n")[0])
    parser.add_argument("--measure", action="store_true", help="measure how long requests take at FakeLotus, and end")
    parser.add_argument("--hosts", type=int, nargs="+", default=HOSTS)
    parser.add_argument("--publish", type=Path, metavar="DOCS", help="write the table and the plot there")
    chosen = parser.parse_args(arguments)
    if chosen.measure:
        for generation in MEASURED:
            found = measure(generation)
            print(f"{generation}: {found.request * 1e3:.2f} ms a request, {found.event * 1e6:.1f} µs an event")
        return 0
    tables = {}
    for slower in (1.0, _SLOWER):
        table, lines = sizing(chosen.hosts, slower=slower)
        tables[table.name] = as_markdown(table)
        print(as_text(table), end="\n\n")
    if chosen.publish is not None:
        page = chosen.publish / "scaling.md"
        page.write_text(fill_in(page.read_text(), tables))
        draw({"scenarios": {"fleet": {"series": {"outage": lines}}}}, chosen.publish)
    return 0


if __name__ == "__main__":
    sys.exit(main())
