"""``python -m tests.chaos``: kill, stop, starve and refuse for as long as you like, and count what is left.

Starts a Lotus server of its own on loopback, workers that track events, and a flusher. Then, round after round, all by
a seed: SIGKILL, SIGSTOP and SIGTERM for workers, the leader and the flusher at random; SIGKILL at named points; every
kind of fault of the server; a disk that is full and gets free. After each round all get well, and what was accepted
must be settled within seconds. At the end the oracle compares what the workers wrote down (before each call, and after
it returned) with what the server, the parked events and the dead letters hold. Nothing leaves this machine.

exit codes:
  0  nothing was lost, and all else was as promised
  1  not so; the last lines say what, and how to play the same again
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
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn, get_args

from . import plan as plans
from .decisions import rounds
from .history import History, read_history
from .plan import Plan, Round
from .publish import publish
from .run import Outcome, run
from .table import as_lines

_KILLS, _EVENTS = 100, 30_000
"""When nothing else is asked for."""
_SECONDS_PER_KILL = 0.35
"""About; for a rate at which the events and the kills are done at the same time."""
_SLOWEST, _FASTEST = 1_000.0, 4_000.0
"""Events in a second."""
_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    played: Iterable[Round]
    try:
        plan, played = read_history(options.history) if options.history else _asked_for(options)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    folder = Path(tempfile.mkdtemp(prefix="lotus_durable-chaos-"))
    history = History(folder / "history.jsonl")
    try:
        with _ended_by_signals():
            outcome = run(plan, played, _empty(folder), history, say=lambda line: print(line, flush=True))
    except KeyboardInterrupt:
        print(f"interrupted; the history is in {history.path}", file=sys.stderr)
        return _INTERRUPTED
    finally:
        history.close()
    _tell(outcome, history, options)
    if outcome.is_good and not options.keep:
        shutil.rmtree(folder)
    return 0 if outcome.is_good else 1


def _tell(outcome: Outcome, history: History, options: argparse.Namespace) -> None:
    print("\n".join(as_lines(outcome)))
    if options.publish is not None and outcome.is_good:
        publish(outcome, options.publish, sys.argv[1:])
    if not outcome.is_good:
        print(f"\nNOT AS PROMISED, seed {outcome.plan.seed}:")
        for problem in outcome.problems:
            print(f"  {problem}")
        print(f"the same again: python -m tests.chaos --history {history.path}")
        print(f"the queue's files, the workers' ledgers and the log are in {history.path.parent}")


def _asked_for(options: argparse.Namespace) -> tuple[Plan, Iterator[Round]]:
    kills, events = options.kills, options.events
    if kills is None and events is None and options.minutes is None:
        kills, events = _KILLS, _EVENTS
    minutes = options.minutes or 15.0
    rate = options.rate
    if rate is None:
        seconds = max(10.0, kills * _SECONDS_PER_KILL) if kills else minutes * 60
        rate = min(_FASTEST, max(_SLOWEST, (events or 0) / seconds))
    flushers = options.flushers if options.flushers is not None else (2 if options.flusher == "external" else 1)
    plan = Plan(
        seed=random.SystemRandom().randrange(1_000_000) if options.seed is None else options.seed,
        workers=options.workers,
        flushers=flushers,
        minutes=minutes,
        kills=kills,
        events=events,
        rate=rate,
        generation=options.generation,
        backend=options.backend,
        flusher=options.flusher,
        durability=options.durability,
    )
    if plan.flusher == "external" and not plan.flushers:
        raise ValueError("--flusher external needs --flushers of 1 or more")
    return plan, rounds(plan)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    number = _whole_number
    parser.add_argument("--workers", type=number(1), default=8, metavar="N", help="default: 8")
    parser.add_argument(
        "--flushers", type=number(0), metavar="N", help="`lotus-durable flusher`s; default: 1 (external: 2)"
    )
    parser.add_argument("--minutes", type=float, metavar="M", help="begin no new round after that; default: 15")
    parser.add_argument("--kills", type=number(0), metavar="N", help=f"SIGKILLs at least; default: {_KILLS}")
    parser.add_argument("--events", type=number(1), metavar="N", help=f"events at least; default: {_EVENTS}")
    parser.add_argument("--rate", type=float, metavar="N", help="events in a second; default: as kills and events need")
    parser.add_argument("--seed", type=int, metavar="N", help="of all decisions; default: a new one")
    parser.add_argument("--generation", choices=get_args(plans.Generation), default="L24", help="of the server")
    parser.add_argument("--backend", choices=get_args(plans.Backend), default="journal", help="the client's option")
    parser.add_argument("--flusher", choices=get_args(plans.Flusher), default="thread", help="the client's option")
    parser.add_argument(
        "--durability", choices=get_args(plans.Durability), default="process", help="the client's option"
    )
    parser.add_argument(
        "--history", type=Path, metavar="FILE", help="play that run's decisions again, and ask for no others"
    )
    parser.add_argument(
        "--publish", type=Path, metavar="FILE", help="write the table into this document, if all is well"
    )
    parser.add_argument("--keep", action="store_true", help="keep all files also when all is well")
    return parser


def _whole_number(least: int) -> type[int]:
    def read(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"at least {least} is needed")
        return value

    return read  # type: ignore[return-value]


def _empty(folder: Path) -> Path:
    inside = folder / "run"
    inside.mkdir()
    return inside


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
