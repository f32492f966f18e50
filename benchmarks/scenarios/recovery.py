"""A backlog after an outage: how much of the machine's and the server's speed reaches it."""

from __future__ import annotations

from statistics import median

from benchmarks.backlog import fill
from benchmarks.bench import Bench
from benchmarks.child import in_child
from benchmarks.flushing import flushing
from benchmarks.report import Goal, Report, Table
from benchmarks.scenarios.settling import drained
from benchmarks.server import Server, serving

_SLOW = 0.05  # seconds
_START_TIMEOUT, _LEAST_RATE = 60.0, 5_000  # seconds; events/s
_TAKEN_SHARE = 20
"""Of the backlog, one event in so many for persist-queue, which is slow, and as slow with few."""
_TURNS = 3


def run(bench: Bench) -> Report:
    events, slow_events = bench.scale.busy_backlog, bench.scale.slow_backlog
    bare, ours = [], []
    with serving(generation="2024") as server:
        for _ in range(_TURNS):  # in turn: the machine is never quite still
            bare.append(_bare(bench, server, events))
            ours.append(_ours(bench, server, events))
    with bench.folder() as folder:
        taken = in_child("benchmarks.bare:take", str(folder / "queue"), str(max(1, events // _TAKEN_SHARE)), "NORMAL")
    with serving(_SLOW, generation="2024") as server:
        slow = drained(bench, None, server, slow_events)
        beside = None if bench.beside is None else drained(bench, bench.beside, server, slow_events)
    rate, floor = median(ours), median(bare)
    rows = [
        ("the server answers at once", events, rate),
        ("the same, a bare loop", events, floor),
        ("persist-queue, get and task_done, nothing sent", events // _TAKEN_SHARE, taken),
        (f"the server takes {_SLOW * 1e3:g} ms", slow_events, slow),
        *([] if beside is None else [("the same, the build beside", slow_events, beside)]),
    ]
    return Report(
        "recovery",
        [Table("recovery", "Recovery", ("a backlog", "events", "events/s"), rows)],
        [
            Goal("recovery: events/s over a bare loop's", rate / floor, "at least", 0.6, "times",
                 f"{rate:,.0f} / {floor:,.0f}", f"{floor:,.0f} events/s"),
            Goal("recovery: events/s over persist-queue's get and task_done", rate / taken, "at least", 4, "times",
                 f"{rate:,.0f} / {taken:,.0f}", f"{floor:,.0f} events/s", floor / taken),
            Goal(
                "recovery: with answers that take 50 ms, over the build beside's",
                None if beside is None else slow / beside, "at least", 3.5, "times",
                "" if beside is None else f"{slow:,.0f} / {beside:,.0f} events/s",
                note="no build beside (--beside)" if beside is None else "",
            ),
        ],
    )  # fmt: skip


def _ours(bench: Bench, server: Server, events: int) -> float:
    with bench.folder() as folder:
        fill(folder / "queue", events)
        server.mark()
        with flushing(folder / "queue", server):
            return _rate(server, events)


def _bare(bench: Bench, server: Server, events: int) -> float:
    with bench.folder() as folder:
        fill(folder / "queue", events)
        server.mark()
        in_child("benchmarks.bare:loop", str(folder / "queue"), server.url)
        return _rate(server, events)


def _rate(server: Server, events: int) -> float:
    counts = server.wait_for(events, _START_TIMEOUT + events / _LEAST_RATE)
    assert counts.first is not None
    assert counts.last is not None
    return events / (counts.last - counts.first)
