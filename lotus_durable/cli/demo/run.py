"""Sets the demo up, lets it happen, drains, judges, and cleans up, however it ends."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lotus_durable.cli.command import ExitCode
from lotus_durable.cli.output import say_json
from lotus_durable.cli.progress import open_progress
from lotus_durable.cli.stop import stop_flusher
from lotus_durable.errors import QueueDirectoryError
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.testing.process import FakeLotusProcess

from .judge import Judgement, judge
from .play import Play, Played
from .report import as_json, say_result

_KEY = "demo-key"
_LINE_INTERVAL = 5.0  # seconds between two lines where nobody watches
_DRAIN = 30.0  # seconds
_STOP = 10.0  # seconds
_CLEANER = 'cat >/dev/null; for again in 1 2 3 4 5; do rm -rf -- "$1"; sleep 0.3; done'
"""Removes the folder when its input ends because the demo was killed; without the folder its flusher ends too. Again,
because a worker that was just tracking has made the folder anew."""


def run(arguments: argparse.Namespace) -> ExitCode:
    """Run the demo and say how it went."""
    started = time.monotonic()
    with _folder(arguments) as (folder, keep):
        with open_progress(_LINE_INTERVAL) as progress, FakeLotusProcess(api_key=_KEY) as server:
            directory = QueueDirectory(folder / "queue")
            environment = _environment(directory, server)
            try:
                with Play(arguments.events, arguments.kills, directory, folder, server, environment, progress) as play:
                    played = play.play()
                judgement = _drained_and_judged(played, server, environment)
            finally:
                stop_flusher(directory, _STOP)
        seconds = time.monotonic() - started
        shown = folder if keep else None
        if arguments.json:
            say_json(as_json(judgement, played, seconds, shown))
        else:
            say_result(judgement, played, seconds, shown)
    return ExitCode.DONE if judgement.is_good else ExitCode.NOT_COMPLETE


def _drained_and_judged(played: Played, server: FakeLotusProcess, environment: Mapping[str, str]) -> Judgement:
    """Drain as a deploy hook would, and compare."""
    server.set_faults(None)
    drain = subprocess.run(  # noqa: S603  # our own command
        [sys.executable, "-m", "lotus_durable", "drain", "--json", "--timeout", str(_DRAIN)],
        env=environment,
        capture_output=True,
        check=False,
    )
    problems = list(played.problems)
    if drain.returncode != 0:
        report: dict[str, Any] = json.loads(drain.stdout or b"{}")
        problems.append(f"lotus-durable drain: {report.get('reason') or report.get('error') or 'it failed'}")
    return judge(played.tracked, played.in_doubt, server.ids(), problems)


def _environment(directory: QueueDirectory, server: FakeLotusProcess) -> dict[str, str]:
    """Return that of this process without its own settings of ours, and without proxies."""
    others = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("LOTUS_") and not name.lower().endswith("_proxy")
    }
    return {**others, "LOTUS_QUEUE_DIR": str(directory.root), "LOTUS_API_KEY": _KEY, "LOTUS_HOST": server.host}


@contextlib.contextmanager
def _folder(arguments: argparse.Namespace) -> Iterator[tuple[Path, bool]]:
    """Give a folder, and whether it is kept; if not, it is removed even when this process is killed.

    Raises:
        QueueDirectoryError: the one that is asked for holds something.
    """
    keep = arguments.keep or arguments.queue_dir is not None
    if arguments.queue_dir is None:
        folder = Path(tempfile.mkdtemp(prefix="lotus-durable-demo-"))
    else:
        folder = Path(arguments.queue_dir).absolute()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise QueueDirectoryError(f"{folder} is not empty; the demo needs a directory of its own")
    if keep:
        yield folder, keep
        return
    cleaner = subprocess.Popen(  # noqa: S603  # nothing of it comes from elsewhere
        ["/bin/sh", "-c", _CLEANER, "lotus-durable-demo", str(folder)],
        stdin=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for the demo
    )
    try:
        yield folder, keep
    finally:
        shutil.rmtree(folder)
        cleaner.kill()
        cleaner.communicate()
