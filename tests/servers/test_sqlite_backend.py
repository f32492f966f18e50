"""Real servers with the queue in SQLite: its connection must survive no fork, whichever way the server makes it."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from .figures import Figures
from .killing import kill_workers
from .kinds import WORKERS, Kind, gunicorn, tracking_at_import, uwsgi
from .load import Load
from .oracle import judge
from .running import Running
from .site import Site
from .watch import Watch


@pytest.mark.parametrize(
    "kind",
    [
        tracking_at_import(gunicorn("--preload")),
        tracking_at_import(uwsgi("--enable-threads")),
        tracking_at_import(uwsgi("--enable-threads", "--py-call-osafterfork")),
        uwsgi("--enable-threads", "--lazy-apps"),
    ],
    ids=lambda kind: kind.name,
)
def test_no_event_is_lost_when_workers_are_killed(
    kind: Kind,
    site: Site,
    start: Callable[[Kind], Running],
    report: Callable[[Figures], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LOTUS_BACKEND", "sqlite")  # for those who judge
    kind = kind.having("sqlite", LOTUS_BACKEND="sqlite")
    server = start(kind)
    with Watch(site, server) as watch, Load(server.port) as load:
        kills = kill_workers(site, server, load, workers=WORKERS, kills=4)
        load.wait_for_answers(100)
        server.signal(signal.SIGTERM)
        server.wait_until_ended()
    verdict = judge(site)
    report(Figures(kind.name, load.answered, kills, verdict))
    verdict.check()
    watch.check()
    assert not list((site.queue_dir / "journal").iterdir())
