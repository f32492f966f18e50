"""The web servers under test: how each is started, and how its documentation says that it is stopped."""

from __future__ import annotations

import importlib.util
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest

from tests.ports import free_port
from tests.waiting import wait_until

from .running import Running
from .site import Site

WSGI = "tests.servers.apps.wsgi"
ASGI = "tests.servers.apps.asgi"
WORKERS = 2


@dataclass(frozen=True, slots=True)
class Kind:
    """One way to run a web server."""

    name: str
    command: Callable[[int], Sequence[str]]
    """Given the port."""
    needs: str
    """A module without which it cannot be run."""
    stop: signal.Signals = signal.SIGTERM
    workers: int = WORKERS
    """Processes that serve and that are replaced when they are killed."""
    is_stopped_at_once: bool = False
    """Whether the signal goes to all its processes, as from a terminal or a manager."""
    is_quick: bool = False
    """Whether it is part of the default suite."""

    def start(self, site: Site) -> Running:
        """Start it and wait until it serves."""
        server = self.launch(site)
        wait_until(server.serves, f"{self.name} serves")
        return server

    def launch(self, site: Site) -> Running:
        """Start it, and request nothing of it."""
        port = free_port()
        return site.run(self.command(port), port=port)

    def as_parameter(self) -> object:
        """Return this as a parameter of a test, marked."""
        marks = [] if self.is_quick else [pytest.mark.servers]
        skip = pytest.mark.skipif(not self.is_installed(), reason=f"{self.needs} is not installed")
        return pytest.param(self, id=self.name, marks=[*marks, skip])

    def is_installed(self) -> bool:
        return importlib.util.find_spec(self.needs) is not None


def gunicorn(
    worker_class: str, *options: str, needs: str = "gunicorn", application: str = "", is_quick: bool = False
) -> Kind:
    target = application or (ASGI if "Uvicorn" in worker_class else WSGI)
    return Kind(
        " ".join(["gunicorn", worker_class.rpartition(".")[2], *options]),
        lambda port: [
            sys.executable, "-m", "gunicorn", f"--bind=127.0.0.1:{port}", f"--workers={WORKERS}",
            f"--worker-class={worker_class}", "--worker-tmp-dir=/dev/shm", "--no-control-socket", *options,
            f"{target}:application",
        ],
        needs,
        is_quick=is_quick,
    )  # fmt: skip


def uwsgi(*options: str, application: str = WSGI, is_quick: bool = False, workers: int = WORKERS) -> Kind:
    return Kind(
        " ".join(["uwsgi", *options]),
        lambda port: [
            "uwsgi", f"--http-socket=127.0.0.1:{port}", f"--module={application}:application", f"--processes={WORKERS}",
            "--need-app", "--die-on-term", f"--virtualenv={sys.prefix}", *options,
        ],
        "pyuwsgi",
        is_quick=is_quick,
        workers=workers,
        is_stopped_at_once=not workers,
    )  # fmt: skip


def module(name: str, *options: str) -> Callable[[int], list[str]]:
    return lambda port: [sys.executable, "-m", name, *(each.format(port=port) for each in options)]


GUNICORN = [
    gunicorn("sync", is_quick=True),
    gunicorn("sync", "--preload"),
    gunicorn("gthread", "--threads=3"),
    gunicorn("gthread", "--threads=3", "--preload"),
    gunicorn("gevent", needs="gevent"),
    gunicorn("gevent", "--preload", needs="gevent"),
    gunicorn("uvicorn_worker.UvicornWorker", needs="uvicorn_worker"),
    gunicorn("uvicorn_worker.UvicornWorker", "--preload", needs="uvicorn_worker"),
]
UWSGI = [
    uwsgi("--master", is_quick=True),
    uwsgi("--master", "--enable-threads"),
    uwsgi("--master", "--lazy-apps"),
    uwsgi("--master", "--lazy-apps", "--enable-threads"),
    uwsgi("--master", "--py-call-osafterfork"),
    uwsgi("--master", "--py-call-uwsgi-fork-hooks"),
    uwsgi("--master", "--cheaper=1", "--cheaper-initial=1", workers=1),
    uwsgi(workers=0),
    uwsgi("--enable-threads", workers=0),
]
ASGI_SERVERS = [
    Kind(
        "uvicorn --workers",
        module("uvicorn", "--host=127.0.0.1", "--port={port}", f"--workers={WORKERS}", f"{ASGI}:application"),
        "uvicorn",
        is_quick=True,
    ),
    Kind(
        "hypercorn",
        module("hypercorn", "--bind=127.0.0.1:{port}", f"--workers={WORKERS}", f"{ASGI}:application"),
        "hypercorn",
        workers=0,  # it ends when a worker does
    ),
    Kind(
        "granian asgi",
        module(
            "granian", "--interface=asgi", "--host=127.0.0.1", "--port={port}", f"--workers={WORKERS}",
            "--respawn-failed-workers", f"{ASGI}:application",
        ),
        "granian",
    ),
]  # fmt: skip
WSGI_SERVERS = [
    Kind(
        "granian wsgi",
        module(
            "granian", "--interface=wsgi", "--host=127.0.0.1", "--port={port}", f"--workers={WORKERS}",
            "--respawn-failed-workers", f"{WSGI}:application",
        ),
        "granian",
    ),
    Kind(
        "waitress",
        module("waitress", "--listen=127.0.0.1:{port}", f"{WSGI}:application"),
        "waitress",
        workers=0,
        stop=signal.SIGINT,
    ),
    Kind(
        "cheroot",
        module("cheroot", "--bind=127.0.0.1:{port}", f"{WSGI}:application"),
        "cheroot",
        workers=0,
        stop=signal.SIGINT,
    ),
    Kind(
        "Django runserver",
        lambda port: [sys.executable, "-m", "tests.servers.apps.manage", "runserver", f"127.0.0.1:{port}"],
        "django",
        workers=0,
        stop=signal.SIGINT,
    ),
]  # fmt: skip
EVERY_KIND = [*GUNICORN, *UWSGI, *ASGI_SERVERS, *WSGI_SERVERS]
