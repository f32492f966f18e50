"""``python -m tests.chaos``: kill, stop, starve, move and refuse for as long as you like, and count what is left.

Starts a Lotus server of its own on loopback and processes that track: workers, and others that live for 0 to 50 ms.
Whatever comes, flushers are started by them. Strikes are drawn by a seed, one after another; after each round of ten
all get well, and what was accepted by then must be settled within 30 s. At the end the oracle compares what the writers
wrote down (before each call, and after it returned) with what the server's database, the parked events and the dead
letters hold. Nothing leaves this machine.

exit codes:
  0  nothing was lost, and all else was as promised
  1  not so; the last lines say what
  2  wrong usage
  130  interrupted; everything that was started is ended"""

from __future__ import annotations

import argparse
import contextlib
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn, get_args

from .plan import Generation, Plan
from .run import run
from .strikes import STRIKES, UNTIDY, WORLD
from .table import as_lines, publish

_SECONDS_PER_KILL = 1.2
"""About; for a rate at which the events and the kills are done at the same time."""
_SLOWEST, _FASTEST = 100.0, 2_000.0
"""Events in a second."""
_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    options = _parser().parse_args(arguments)
    rate = options.events / (max(1, options.kills) * _SECONDS_PER_KILL)
    plan = Plan(
        seed=random.SystemRandom().randrange(1_000_000) if options.seed is None else options.seed,
        kills=options.kills,
        events=options.events,
        seconds=options.seconds,
        rate=options.rate or min(_FASTEST, max(_SLOWEST, rate)),
        workers=options.workers,
        generation=options.generation,
        without=(*options.without, *(UNTIDY if options.tidy else ())),
    )
    folder = Path(tempfile.mkdtemp(prefix="lotus_durable-chaos-"))
    try:
        with _ended_by_signals():
            outcome = run(plan, folder / "run", say=lambda line: print(line, flush=True))
    except KeyboardInterrupt:
        shutil.rmtree(folder, ignore_errors=True)
        print("interrupted", file=sys.stderr)
        return _INTERRUPTED
    print("\n".join(as_lines(outcome)))
    if not outcome.problems:
        shutil.rmtree(folder)
        if options.publish is not None:
            publish(outcome, options.publish, sys.argv[1:] if arguments is None else arguments)
        return 0
    print(f"\nNOT AS PROMISED, seed {plan.seed}; what the processes wrote down is in {folder}:")
    for problem in outcome.problems:
        print(f"  {problem}")
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    defaults = Plan(seed=0)
    parser.add_argument("--kills", type=int, default=defaults.kills, metavar="N", help="SIGKILLs at least")
    parser.add_argument("--events", type=int, default=defaults.events, metavar="N", help="events at least")
    parser.add_argument("--seconds", type=float, default=defaults.seconds, metavar="S", help="after which it must end")
    parser.add_argument("--seed", type=int, metavar="N", help="of all decisions; default: a new one")
    parser.add_argument("--workers", type=int, default=defaults.workers, metavar="N", help="default: %(default)s")
    parser.add_argument("--rate", type=float, metavar="N", help="events in a second; default: as kills and events need")
    parser.add_argument("--generation", choices=get_args(Generation), default="L24", help="of the server")
    parser.add_argument("--without", action="append", default=[], choices=[*STRIKES, *WORLD], help="leave a strike out")
    parser.add_argument(
        "--tidy", action="store_true", help="leave out what destroys or counts anew: the counts must be exact then"
    )
    parser.add_argument(
        "--publish", type=Path, metavar="FILE", help="write the tables into this document, if all is well"
    )
    return parser


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """End in order on SIGTERM as on Ctrl-C."""

    def interrupt(_number: int, _frame: object) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
