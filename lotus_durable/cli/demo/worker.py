"""One worker of the demo, in a process of its own: it lives like a web server's worker, and tracks events.

Run as ``python -m lotus_durable.cli.demo.worker SHIFT``, with a :class:`Shift` as JSON. It writes each accepted id to a
file of its own, with one write, after ``track_event`` has returned: that record, not the queue's books, is what the
demo judges by.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from lotus_durable.client import Client
from lotus_durable.config import Config

from .plan import customer_of

_MOST_EVENTS_PER_REQUEST = 5
_IDLE = 0.02  # seconds


@dataclass(frozen=True, slots=True)
class Shift:
    """What a worker is told."""

    options: Mapping[str, Any]
    """Of its client; the environment's are not used."""
    record: str
    """The file for the accepted ids."""
    first: int
    """The position of its first event."""
    end: int
    """The position after the last event in its place."""
    recycle_after: int
    rate: float
    """Events in a second."""
    refused_ids: Mapping[int, str]
    """Ids to give to the events at these positions."""
    starter: int
    """The pid of the demo: when that is gone, so is this."""
    seed: str

    def encode(self) -> str:
        """Return it as an argument."""
        return json.dumps(asdict(self))

    @classmethod
    def decode(cls, text: str) -> Shift:
        """Read it back."""
        fields = json.loads(text)
        refused_ids = {int(position): id_ for position, id_ in fields.pop("refused_ids").items()}
        return cls(**fields, refused_ids=refused_ids)


class Worker:
    """Serves one shift: a few events for each request, then a pause, until it is told to stop or is recycled."""

    def __init__(self, shift: Shift) -> None:
        self._shift = shift
        self._client = Client.from_config(Config.resolve(shift.options, environ={}))
        self._record = os.open(shift.record, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._chance = random.Random(shift.seed)  # noqa: S311  # traffic, not a secret
        self._position = shift.first
        self._stopping = False
        signal.signal(signal.SIGTERM, self._stop)

    def serve(self) -> None:
        """Work; what is pending at the end is the business of the client's exit hook, as in any program."""
        started = time.monotonic()
        served = 0
        while served < self._shift.recycle_after and not self._stopping and os.getppid() == self._shift.starter:
            left = self._shift.end - self._position
            if left <= 0:
                time.sleep(_IDLE)  # it stays, as a worker without requests does, and may still upload
                continue
            for _ in range(min(left, self._chance.randint(1, _MOST_EVENTS_PER_REQUEST))):
                self._track()
                served += 1
            time.sleep(max(0.0, started + served / self._shift.rate - time.monotonic()))

    def _track(self) -> None:
        position = self._position
        properties = {"region": "EU", "path": f"/files/{position}", "mb_used": self._chance.random()}
        before = time.perf_counter_ns()
        accepted_id = self._client.track_event(
            customer_id=customer_of(position),
            event_name="api_call",
            properties=properties,
            idempotency_id=self._shift.refused_ids.get(position),
        )
        took = time.perf_counter_ns() - before
        os.write(self._record, f"{accepted_id} {took}\n".encode())
        self._position += 1

    def _stop(self, _number: int, _frame: object) -> None:
        self._stopping = True


if __name__ == "__main__":
    Worker(Shift.decode(sys.argv[1])).serve()
