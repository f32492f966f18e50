"""A process of a host that tracks: it writes down each call, before and after, and goes on until SIGTERM.

Or one that drains its queue for half a second, and so starts a flusher where there is none.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import UUID

from lotus_durable import Client, QueueFull
from lotus_durable.config import Config
from tests.chaos.writers import end_with_starter
from tests.rig import QUICK
from tests.servers.apps.ledger import Ledger

API_KEY = "fleet-key"
_MOST_AT_ONCE = 20
_FULL_PAUSE = 0.05


@dataclass(frozen=True, slots=True)
class Shift:
    """What a worker is told."""

    queue_dir: str
    relay_url: str
    ledger: str
    mode: str
    """A file: it tracks while that says "full"."""
    rate: float
    """Events in a second."""

    def encode(self) -> str:
        """Return it as an argument."""
        return json.dumps(asdict(self))


def configuration(queue_dir: Path, relay_url: str) -> Config:
    """Return the options of a host: small batches, so that many messages are on their way."""
    settings = {
        "api_key": API_KEY,
        "queue_dir": queue_dir,
        "relay_url": relay_url,
        "flush_interval": 0.1,
        "sync_interval": 0.2,
        "exit_timeout": 1.0,
        "on_error": lambda *_: None,
    }
    # What waits for a person or a server is shortened; how long a broker may take is not.
    return Config.resolve(settings)._replace(constants=QUICK._replace(first_pause=0.1, longest_pause=1.0))


def main() -> None:
    """Track, or drain."""
    end_with_starter()
    shift = Shift(**json.loads(sys.argv[1]))
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopping.append(number))
    client = Client.from_config(configuration(Path(shift.queue_dir), shift.relay_url))
    if sys.argv[2:] == ["drain"]:
        client.drain(0.5)
        client.release()
        return
    chance, ledger, mode = random.Random(os.urandom(8)), Ledger(Path(shift.ledger)), Path(shift.mode)
    while not stopping:
        if mode.read_text() != "full":
            time.sleep(0.02)
            continue
        began, count = time.monotonic(), chance.randint(1, _MOST_AT_ONCE)
        for _ in range(count):
            chosen = str(UUID(int=chance.getrandbits(128), version=4))
            ledger.intend(chosen)
            try:
                returned = client.track_event(
                    customer_id="c1", event_name="call", properties={"n": count}, idempotency_id=chosen
                )
            except QueueFull:
                time.sleep(_FULL_PAUSE)
                continue
            ledger.returned(returned)
        time.sleep(max(0.0, count / shift.rate - (time.monotonic() - began)))


if __name__ == "__main__":
    main()
