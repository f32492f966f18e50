"""Every task queue, used as it is: its workers are forked, recycled, killed and stopped as they always are."""

from __future__ import annotations

import pytest

from .site import Site
from .task_queues import EVERY_QUEUE, TaskQueue

TAIL = 10
"""Events of the task that is the last before the end."""

every_queue = pytest.mark.parametrize("queue", [each.as_parameter() for each in EVERY_QUEUE])


@every_queue
def test_all_events_of_tasks_arrive_those_before_the_stop_too_and_what_was_left_after_a_restart(
    queue: TaskQueue, site: Site
) -> None:
    workers = queue.start(site)
    queue.enqueue(site, "track_some", times=10)
    accepted = 30
    site.wait_until_accepted(accepted)
    for death in queue.deaths:
        queue.enqueue(site, death)
        accepted += 3
        site.wait_until_accepted(accepted)
    queue.enqueue(site, "track_some", count=TAIL)
    accepted += TAIL
    site.wait_until_accepted(accepted)
    queue.end(workers)
    site.check(at_least=accepted)

    site.lotus.pause()
    workers = queue.start(site)
    queue.enqueue(site, "track_some", count=TAIL)
    accepted += TAIL
    site.wait_until_accepted(accepted)
    workers.crash()
    site.kill_flusher()
    site.lotus.resume()
    assert not site.accepted() <= site.lotus.times_received.keys()
    queue.start(site)
    if queue.begins_with_a_task:
        queue.enqueue(site, "nothing")
    site.check(at_least=accepted)
