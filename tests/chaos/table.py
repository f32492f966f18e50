"""The table of a run, for a terminal and for the document."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from benchmarks.report import Cell, Table, as_text

from .plan import BATCH
from .points import POINTS, points_of
from .run import Outcome

TAKEOVER_GOAL = 1.0
"""Seconds, with 8 workers."""


def as_lines(outcome: Outcome) -> list[str]:
    """Return what is printed at the end."""
    return [line for table in tables(outcome) for line in ("", as_text(table))]


def tables(outcome: Outcome) -> list[Table]:
    """Return the tables: what was done, and what came of it."""
    return [
        Table("chaos_results", "What came of it", ("", "figure", "promised"), list(_results(outcome))),
        Table(
            "chaos_signals", "Signals", ("victim", "SIGKILL", "SIGSTOP, SIGCONT", "SIGTERM"), list(_signals(outcome))
        ),
        Table(
            "chaos_points",
            "SIGKILL at named points",
            ("point", "kills", "missed", "what it is"),
            list(_points(outcome)),
        ),
        Table("chaos_faults", "Faults", ("fault", "times"), list(_faults(outcome))),
    ]


def _results(outcome: Outcome) -> Iterator[list[Cell]]:
    tally, judged, plan = outcome.tally, outcome.judgement, outcome.plan
    yield ["seed", str(plan.seed), ""]
    yield [
        "backend, flusher, durability, server",
        f"{plan.backend}, {plan.flusher}, {plan.durability}, {plan.generation}",
        "",
    ]
    yield ["workers, external flushers", f"{plan.workers}, {plan.flushers}", ""]
    yield ["rounds, minutes", f"{tally.rounds}, {outcome.seconds / 60:.1f}", ""]
    yield ["processes started", sum(outcome.started.values()), ""]
    yield ["requests", outcome.requests, ""]
    yield ["SIGKILLs", tally.kills, ""]
    if judged is not None:
        yield ["events attempted", judged.attempted, ""]
        yield ["events acknowledged", judged.acknowledged, ""]
        yield ["events found", judged.found, ""]
        yield ["**lost**", len(judged.lost), "0"]
        yield ["**never tracked**", judged.never_tracked, "0"]
        yield ["lost with a process's memory while the disk was full", judged.lost_from_memory, "documented"]
        yield ["received again by the server, for all causes", judged.sent_again, ""]
    yield ["looks at the books (conservation)", tally.books_seen, "each adds up"]
    yield ["kills of a leader, server and disk well", tally.plain_uploader_kills, ""]
    yield [
        "events sent again for each of them, worst round",
        f"{tally.worst_sent_again:.1f}",
        f"at most a batch, {BATCH}",
    ]
    yield _times("takeover after SIGKILL of the leader", tally.takeovers, f"at most {TAKEOVER_GOAL:g} s")
    yield _times("all settled after a round", tally.recoveries, "seconds")
    yield ["strikes that found nobody", sum(tally.missed.values()), ""]
    yield ["problems", len(outcome.problems), "0"]


def _times(name: str, seconds: list[float], promised: str) -> list[Cell]:
    if not seconds:
        return [name, "-", promised]
    return [f"{name}, p50 / max", f"{median(seconds):.2f} / {max(seconds):.2f} s ({len(seconds)})", promised]


def _signals(outcome: Outcome) -> Iterator[list[Cell]]:
    for victim in ("worker", "leader", "flusher"):
        counts = [outcome.tally.signals[victim, name] for name in ("SIGKILL", "SIGSTOP", "SIGTERM")]
        yield [victim, *counts]


def _points(outcome: Outcome) -> Iterator[list[Cell]]:
    for name in points_of(outcome.plan.backend):
        yield [name, outcome.tally.points[name], outcome.tally.missed[name], POINTS[name].about]


def _faults(outcome: Outcome) -> Iterator[list[Cell]]:
    for kind, times in sorted(outcome.faults.items()):
        yield [f"server: {kind}", times]
    yield [f"disk full ({outcome.disk})", outcome.tally.full_disks]
