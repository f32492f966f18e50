"""How processes end, and what that costs: nothing."""

from __future__ import annotations

from pathlib import Path

from tests.rig import Rig, track, wait_until
from tests.scripts import lines, run


def test_a_lone_script_delivers_what_it_tracked_before_it_ends(rig: Rig) -> None:
    ids = lines('say(*track(make(flusher="auto", exit_timeout=20), 3))', rig.queue_dir, rig.server.host)[0].split()
    assert set(rig.server.times_received) == set(ids)
    rig.check(ids)


def test_what_a_script_cannot_deliver_stays_on_disk_and_one_line_says_so(rig: Rig) -> None:
    rig.server.pause()
    result = run('say(*track(make(flusher="auto", exit_timeout=0.3), 3))', rig.queue_dir, rig.server.host)
    assert result.returncode == 0
    assert result.stderr.count("3 events left on disk") == 1
    rig.stop()
    assert rig.pending_ids() == set(result.stdout.split())


def test_a_script_does_not_wait_while_the_server_takes_nothing(rig: Rig) -> None:
    rig.server.pause()
    ids = track(client := rig.client(flusher="auto"), 1)
    wait_until(lambda: (flusher := client.stats().flusher) and flusher.state == "retrying", "a heartbeat that says so")
    # With an hour for its exit it could only be quick by not waiting.
    said = lines('say(*track(make(flusher="auto", exit_timeout=3600), 1))', rig.queue_dir, rig.server.host, timeout=25)
    assert rig.check(ids + said[0].split()).pending == 2


def test_a_script_does_not_wait_where_nobody_flushes_and_none_is_to_be_started(rig: Rig) -> None:
    said = lines("say(*track(make(exit_timeout=3600), 3))", rig.queue_dir, rig.server.host, timeout=25)
    assert rig.check(said[0].split()).pending == 3


def test_a_script_that_tracked_nothing_waits_for_nothing_and_starts_nobody(rig: Rig) -> None:
    rig.server.pause()
    lines('make(flusher="auto", exit_timeout=3600)', rig.queue_dir, rig.server.host, timeout=25)
    assert not Path(rig.directory.log).exists()


def test_what_a_destructor_tracks_at_the_end_of_a_program_is_kept_if_it_is_the_first_event_too(rig: Rig) -> None:
    code = """
    import lotus_durable

    class Last:
        def __del__(self):
            say(lotus_durable.track_event(customer_id="c", event_name="x"))

    last = Last()
    """
    result = run(code, rig.queue_dir, rig.server.host, LOTUS_QUEUE_DIR=str(rig.queue_dir), LOTUS_FLUSHER="external")
    assert rig.check(result.stdout.split()).pending == 1, result.stderr
