"""``python -m tests.relay.chaos``: a fleet under strikes; at the end the server's database is asked.

Three hosts with workers that track, a RabbitMQ cluster of three nodes, two relays, and a FakeLotus, all on this machine
and all ended at the end. Needs rabbitmq-server. As root, and with iptables and iproute2, hosts and relays have network
namespaces of their own, and are cut off from the nodes, and nodes from each other.

exit codes:
  0  nothing was lost, and all else was as promised
  1  not so; the last lines say what
  2  wrong usage"""

from __future__ import annotations

import argparse
import math
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import get_args

from benchmarks.publish import fill_in
from benchmarks.report import Cell, Table, as_markdown, as_text
from tests.chaos.plan import Generation
from tests.relay.broker import version, why_not

from .run import Outcome, run
from .strikes import STRIKES
from .world import Plan


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    options = _parser().parse_args(arguments)
    if reason := why_not():
        print(reason, file=sys.stderr)
        return 2
    seed = random.SystemRandom().randrange(1_000_000) if options.seed is None else options.seed
    plan = Plan(
        seed=seed,
        kills=options.kills,
        events=options.events,
        seconds=options.seconds,
        rate=options.rate,
        generation=options.generation,
        without=tuple(options.without),
    )
    folder = Path(tempfile.mkdtemp(prefix="lotus_durable-fleet-"))
    outcome = run(plan, folder / "run", say=lambda line: print(line, flush=True))
    for table in tables(outcome):
        print("\n" + as_text(table))
    if options.publish:
        made = {table.name: as_markdown(table) for table in tables(outcome)}
        options.publish.write_text(fill_in(options.publish.read_text(), made))
    for problem in outcome.problems:
        print(f"PROBLEM: {problem}")
    if outcome.problems:
        print(f"left for you to look at: {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


def tables(outcome: Outcome) -> list[Table]:
    """Return what is shown and published."""
    tag = "".join(map(str, version()[:1]))
    name = f"fleet_{outcome.plan.generation}_rabbitmq{tag}"
    strikes: list[list[Cell]] = [
        [each, outcome.struck[each], outcome.missed[each], STRIKES[each].about]
        for each in STRIKES
        if outcome.struck[each] or outcome.missed[each]
    ]
    return [
        Table(name, "What came of it", ("", "figure", "promised"), list(_results(outcome))),
        Table(f"{name}_strikes", "Strikes", ("strike", "times", "found nobody", "what it is"), strikes),
    ]


def _results(outcome: Outcome) -> Iterator[list[Cell]]:
    compared, plan = outcome.comparison, outcome.plan
    yield ["RabbitMQ, nodes", f"{'.'.join(map(str, version()))}, {plan.nodes}", ""]
    yield ["seed, server, hosts x workers", f"{plan.seed}, {plan.generation}, {plan.hosts} x {plan.workers}", ""]
    yield ["minutes", f"{outcome.seconds / 60:.1f}", ""]
    yield ["strikes", outcome.struck.total(), ""]
    yield ["SIGKILLs", outcome.kills, ""]
    yield ["events acknowledged", compared.acknowledged, ""]
    yield ["in the server's database", compared.in_database, ""]
    yield ["**lost**", len(compared.lost), "0"]
    yield ["**never tracked**", compared.never_tracked, "0"]
    yield ["received again by the server", compared.sent_again, "in the database once"]
    yield ["most requests at once", compared.most_at_once, "1 on L22"]
    settled = sorted(outcome.settled[1:-2] or outcome.settled)
    p50, longest = settled[math.ceil(len(settled) / 2) - 1], settled[-1]
    yield ["all at Lotus, when all was well: p50 / max", f"{p50:.1f} / {longest:.1f} s ({len(settled)})", ""]
    yield ["problems", len(outcome.problems), "0"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.relay.chaos", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=30, help="SIGKILLs after which it may end")
    parser.add_argument("--events", type=int, default=20_000, help="events after which it may end")
    parser.add_argument("--seconds", type=float, default=900.0, help="after which it ends in any case")
    parser.add_argument("--rate", type=float, default=500.0, help="events a second, of all workers")
    parser.add_argument("--seed", type=int, help="of the decisions; shown at the end")
    parser.add_argument("--generation", choices=get_args(Generation), default="L22", help="of the server")
    parser.add_argument("--without", action="append", default=[], choices=STRIKES, help="leave a strike out")
    parser.add_argument("--publish", type=Path, metavar="FILE", help="fill in the tables of this document")
    return parser
