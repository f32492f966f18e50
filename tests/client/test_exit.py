"""How processes end, and what that costs: nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lotus_durable.testing.faults import Delay, Faults
from tests.rig import Rig
from tests.scripts import lines, run

if TYPE_CHECKING:
    from collections.abc import Callable


def test_a_lone_script_delivers_what_it_tracked_before_it_ends(rig: Rig) -> None:
    ids = lines("say(*track(make(exit_timeout=20), 3))", rig.queue_dir, rig.server.host)[0].split()
    assert set(rig.server.times_received) == set(ids)
    rig.check(ids)


def test_what_a_script_cannot_deliver_stays_on_disk_and_one_line_says_so(rigs: Callable[..., Rig]) -> None:
    rig = rigs()
    rig.server.pause()
    result = run("say(*track(make(exit_timeout=0.3), 3))", rig.queue_dir, rig.server.host)
    assert result.returncode == 0
    assert result.stderr.count("3 events left on disk") == 1
    assert rig.pending_ids() == set(result.stdout.split())


def test_os_exit_right_after_the_call_loses_nothing(rig: Rig) -> None:
    said = lines(
        "client = make(); say(*track(client, 5)); os._exit(0)",
        rig.queue_dir,
        rig.server.host,
    )
    rig.check(said[0].split())


def test_sigkill_right_after_the_call_loses_nothing(rig: Rig) -> None:
    result = run(
        "client = make(); say(*track(client, 5)); os.kill(os.getpid(), signal.SIGKILL)", rig.queue_dir, rig.server.host
    )
    assert result.returncode == -9
    rig.check(result.stdout.split())


def test_a_script_does_not_wait_where_another_process_leads(rig: Rig) -> None:
    rig.server.faults = Faults(rates={Delay(30.0): 1.0})
    leader = rig.client(timeout=60.0)
    ids = leader.track_event(customer_id="c", event_name="x").split()
    # With 60 s for its exit it could only be quick by not waiting: the server takes 30 s for an answer.
    ids += lines("say(*track(make(exit_timeout=60), 1))", rig.queue_dir, rig.server.host, timeout=25)[0].split()
    rig.server.stop()
    rig.check(ids)
