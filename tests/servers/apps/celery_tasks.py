"""A Celery application whose tasks track events; its broker is a folder."""

from __future__ import annotations

import os
from pathlib import Path

from celery import Celery  # type: ignore[import-untyped]

from . import jobs

_folder = Path(os.environ[jobs.FOLDER])
_messages, _control = _folder / "messages", _folder / "control"
for each in (_messages, _control):
    each.mkdir(parents=True, exist_ok=True)

application = Celery("tests", broker="filesystem://")
application.conf.update(
    broker_transport_options={
        "data_folder_in": str(_messages),
        "data_folder_out": str(_messages),
        "control_folder": str(_control),
        "polling_interval": 0.02,
    },
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
)
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
