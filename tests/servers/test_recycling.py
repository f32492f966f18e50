"""Servers that replace their workers by themselves, or when they are told that the code has changed."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys

import pytest

from tests.ports import free_port
from tests.waiting import wait_until

from .kinds import ASGI, WORKERS, WSGI, Kind, module
from .site import Site

pytestmark = pytest.mark.servers

TAIL = 10
RECYCLING = [
    Kind(
        "uvicorn --limit-max-requests",
        module(
            "uvicorn", "--host=127.0.0.1", "--port={port}", f"--workers={WORKERS}", "--limit-max-requests=20",
            f"{ASGI}:application",
        ),
        "uvicorn",
    ),
    Kind(
        "hypercorn --max-requests",
        module("hypercorn", "--bind=127.0.0.1:{port}", "--workers=1", "--max-requests=20", f"{ASGI}:application"),
        "hypercorn",
    ),
]  # fmt: skip
RELOADING = [
    Kind(
        "uvicorn",
        module("uvicorn", "--host=127.0.0.1", "--port={port}", f"--workers={WORKERS}", f"{ASGI}:application"),
        "uvicorn",
    ),
    *(
        Kind(
            f"granian {interface}",
            module(
                "granian", f"--interface={interface}", "--host=127.0.0.1", "--port={port}", f"--workers={WORKERS}",
                f"{target}:application",
            ),
            "granian",
        )
        for interface, target in (("asgi", ASGI), ("wsgi", WSGI))
    ),
]  # fmt: skip


@pytest.mark.parametrize("kind", [each.as_parameter() for each in RECYCLING])
def test_no_event_is_lost_when_workers_are_recycled(kind: Kind, site: Site) -> None:
    server = kind.start(site)
    with server.load() as load:
        load.wait_for_others(set(), 2 * WORKERS)
    wait_until(server.serves, "it serves")
    server.track(TAIL)
    server.stop()
    site.check(at_least=TAIL)


@pytest.mark.parametrize("kind", [each.as_parameter() for each in RELOADING])
def test_no_event_is_lost_when_the_server_reloads(kind: Kind, site: Site) -> None:
    server = kind.start(site)
    with server.load() as load:
        before = load.wait_for_others(set(), WORKERS)
        server.send(signal.SIGHUP)
        load.wait_for_others(before, WORKERS)
    server.track(TAIL)
    server.stop()
    site.check(at_least=TAIL)


@pytest.mark.skipif(importlib.util.find_spec("django") is None, reason="django is not installed")
def test_no_event_is_lost_when_django_reloads_its_code(site: Site) -> None:
    port = free_port()
    script = site.root / "manage.py"
    script.write_text("import runpy\nrunpy.run_module('tests.servers.apps.manage', run_name='__main__')\n")
    server = site.run([sys.executable, str(script), "runserver", f"127.0.0.1:{port}"], port=port)
    wait_until(server.serves, "it serves")
    with server.load() as load:
        before = load.wait_for_others(set(), 1)

        def is_another_one() -> bool:
            os.utime(script)  # once more: it serves before it has looked at its files for the first time
            return not before.issuperset(load.answers)

        wait_until(is_another_one, "a new process answers", pause=2.0)
    server.track(TAIL)
    server.stop(signal.SIGINT, all_at_once=True)
    site.check(at_least=TAIL)
