"""A Celery application whose tasks track events."""

from __future__ import annotations

import os

from celery import Celery  # type: ignore[import-untyped]

from . import jobs

application = Celery("tests", broker=os.environ[jobs.REDIS])
application.conf.update(task_ignore_result=True, worker_prefetch_multiplier=1)
TASKS = {
    job.__name__: application.task(name=job.__name__, **options)(job)
    for job, options in (
        (jobs.track_some, {}),
        (jobs.track_and_die, {}),
        (jobs.track_and_hang, {"time_limit": jobs.LIMIT}),
        (jobs.nothing, {}),
    )
}

if __name__ == "__main__":
    jobs.enqueue_from_command_line(lambda name, count: TASKS[name].delay(count))
