"""Celery with forked workers: lost, killed by their time limit, and recycled."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from .apps.ledger import read_ledger
from .apps.tracking import TRACK_AT_IMPORT
from .figures import Figures
from .killing import Kills
from .kinds import program
from .oracle import judge, wait_until_everything_arrived
from .running import Running
from .site import Site
from .waiting import wait_until

TRACKING, DYING, HANGING = 300, 5, 2
TRACKED = sum(number % 9 + 1 for number in range(TRACKING)) + 3 * DYING
"""Events, before any hangs."""
CELERY = (sys.executable, "-m", "celery", "--app=tests.servers.apps.celery_tasks", "worker", "--pool=prefork")

Run = Callable[..., Running]
Report = Callable[[Figures], None]


@pytest.mark.parametrize("track_at_import", [{}, {TRACK_AT_IMPORT: "1"}], ids=["", "tracks at import"])
def test_no_event_is_lost_when_celery_loses_and_kills_and_recycles_its_workers(
    track_at_import: dict[str, str], site: Site, run: Run, report: Report
) -> None:
    environment = {"TEST_BROKER": str(site.root / "broker"), **track_at_import}
    options = ["--concurrency=3", "--max-tasks-per-child=20", "--without-gossip", "--without-mingle"]
    celery = run([*CELERY, *options, "--loglevel=INFO"], environment)

    def produce(tracking: int, dying: int, hanging: int) -> None:
        arguments = map(str, (tracking, dying, hanging))
        producer = run(program("produce_tasks", *arguments), environment)
        assert producer.wait_until_ended() == 0
        messages = site.root / "broker" / "messages"
        wait_until(lambda: not list(messages.iterdir()), "every task was taken")

    produce(TRACKING, DYING, 0)
    wait_until(lambda: len(read_ledger(site.ledger).returned) >= TRACKED, "every task has tracked")
    produce(0, 0, HANGING)
    wait_until(lambda: site.log.read_text().count("Hard time limit (1s) exceeded") >= HANGING, "the time is up")
    wait_until_everything_arrived(site)
    celery.end()  # by SIGKILL: Celery's own pool cannot always stop when a worker was killed
    verdict = judge(site)
    report(Figures("celery prefork", TRACKING + DYING + HANGING, Kills(total=DYING + HANGING), verdict))
    verdict.check()
