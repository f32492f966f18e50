"""How much of everything: a whole run, a quick one, and one that only shows that the machinery works."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scale:
    name: str
    rounds: int
    """How often each subject has its turn; what it measured is put together."""
    turns: int
    """Of each load of calls; what is shown are the medians over them, and those of fewer than 5 would be some
    neighbour's doing."""
    burst_calls: int
    """Calls one after the other, per round. 10,000 is what the in-memory clients hold before they drop."""
    warm_up_seconds: float
    """Between the first calls of a process and those that are measured: connections are open then."""
    paced_rate: int
    """Calls a second."""
    paced_seconds: float
    workers: tuple[int, ...]
    threads: tuple[int, ...]
    worker_calls: int
    """Of all workers together."""
    worker_seconds: float
    """No worker goes on for longer than this."""
    backlogs: tuple[int, ...]
    """Pending events."""
    drain_repeats: int
    """Of a backlog up to 100,000, which takes less than a second."""
    slow_backlog: int
    """For the server that takes 50 ms."""
    short_lives: int
    """Processes one after the other that track one event and end."""
    busy_backlog: int
    """For draining while others keep tracking, and next to a request handler."""
    settlements: int
    settled_backlog: int
    """Drained beside another build."""
    outage_seconds: float
    """For which the server is down."""
    crowd: int
    """Segments with an event each."""
    parked_rows: int
    starts: int
    takeovers: int
    imports: int
    cost_events: int
    """2,000 a second, for each client."""
    instruction_calls: int
    """A multiple of the 256 for which random ids are drawn at once."""
    fleet_events: int
    fleet_calls: int
    fleet_failures: int


FULL = Scale(
    name="full",
    rounds=3,
    turns=5,
    burst_calls=10_000,
    warm_up_seconds=3.0,
    paced_rate=1_000,
    paced_seconds=2.0,
    workers=(1, 2, 4, 8, 16),
    threads=(1, 4),
    worker_calls=80_000,
    worker_seconds=3.0,
    backlogs=(10_000, 100_000, 1_000_000, 5_000_000),
    drain_repeats=3,
    slow_backlog=100_000,
    short_lives=10_000,
    busy_backlog=400_000,
    settlements=1_000,
    settled_backlog=1_000_000,
    outage_seconds=30.0,
    crowd=50_000,
    parked_rows=500_000,
    starts=15,
    takeovers=40,
    imports=15,
    cost_events=20_000,
    instruction_calls=1_024,
    fleet_events=500_000,
    fleet_calls=300,
    fleet_failures=3,
)

QUICK = Scale(
    name="quick",
    rounds=1,
    turns=5,
    burst_calls=5_000,
    warm_up_seconds=1.0,
    paced_rate=1_000,
    paced_seconds=0.5,
    workers=(1, 8, 16),
    threads=(1,),
    worker_calls=48_000,
    worker_seconds=1.5,
    backlogs=(10_000, 100_000, 300_000),
    drain_repeats=2,
    slow_backlog=40_000,
    short_lives=200,
    busy_backlog=100_000,
    settlements=200,
    settled_backlog=200_000,
    outage_seconds=8.0,
    crowd=5_000,
    parked_rows=50_000,
    starts=5,
    takeovers=8,
    imports=4,
    cost_events=5_000,
    instruction_calls=512,
    fleet_events=100_000,
    fleet_calls=60,
    fleet_failures=1,
)

TINY = Scale(
    name="tiny",
    rounds=1,
    turns=1,
    burst_calls=50,
    warm_up_seconds=0.0,
    paced_rate=200,
    paced_seconds=0.1,
    workers=(1, 2),
    threads=(1,),
    worker_calls=40,
    worker_seconds=1.0,
    backlogs=(600, 1_200),
    drain_repeats=1,
    slow_backlog=500,
    short_lives=3,
    busy_backlog=1_000,
    settlements=3,
    settled_backlog=600,
    outage_seconds=0.2,
    crowd=30,
    parked_rows=1_000,
    starts=1,
    takeovers=1,
    imports=1,
    cost_events=500,
    instruction_calls=20,
    fleet_events=2_000,
    fleet_calls=5,
    fleet_failures=1,
)

SCALES = {scale.name: scale for scale in (FULL, QUICK, TINY)}
