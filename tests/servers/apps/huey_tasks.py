"""Tasks of huey that track events; its queue is a file."""

from __future__ import annotations

import os
from pathlib import Path

from huey import SqliteHuey  # type: ignore[import-untyped]

from . import jobs

huey = SqliteHuey(filename=str(Path(os.environ[jobs.FOLDER]) / "huey.db"), results=False)
TASKS = {job.__name__: huey.task()(job) for job in (jobs.track_some, jobs.track_and_die, jobs.nothing)}

if __name__ == "__main__":
    jobs.enqueue_from_command_line(lambda name, count: TASKS[name](count))
