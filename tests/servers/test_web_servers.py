"""Every web server, used as it is: nothing is set, started or stopped for the library's sake."""

from __future__ import annotations

import pytest

from .kinds import EVERY_KIND, Kind
from .site import Site

TAIL = 10
"""Events that are tracked right before the end."""

every_kind = pytest.mark.parametrize("kind", [each.as_parameter() for each in EVERY_KIND])


@every_kind
def test_all_events_arrive_whatever_ends_a_process_those_before_the_stop_and_what_was_left_after_a_restart(
    kind: Kind, site: Site
) -> None:
    server = kind.start(site)
    with server.load() as load:
        if kind.workers:
            workers = load.wait_for_others(set(), kind.workers)
            assert server.pid not in workers
            killed = workers.pop()
            server.kill(killed)
            load.wait_for_others({killed}, kind.workers)
        load.wait_for_answers(40)
    server.track(TAIL)
    server.stop(kind.stop, all_at_once=kind.is_stopped_at_once)
    site.check(at_least=TAIL + 40)

    site.lotus.pause()
    server = kind.start(site)
    server.track(TAIL)
    server.crash()
    site.kill_flusher()
    site.lotus.resume()
    assert not site.accepted() <= site.lotus.times_received.keys()
    kind.launch(site)
    site.check(at_least=2 * TAIL + 40)
