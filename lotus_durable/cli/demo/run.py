"""From the arguments to the exit code: the folder it plays in, the server, the time limit, the result."""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from lotus_durable.cli.command import ExitCode
from lotus_durable.cli.output import complain, say, say_json
from lotus_durable.cli.progress import open_progress
from lotus_durable.cli.wording import count
from lotus_durable.errors import QueueDirectoryError
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.testing.process import FakeLotusProcess

from .crew import DemoFailed
from .judge import judge
from .plan import API_KEY, REGULARS, Plan
from .report import as_json, rows, say_table, verdict_in_words
from .stage import Performance, Stage

_NAME = "lotus-durable demo"

_LIMIT = 58.0
"""Seconds. Each part gives up earlier by itself; this is for what nobody thought of."""
_SERVER_START = 10.0  # seconds
_LINE_INTERVAL = 5.0  # seconds


def run(arguments: argparse.Namespace) -> ExitCode:
    """Play the demo and say how it went."""
    started = time.monotonic()
    seed = random.SystemRandom().randrange(1_000_000) if arguments.seed is None else arguments.seed
    plan = Plan(arguments.workers, arguments.events, arguments.kills, seed)
    folder = Path(tempfile.mkdtemp(prefix="lotus-durable-demo-"))
    keep = arguments.keep
    try:
        queue_dir = _empty_queue_dir(arguments.queue_dir) if arguments.queue_dir else folder / "queue"
        with _time_limit():
            performance = _play(plan, folder, queue_dir)
        judgement = judge(performance.evidence)
        keep = keep or not judgement.is_good
        seconds = time.monotonic() - started
        if arguments.json:
            say_json(as_json(plan, judgement, performance, seconds=seconds, directory=folder if keep else None))
        else:
            say_table(
                rows(plan, judgement, performance),
                verdict_in_words(judgement, performance, f"{seconds:.1f} s, seed {seed}"),
                is_good=judgement.is_good,
                with_colour=sys.stdout.isatty(),
            )
            if keep:
                say(f"The files are kept in {folder}")
    except DemoFailed as error:
        complain(_NAME, f"{error}; the files are kept in {folder}")
        keep = True
        return ExitCode.NOT_COMPLETE
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
    return ExitCode.DONE if judgement.is_good else ExitCode.NOT_COMPLETE


def _play(plan: Plan, folder: Path, queue_dir: Path) -> Performance:
    server = FakeLotusProcess("L22", api_key=API_KEY, customers=REGULARS)
    try:
        server.start(timeout=_SERVER_START)
        with open_progress(_LINE_INTERVAL) as progress:
            progress.tell(
                f"a Lotus server on {server.host}, {count(plan.workers, 'worker')}, {count(plan.events, 'event')}, "
                f"{count(plan.kills, 'kill')}, seed {plan.seed}; queue in {queue_dir}"
            )
            return Stage(plan, folder, queue_dir, server, progress).play()
    except RuntimeError as error:
        raise DemoFailed(str(error)) from error
    finally:
        server.kill()


def _empty_queue_dir(text: str) -> Path:
    """Return the directory that the user wants the queue in, made ready: never one that holds something.

    Raises:
        QueueDirectoryError: it holds something, or is unsafe.
        OSError: it cannot be used.
    """
    path = Path(os.path.abspath(os.path.expanduser(text)))  # as Config reads it
    with contextlib.suppress(FileNotFoundError):
        if os.listdir(path):
            raise QueueDirectoryError(f"directory {path} is not empty; the demo needs a new one")
    QueueDirectory(path).prepare()
    return path


@contextlib.contextmanager
def _time_limit() -> Iterator[None]:
    """End whatever is going on when the time is up, and on SIGTERM: in order, so that nothing is left behind."""

    def end(_number: int, _frame: object) -> NoReturn:
        raise DemoFailed(f"it did not come to an end within {_LIMIT:g} seconds")

    def terminate(number: int, _frame: object) -> NoReturn:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGALRM, end), signal.signal(signal.SIGTERM, terminate)
    signal.setitimer(signal.ITIMER_REAL, _LIMIT)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in zip((signal.SIGALRM, signal.SIGTERM), before, strict=True):
            signal.signal(number, handler)
