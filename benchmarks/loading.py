"""Starting the processes that load a subject, together, and collecting what they timed."""

from __future__ import annotations

import json
import subprocess
import sys
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from benchmarks.latency import Call
from benchmarks.load import Specification
from benchmarks.surroundings import ROOT, environment, only_benchmarks

THIS_PYTHON = Path(sys.executable)


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the processes of one load found."""

    threads: Sequence[Sequence[Call]]
    """The calls of each thread, in order."""
    cpu: float
    """Seconds, of all processes, while they were loading."""
    refused: int = 0
    """Events that were not accepted: no calls."""

    @property
    def calls(self) -> list[Call]:
        """All calls; the order within each thread is kept."""
        return [call for thread in self.threads for call in thread]

    @property
    def seconds(self) -> float:
        """From the first call's beginning to the last one's end."""
        calls = self.calls
        return (max(call.ended for call in calls) - min(call.begun for call in calls)) / 1e9


def load(
    specifications: Sequence[Specification],
    *,
    python: Path = THIS_PYTHON,
    once_ready: Callable[[], object] = lambda: None,
) -> Loaded:
    """Run a process for each specification, at the same time.

    Args:
        specifications: one for each process.
        python: whose interpreter runs them.
        once_ready: called when all are ready, before they begin.

    Raises:
        RuntimeError: a process failed; what it wrote to standard error is in the message.
    """
    with ExitStack() as stack:
        processes = [stack.enter_context(_started(python, specification)) for specification in specifications]
        stack.callback(_kill, processes)
        for process, specification in zip(processes, specifications, strict=True):
            _line(process, specification)
        once_ready()
        for process in processes:
            _say(process, "go")
        answers = [
            json.loads(_line(process, specification))
            for process, specification in zip(processes, specifications, strict=True)
        ]
    threads = [
        thread
        for specification, answer in zip(specifications, answers, strict=True)
        for thread in _calls(specification, answer["threads"])
    ]
    return Loaded(threads, sum(answer["cpu"] for answer in answers), sum(answer["refused"] for answer in answers))


def _kill(processes: Sequence[subprocess.Popen[str]]) -> None:
    """End them: what they had to say is said, or one has failed."""
    for process in processes:
        process.kill()


@contextmanager
def _started(python: Path, specification: Specification) -> Iterator[subprocess.Popen[str]]:
    errors = Path(f"{specification.samples}.errors")
    command = [str(python), "-m", "benchmarks.load", specification.encode()]
    found_in = ROOT if python == THIS_PYTHON else only_benchmarks()
    with (
        errors.open("w", encoding="utf-8") as stderr,
        subprocess.Popen(
            command,
            cwd=found_in,
            env=environment(PYTHONPATH=str(found_in), **specification.environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        ) as process,
    ):
        yield process


def _line(process: subprocess.Popen[str], specification: Specification) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(_last_words(Path(f"{specification.samples}.errors")))
    return line


def _last_words(errors: Path) -> str:
    return f"a process that loads a subject failed:\n{errors.read_text(encoding='utf-8')[-2_000:]}"


def _say(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdin is not None
    print(word, file=process.stdin, flush=True)


def _calls(specification: Specification, lengths: Sequence[int]) -> Iterator[list[Call]]:
    times = array("q")
    times.frombytes(Path(specification.samples).read_bytes())
    calls = (Call(*times[at : at + 3]) for at in range(0, len(times), 3))
    return (list(islice(calls, length)) for length in lengths)
