"""Actors of dramatiq that track events."""

from __future__ import annotations

import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from . import jobs

dramatiq.set_broker(RedisBroker(url=os.environ[jobs.REDIS]))  # type: ignore[no-untyped-call]
ACTORS = {
    job.__name__: dramatiq.actor(max_retries=0, time_limit=1000 * jobs.LIMIT)(job)
    for job in (jobs.track_some, jobs.track_and_die, jobs.track_and_hang, jobs.nothing)
}

if __name__ == "__main__":
    jobs.enqueue_from_command_line(lambda name, count: ACTORS[name].send(count))
