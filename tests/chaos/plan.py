"""What is asked of a run, and what every process of it goes by."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lotus_durable.config import Config, Constants
from lotus_durable.option_types import Backend, Durability

Generation = Literal["L22", "L24"]
Mode = Literal["full", "trickle", "silent"]
"""How much is tracked: as the plan says; an event now and then, by processes that end at once; nothing."""

Way = tuple[Backend, Durability]
WAYS: tuple[Way, ...] = (("journal", "process"), ("sqlite", "process"), ("journal", "power"), ("sqlite", "power"))

REPOSITORY = Path(__file__).parents[2]
API_KEY = "chaos-key"
CUSTOMERS = tuple(f"customer-{number}" for number in range(10))
STRANGER = "stranger"
"""A customer whom a server of 2022 never gets to know: these events are parked."""
BATCH = 200
"""Events in one request."""
READ_TIMEOUT = 1.5


@dataclass(frozen=True, slots=True)
class Plan:
    """One run."""

    seed: int
    kills: int = 100
    """SIGKILLs, by signal or at a named point, after which the run may end."""
    events: int = 20_000
    """Events attempted after which the run may end."""
    seconds: float = 1800.0
    """After so many no further strike is begun, and what is not reached by then is a problem."""
    rate: float = 500.0
    """Events in a second, of all workers."""
    workers: int = 4
    generation: Generation = "L24"
    ways: tuple[Way, ...] = WAYS
    """How workers track, in turn: so many of each as are in here."""
    without: tuple[str, ...] = ()
    """Strikes that are left out."""


def configuration(host: str, queue_dir: Path) -> Config:
    """Return the options of all processes: everything small and quick, so that much happens in little time."""
    config = Config.resolve(
        {
            "api_key": API_KEY,
            "host": host,
            "queue_dir": queue_dir,
            "flush_interval": 0.05,
            "max_batch_events": BATCH,
            "sync_interval": 0.2,
            "exit_timeout": 1.0,
            "timeout": (READ_TIMEOUT, READ_TIMEOUT),
        },
        environ={},
    )
    constants = Constants(
        segment_bytes=64 * 1024,
        parked_retry_interval=2.0,
        probe_interval=0.3,
        idle_before_end=0.7,
        hung_after=1.0,
        first_pause=0.05,
        longest_pause=0.5,
        # FakeLotus inserts within a second; the real server of 2022 was seen to take longer.
        grace=1.5,
    )
    return config._replace(constants=constants)
