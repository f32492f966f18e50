"""A host, a real RabbitMQ, relays, and the sink: events a second, how long one takes, and what a failure interrupts.

The broker is that of the tests (``tests/relay/broker.py``): on loopback, and on the same processors as all else.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.bench import Bench
from benchmarks.latency import Latencies
from benchmarks.report import Goal, Report, Table
from benchmarks.server import Server, serving
from benchmarks.sink import Counts
from benchmarks.surroundings import API_KEY, environment, flushers_of
from benchmarks.watched import Watched
from tests.relay.broker import Cluster, Network, Node, version, why_not

_TIMEOUT = 180.0
_LOOK_INTERVAL = 0.002
_PAUSE = 0.01
"""Seconds between two events while failures are timed."""
_PROCESSORS = 2
_IN_FLIGHT = 0.1
"""Seconds after a strike in which what comes may have been on its way."""
_RESTS = 3.0


def run(bench: Bench) -> Report:
    if reason := why_not():
        return Report("fleet", notes=[f"skipped: {reason}"])
    rows: list[Sequence[str | int | float]] = []
    costs: list[tuple[str, list[float]]] = []
    goals: list[Goal] = []
    waits: list[tuple[str, float, list[float]]] = []
    for size, asked in ((1, 60_000), (3, 45_000)):
        with bench.folder() as folder, Cluster(folder / "broker", size) as cluster, serving() as server:
            place = _Place(folder, cluster, server)
            ours = _throughput(place, bench.scale.fleet_events)
            bare = _throughput_of_bare(place, bench.scale.fleet_events)
            alone = _latencies(place, bench.scale.fleet_calls)
            p50, p99 = (alone.at(percentile) / 1e3 for percentile in (50, 99))
            rows.append((size, round(ours.rate), round(bare.rate), round(p50, 1), round(p99, 1)))
            costs += [
                (f"{name}, {size} {'node' if size == 1 else 'nodes'}", [*flow.cost.values(), sum(flow.cost.values())])
                for name, flow in (("ours", ours), ("bare", bare))
            ]
            floor = f"a bare fleet {bare.rate:,.0f}, with {sum(bare.cost.values()):.1f} µs of processor time an event"
            goals += [
                Goal(f"fleet: events a second, {size} nodes", ours.rate, "at least", asked, "events/s", floor=floor),
                Goal(
                    f"fleet: processor time of an event, {size} nodes", sum(ours.cost.values()), "at most",
                    _PROCESSORS * 1e6 / asked, "µs", f"what {asked:,} a second leave on two processors", floor,
                ),
            ]  # fmt: skip
            if size > 1:
                times = bench.scale.fleet_failures
                waits = [(name, most, _interruptions(place, strike, times)) for name, most, strike in _STRIKES]
    goals += [Goal(f"fleet: {name}", max(gaps), "at most", most, "s", f"of {len(gaps)}") for name, most, gaps in waits]
    numbers = ".".join(map(str, version()))
    return Report(
        "fleet",
        [
            Table(
                "fleet",
                f"Host, RabbitMQ {numbers}, relay and a sink, on the same processors",
                ("nodes", "events a second", "a bare fleet", "one event, p50 ms", "p99 ms"),
                rows,
            ),
            Table(
                "fleet_cost",
                "Processor time of an event, in µs",
                ("fleet", "host", "broker", "relay", "sink", "together"),
                [(name, *(round(each, 1) for each in found)) for name, found in costs],
            ),
            Table(
                "fleet_failures",
                f"Until events come through again, three nodes of RabbitMQ {numbers}, two relays, a server of 2024",
                ("failure", "times", "shortest s", "longest s"),
                [(name, len(gaps), round(min(gaps), 2), round(max(gaps), 2)) for name, _, gaps in waits],
            ),
        ],
        goals,
        {"seconds": {name: gaps for name, _, gaps in waits}},
    )


class _Place:
    """One cluster, one queue, and whoever is at its two ends."""

    def __init__(self, folder: Path, cluster: Cluster, server: Server) -> None:
        self.folder, self.cluster, self.server = folder, cluster, server
        self._environment = environment(
            LOTUS_API_KEY=API_KEY,
            LOTUS_HOST=server.url,
            LOTUS_RELAY_URL=cluster.url("lotus.events"),
            # The server of 2022 may still be at work on what a killed relay sent, and the next one waits for that.
            LOTUS_API_VERSION="2024",
        )
        if version() >= (4, 3):
            cluster.set_policy('{"consumer-disconnected-timeout": 5000}')

    @contextmanager
    def relay(self, name: str) -> Iterator[subprocess.Popen[bytes]]:
        command = [sys.executable, "-m", "lotus_durable", "relay", "--queue-dir", str(self.folder / name)]
        with (self.folder / f"{name}.log").open("ab") as log, ExitStack() as stack:
            process = stack.enter_context(subprocess.Popen(command, env=self._environment, stderr=log))
            stack.callback(process.kill)
            yield process

    def used(self, relay: int, *hosts: int) -> dict[str, float]:
        """Return the seconds of processor time that each part has used."""
        nodes = [node.pid for node in self.cluster.nodes]
        parts = {"host": hosts, "broker": nodes, "relay": [relay], "sink": [self.server.pid]}
        return {name: sum(Watched(pid).cpu() for pid in pids) for name, pids in parts.items()}

    @contextmanager
    def bare(self, *words: str) -> Iterator[subprocess.Popen[bytes]]:
        command = [sys.executable, "-m", "benchmarks.bare_fleet", *words]
        with subprocess.Popen(command, env=self._environment) as process, ExitStack() as stack:
            stack.callback(process.kill)
            yield process

    @contextmanager
    def host(self, name: str, *words: str) -> Iterator[subprocess.Popen[bytes]]:
        command = [sys.executable, "-m", "benchmarks.scenarios.fleet", str(self.folder / name), *words]
        with ExitStack() as stack:
            process = stack.enter_context(
                subprocess.Popen(command, env=self._environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            )
            stack.callback(process.kill)
            yield process


@dataclass(frozen=True, slots=True)
class _Flow:
    """From a host's full queue to the sink."""

    rate: float
    """Events a second."""
    cost: dict[str, float]
    """Microseconds of processor time an event, of each part."""


def _throughput(place: _Place, events: int) -> _Flow:
    """Return how fast events flow, and what they cost: the start of the host's flusher is in the latter."""
    with place.host("full", "fill", str(events)) as filler:
        filler.wait(_TIMEOUT)
    with place.relay("relay") as relay:
        with place.host("first", "track", "1"):  # all is connected when it has arrived
            place.server.wait_for(1, _TIMEOUT)
        began = place.used(relay.pid)
        place.server.mark()
        with place.host("full", "drain"):
            counts = place.server.wait_for(events, _TIMEOUT)
            ended = place.used(relay.pid, *flushers_of(place.folder / "full"))
    return _flow(events, counts, began, ended)


def _throughput_of_bare(place: _Place, events: int) -> _Flow:
    """Return the same of a bare fleet."""
    url = place.cluster.url("bare")
    with place.host("bare", "fill", str(events)) as filler:
        filler.wait(_TIMEOUT)
    with place.bare("relay", url, place.server.url) as relay:
        began = place.used(relay.pid)
        place.server.mark()
        with place.bare("host", str(place.folder / "bare"), url) as host:
            counts = place.server.wait_for(events, _TIMEOUT)
            ended = place.used(relay.pid, host.pid)
    return _flow(events, counts, began, ended)


def _flow(events: int, counts: Counts, began: dict[str, float], ended: dict[str, float]) -> _Flow:
    assert counts.first is not None
    assert counts.last is not None
    cost = {part: (ended[part] - began[part]) / events * 1e6 for part in ended}
    return _Flow(events / (counts.last - counts.first), cost)


def _latencies(place: _Place, calls: int) -> Latencies:
    """Return how long it took from the call of ``track_event`` to the server, one event at a time."""
    with place.relay("relay"), place.host("single", "single", str(calls)) as host:
        assert host.stdin is not None
        assert host.stdout is not None
        times = []
        for _ in range(calls):
            place.server.mark()
            host.stdin.write(b"\n")
            host.stdin.flush()
            began = float(host.stdout.readline())
            counts = place.server.wait_for(1, _TIMEOUT)
            assert counts.first is not None
            times.append(counts.first - began)
    return Latencies.of(int(each * 1e9) for each in times[1:])  # the first one starts the flusher


def _interruptions(place: _Place, strike: Callable[[_Struck], None], times: int) -> list[float]:
    """Return for how long nothing came through after each strike."""
    found = []
    with place.host("steady", "track", "0"):
        for _ in range(times):
            with place.relay("relay-1") as first, ExitStack() as stack:
                _arrives(place.server)
                second = stack.enter_context(place.relay("relay-2"))
                time.sleep(_RESTS)  # it stands by
                struck = _Struck(place, first, second)
                at = time.monotonic()
                strike(struck)
                time.sleep(max(0.0, at + _IN_FLIGHT - time.monotonic()))
                found.append(_arrives(place.server) - at)
                struck.undo()
    return found


def _arrives(server: Server) -> float:
    """Return when the next request begins."""
    server.mark()
    first = server.wait_for(1, _TIMEOUT).first
    assert first is not None
    return first


class _Struck:
    """What a strike may take, and how it ends."""

    def __init__(self, place: _Place, active: subprocess.Popen[bytes], other: subprocess.Popen[bytes]) -> None:
        self._place, self._active, self._other = place, active, other
        self._node: Node | None = None

    def kill_relay(self) -> None:
        self._active.kill()

    def stop_relay(self) -> None:
        self._active.send_signal(signal.SIGSTOP)

    def kill_node(self) -> None:
        self._node = self._of_relay()
        self._node.kill()

    def part(self) -> None:
        node = self._of_relay()
        self._place.cluster.network.part([node], [each for each in self._place.cluster.nodes if each is not node])

    def undo(self) -> None:
        self._place.cluster.network.heal()
        if self._node is not None:
            self._node.start()
        if self._active.poll() is None:
            self._active.send_signal(signal.SIGCONT)
        _arrives(self._place.server)

    def _of_relay(self) -> Node:
        node = self._place.cluster.node_of(self._active.pid)
        assert node is not None
        return node


_STRIKES: list[tuple[str, float, Callable[[_Struck], None]]] = [
    ("the active relay is killed", 2.0, _Struck.kill_relay),
    ("the active relay is stopped", 12.0, _Struck.stop_relay),
    ("its node is killed", 12.0, _Struck.kill_node),
    *([] if Network.why_not() else [("its node is parted from the others", 20.0, _Struck.part)]),
]


def be_host(queue_dir: str, what: str, count: str = "0") -> None:
    """Fill a queue, drain it, or track: until the parent is gone, or so many."""
    import lotus_durable

    parent = os.getppid()
    flush_interval = 0.01 if what == "single" else 0.5  # 0.5, the default, would be what is measured
    flusher: Literal["auto", "external"] = "external" if what == "fill" else "auto"
    client = lotus_durable.Client(queue_dir=queue_dir, flusher=flusher, flush_interval=flush_interval)
    number = 0
    while what != "drain" and (not int(count) or number < int(count)) and os.getppid() == parent:
        if what == "single":
            sys.stdin.readline()
            print(time.monotonic(), flush=True)
        client.track_event(customer_id="customer-123", event_name="api_call", properties={"path": "/a", "bytes": 512})
        number += 1
        if what == "track":
            time.sleep(_PAUSE)
    if what == "drain":
        client.drain(_TIMEOUT)
    elif what == "track":
        sys.stdin.read()
    client.release()


if __name__ == "__main__":
    be_host(*sys.argv[1:])
