"""Puts jobs that track events into a queue of rq."""

from __future__ import annotations

import os

from redis import Redis
from rq import Queue

from . import jobs

if __name__ == "__main__":
    queue = Queue(connection=Redis.from_url(os.environ[jobs.REDIS]))
    jobs.enqueue_from_command_line(
        lambda name, count: queue.enqueue(f"{jobs.__name__}.{name}", count, job_timeout=jobs.LIMIT, result_ttl=0)
    )
