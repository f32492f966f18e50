"""``backend="sqlite"``: a way to append, beside the journal, which the flusher always drains too."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.rig import Rig, conserved, track, wait_until
from tests.scripts import lines


def test_events_go_into_sqlite_and_from_there_to_the_server(rig: Rig) -> None:
    client = rig.client(backend="sqlite")
    ids = track(client, 50)
    assert Path(rig.directory.queue_db).exists()
    assert rig.directory.segments() == []
    assert client.drain(20).complete
    assert rig.check(ids).delivered == 50
    assert "sqlite3" in sys.modules


def test_both_ways_to_append_are_drained_whatever_the_option_is_now(rig: Rig) -> None:
    ids = track(rig.client(backend="sqlite"), 10) + track(rig.client(), 10) + track(rig.client(backend="sqlite"), 10)
    assert rig.client().drain(20).complete
    assert rig.check(ids).delivered == 30


def test_what_went_into_sqlite_is_counted_while_nothing_is_delivered(rig: Rig) -> None:
    track(rig.client(backend="sqlite", flusher="auto", host="http://127.0.0.1:9"), 3)
    wait_until(lambda: rig.stats().pending == 3, "the flusher to count what is in queue.db")
    assert conserved(rig.stats())


def test_a_child_that_was_forked_while_sqlite_was_open_keeps_its_events_in_a_segment(rig: Rig) -> None:
    said = lines(
        """
        client = make(backend="sqlite")
        ids = track(client, 3)
        pid = os.fork()
        if pid == 0:
            say("ids", *track(client, 3))
            os._exit(0)
        assert ended(pid) == 0
        say("ids", *ids, *track(client, 3))
        """,
        rig.queue_dir,
        rig.server.host,
    )
    ids = [each for line in said for each in line.split()[1:]]
    assert len(set(ids)) == 9
    assert rig.client().drain(20).complete
    assert rig.check(ids).delivered == 9


@pytest.mark.parametrize("backend", ["sqlite", "journal"])
@pytest.mark.parametrize("then", ["track(client, 50)", "client.release()"])
def test_files_that_get_the_numbers_of_our_closed_descriptors_stay_as_they_are_and_open(
    rig: Rig, tmp_path: Path, backend: str, then: str
) -> None:
    """An application that begins as a daemon, or one of many libraries that close what is not theirs."""
    *said, unharmed = lines(
        f"""
        client = make(backend="{backend}")
        say(*track(client, 3))
        os.closerange(3, 2000)
        files = [open(f"{{sys.argv[3]}}/{{number}}", "w+b", buffering=0) for number in range(20)]
        say(*({then} or ()))
        say(*track(client, 3))
        say(all(file.write(b"theirs") == 6 and os.stat(file.fileno()).st_size == 6 for file in files))
        """,
        rig.queue_dir,
        rig.server.host,
        tmp_path,
    )
    assert unharmed == "True"
    ids = " ".join(said).split()
    assert rig.client().drain(20).complete
    assert rig.check(ids).delivered == len(ids) >= 6
