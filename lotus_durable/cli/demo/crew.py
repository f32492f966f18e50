"""The workers' processes: started, replaced when they end or are killed, and stopped, as a web server does it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from .plan import API_KEY, Plan
from .records import Accepted, RecordFile
from .worker import Shift

_STOP_TIMEOUT = 5.0  # seconds; a worker that uploads may take its exit_timeout of 2


class DemoFailed(Exception):
    """The demo itself does not work here; the message says why. It tells nothing about the queue."""


@dataclass(slots=True)
class _Place:
    """One worker's place, in which others follow when it ends."""

    slot: int
    process: subprocess.Popen[bytes]
    record: RecordFile
    recorded_before: int = 0
    """Events that those before it have recorded."""
    incarnation: int = 0

    @property
    def position(self) -> int:
        return self.recorded_before + self.record.lines


class Crew:
    """All workers of a demo; a context manager that leaves none of them behind."""

    def __init__(self, plan: Plan, folder: Path, queue_dir: Path, host: str) -> None:
        self._plan = plan
        self._folder = folder
        self._options: dict[str, Any] = {
            "api_key": API_KEY,
            "host": host,
            "queue_dir": os.fspath(queue_dir),
            # Small batches and short waits: more requests for the server to fail on, in the same few seconds.
            "flush_interval": 0.1,
            "max_batch_events": 100,
            "parked_retry_interval": 1.0,
        }
        self._log = folder / "workers.log"
        self._places: list[_Place] = []
        self._killed: set[int] = set()
        self.accepted = Accepted()
        self.recycled = 0
        self.kills = 0
        """SIGKILLs sent to workers, leaders included."""

    def __enter__(self) -> Self:
        for slot in range(self._plan.workers):
            process, record = self._start(slot, first=0, incarnation=0)
            self._places.append(_Place(slot, process, record))
        return self

    def __exit__(self, *exception: object) -> None:
        for place in self._places:
            place.process.kill()
            place.process.wait()

    def look(self) -> None:
        """Read what was accepted since, and replace workers that have ended.

        Raises:
            DemoFailed: a worker ended by itself, with an error.
        """
        for place in self._places:
            has_ended = place.process.poll() is not None
            place.record.read_into(self.accepted)
            if has_ended:
                self._replace(place)

    def pids(self) -> set[int]:
        """Return those of the workers that live."""
        return {place.process.pid for place in self._places if place.process.poll() is None}

    def kill(self, pid: int) -> None:
        """SIGKILL one of them; the next look replaces it."""
        for place in self._places:
            if place.process.pid == pid:
                self._killed.add(pid)
                self.kills += 1
                place.process.kill()

    def stop(self) -> None:
        """Stop all as a deploy does: SIGTERM, and SIGKILL for those that take too long."""
        for place in self._places:
            place.process.send_signal(signal.SIGTERM)
        ends = time.monotonic() + _STOP_TIMEOUT
        for place in self._places:
            try:
                place.process.wait(max(0.0, ends - time.monotonic()))
            except subprocess.TimeoutExpired:
                self.kill(place.process.pid)
                place.process.wait()
            place.record.read_into(self.accepted)

    def _replace(self, place: _Place) -> None:
        if place.process.pid not in self._killed:
            if place.process.returncode != 0:
                raise DemoFailed(f"a worker ended with {place.process.returncode}: {_last_line(self._log)}")
            self.recycled += 1
        place.recorded_before = place.position
        place.incarnation += 1
        place.process, place.record = self._start(place.slot, place.recorded_before, place.incarnation)

    def _start(self, slot: int, first: int, incarnation: int) -> tuple[subprocess.Popen[bytes], RecordFile]:
        record = os.fspath(self._folder / f"accepted-{slot}-{incarnation}.txt")
        seed = f"{self._plan.seed}/{slot}/{incarnation}"
        # gunicorn's max_requests_jitter: they must not all be recycled at once.
        jitter = random.Random(seed).uniform(0.8, 1.2)  # noqa: S311  # repeatable, not secret
        shift = Shift(
            options=self._options,
            record=record,
            first=first,
            end=self._plan.quota(slot),
            recycle_after=int(self._plan.recycle_after * jitter),
            rate=self._plan.rate,
            refused_ids=self._plan.refused_ids(slot),
            starter=os.getpid(),
            seed=seed,
        )
        with self._log.open("ab") as log:
            process = subprocess.Popen(  # noqa: S603  # our own module
                [sys.executable, "-m", "lotus_durable.cli.demo.worker", shift.encode()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=clean_environment(),
                start_new_session=True,  # Ctrl-C in a terminal is for the demo, which then ends them
            )
        return process, RecordFile(record)


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for processes of the demo: without settings for the real Lotus, and without proxies."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LOTUS_")}
    return {**kept, "NO_PROXY": "*", "no_proxy": "*", **(extra or {})}


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "no message"
