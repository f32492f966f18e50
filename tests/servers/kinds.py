"""The kinds of servers under test, each a small description."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from .apps.tracking import TRACK_AT_IMPORT

WORKERS = 4
_WSGI = "tests.servers.apps.wsgi:application"
_ASGI = "tests.servers.apps.asgi:application"


@dataclass(frozen=True, slots=True)
class Kind:
    """How a server is started."""

    name: str
    command: Callable[[int], list[str]]
    """From a port to a command line."""
    environment: Mapping[str, str] = field(default_factory=dict)

    def having(self, name: str, **environment: str) -> Self:
        """Return the same with more in its environment."""
        return replace(self, name=f"{self.name}, {name}", environment={**self.environment, **environment})


def gunicorn(*options: str, worker_class: str = "sync") -> Kind:
    """Return a gunicorn with four workers.

    The graceful timeout is short because a worker that is told to stop while it boots does not hear it.
    """
    is_asgi = "uvicorn" in worker_class or worker_class == "asgi"

    def command(port: int) -> list[str]:
        return [
            *(sys.executable, "-m", "gunicorn", f"--bind=127.0.0.1:{port}", f"--workers={WORKERS}"),
            *(f"--worker-class={worker_class}", "--no-control-socket", "--graceful-timeout=3", *options),
            _ASGI if is_asgi else _WSGI,
        ]

    return Kind(" ".join(["gunicorn", worker_class, *options]), command)


def uwsgi(*options: str) -> Kind:
    """Return a uWSGI with a master and four workers."""

    def command(port: int) -> list[str]:
        return [
            *(str(Path(sys.executable).parent / "pyuwsgi"), f"--http-socket=127.0.0.1:{port}", f"--wsgi={_WSGI}"),
            *("--master", f"--processes={WORKERS}", "--need-app", "--die-on-term", "--no-orphans"),
            *("--disable-logging", "--worker-reload-mercy=5", *options),
        ]

    return Kind(" ".join(["uwsgi", *options]), command)


def tracking_at_import(kind: Kind) -> Kind:
    """Return the same server with an application that tracks when it is imported."""
    return kind.having("tracks at import", **{TRACK_AT_IMPORT: "1"})


def program(name: str, *arguments: str) -> list[str]:
    """Return the command line of one of the programs that come with these tests."""
    return [sys.executable, "-m", f"tests.servers.programs.{name}", *arguments]
