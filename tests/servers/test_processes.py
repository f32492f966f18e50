"""Programs that are no web servers: every way to have threads, children, coroutines and interruptions."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .figures import Figures
from .killing import Kills
from .kinds import program
from .oracle import judge
from .running import Running
from .site import Site
from .watch import Watch

Run = Callable[..., Running]
Report = Callable[[Figures], None]


@pytest.mark.parametrize(
    ("command", "kills"),
    [
        ("fork_while_tracking", 6),
        ("multiprocess fork", 2),
        ("multiprocess spawn", 2),
        ("multiprocess forkserver", 2),
        ("coroutines", 0),
        ("greenlets", 0),
    ],
    ids=str,
)
def test_no_event_is_lost_or_counted_twice(command: str, kills: int, site: Site, run: Run, report: Report) -> None:
    running = run(program(*command.split()))
    with Watch(site, running) as watch:
        assert running.wait_until_ended() == 0
    watch.check(lasting=kills > 0)  # the others may be done between two looks
    verdict = judge(site)
    report(Figures(command, 0, Kills(total=kills), verdict))
    verdict.check()


@pytest.mark.parametrize("durability", ["process", "power"])
def test_a_signal_handler_tracks_while_its_thread_is_inside_track_event(
    durability: str, site: Site, run: Run, report: Report
) -> None:
    assert run(program("signal_handler"), {"LOTUS_DURABILITY": durability}).wait_until_ended() == 0
    verdict = judge(site)
    report(Figures(f"signal handler, durability={durability}", 0, Kills(), verdict))
    verdict.check()
