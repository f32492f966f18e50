"""A Celery application whose tasks track events; its broker is a folder, its workers are forked."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from celery import Celery  # type: ignore[import-untyped]

from .tracking import track, track_at_import

BROKER = "TEST_BROKER"
"""The environment variable that names the broker's folder."""

HANG_LIMIT = 1  # seconds

track_at_import()

_folder = Path(os.environ[BROKER])
_messages = _folder / "messages"
_control = _folder / "control"
for folder in (_messages, _control):
    folder.mkdir(parents=True, exist_ok=True)

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


@application.task  # type: ignore[untyped-decorator]
def track_some(count: int) -> None:
    """Track events."""
    track(count)


@application.task  # type: ignore[untyped-decorator]
def track_and_die(count: int) -> None:
    """Track events and be killed, as when memory runs out. (Between two tasks it would block Celery's own pool.)"""
    track(count)
    os.kill(os.getpid(), signal.SIGKILL)


@application.task(time_limit=HANG_LIMIT)  # type: ignore[untyped-decorator]
def track_and_hang(count: int) -> None:
    """Track events, and be killed."""
    track(count)
    time.sleep(3600)
