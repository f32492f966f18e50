"""Celery with ``lotus_durable.contrib.celery``: what is pending when the worker shuts down is delivered by it."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable

import pytest

from .apps.ledger import read_ledger
from .kinds import program
from .oracle import judge, wait_until_everything_arrived
from .running import Running
from .site import Site
from .waiting import wait_until

CELERY = (sys.executable, "-m", "celery", "--app=tests.servers.apps.celery_tasks", "worker")
TRACKING = 60
TRACKED = sum(number % 9 + 1 for number in range(TRACKING))

Run = Callable[..., Running]


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_a_worker_that_shuts_down_leaves_nothing_behind(pool: str, site: Site, run: Run) -> None:
    environment = {
        "TEST_BROKER": str(site.root / "broker"),
        "LOTUS_FLUSHER": "external",  # nobody uploads but a drain
        "LOTUS_EXIT_TIMEOUT": "30",
    }
    options = [f"--pool={pool}", "--concurrency=2", "--without-gossip", "--without-mingle", "--max-tasks-per-child=7"]
    celery = run([*CELERY, *options, "--include=lotus_durable.contrib.celery", "--loglevel=INFO"], environment)
    producer = run(program("produce_tasks", str(TRACKING), "0", "0"), environment)
    assert producer.wait_until_ended() == 0
    wait_until(lambda: len(read_ledger(site.ledger).returned) >= TRACKED, "every task has tracked")
    assert site.lotus.ids() == {}
    celery.signal(signal.SIGTERM)
    celery.wait_until_ended()
    wait_until_everything_arrived(site)
    verdict = judge(site)
    verdict.check()
    assert verdict.sent_again == 0
