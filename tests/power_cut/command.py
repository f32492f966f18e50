"""``python -m tests.power_cut``: record what a run asks of the disk, and open what is left after the power went.

Records, with strace, every write, sync, rename and unlink of processes that track and of flushers, SQLite's too; once
for each durability and way to append. Then it cuts the power at every one of these calls: it makes states that a disk
may hold then, has the queue recover from each, and compares what is there with what was known to be safe. One in so
many is drained by a whole flusher to a FakeLotus, whose database is asked. Nothing leaves this machine.

exit codes:
  0  all was as promised
  1  not so; the last lines say what, and the states are kept
  2  wrong usage, or there is no strace"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.publish import fill_in
from benchmarks.report import Cell, Table, as_markdown, as_text

from .run import SCENES, Outcome, examine, record
from .trace import why_not

_SHOWN = 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    options = _parser().parse_args(arguments)
    if (why := why_not()) is not None:
        print(f"nothing can be recorded: {why}", file=sys.stderr)
        return 2
    seed = random.SystemRandom().randrange(1_000_000) if options.seed is None else options.seed
    folder = Path(tempfile.mkdtemp(prefix="lotus_durable-power-", dir=options.folder))
    outcomes, began = [], time.monotonic()
    for backend, durability in SCENES:
        place = folder / f"{backend}-{durability}"
        place.mkdir()
        recording = record(backend, durability, place)
        most = -(-options.states // len(SCENES))
        outcomes.append(
            examine(
                recording, most, seed, one_in=options.one_in, folder=folder, say=lambda line: print(line, flush=True)
            )
        )
    table = _table(outcomes, seed, time.monotonic() - began)
    print(f"\n{as_text(table)}")
    if problems := [problem for outcome in outcomes for problem in outcome.problems]:
        print(f"\nNOT AS PROMISED, seed {seed}; the states are in {folder}: {len(problems)} problems")
        for problem in problems[:_SHOWN]:
            print(f"  {problem}")
        return 1
    shutil.rmtree(folder)
    if options.publish is not None:
        text = fill_in(options.publish.read_text(encoding="utf-8"), {table.name: as_markdown(table)})
        options.publish.write_text(text, encoding="utf-8")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.power_cut", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--states", type=int, default=2000, metavar="N", help="at least; default: %(default)s")
    parser.add_argument(
        "--one-in", type=int, default=20, metavar="N", help="is drained by a flusher; default: one in 20"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="of what is drawn; default: a new one")
    parser.add_argument("--folder", type=Path, help="where states are made, a tmpfs at best; default: a temporary one")
    parser.add_argument(
        "--publish", type=Path, metavar="FILE", help="write the table into this document, if all is well"
    )
    return parser


def _table(outcomes: Sequence[Outcome], seed: int, seconds: float) -> Table:
    columns = ["", *(f"{each.backend}, {each.durability}" for each in outcomes), "promised"]
    kinds = sorted({kind for each in outcomes for kind in each.kinds})
    of_kinds: list[list[Cell]] = [[f"of these: {kind}", *(each.kinds[kind] for each in outcomes), ""] for kind in kinds]
    rows: list[list[Cell]] = [
        ["writes, syncs, renames, unlinks … recorded", *(each.calls for each in outcomes), ""],
        ["events attempted", *(each.events for each in outcomes), ""],
        ["states, each another", *(each.states for each in outcomes), ""],
        *of_kinds,
        ["drained by a whole flusher", *(each.by_flusher for each in outcomes), ""],
        ["events that were safe, in all states together", *(each.kept for each in outcomes), ""],
        ["**of these lost**", *(each.lost for each in outcomes), "0"],
        ["events not yet safe that were gone", *(each.taken for each in outcomes), "documented"],
        ["problems", *(len(each.problems) for each in outcomes), "0"],
    ]
    return Table("power_cut", f"Seed {seed}, {seconds / 60:.1f} minutes", columns, rows)
