"""Forks of every kind, in the middle of everything: nothing is lost, nothing is shared, and nobody is confused."""

from __future__ import annotations

import pytest

from lotus_durable import fork as of_forks
from tests.rig import Rig
from tests.scripts import lines

FORKS = pytest.mark.parametrize(
    ("fork", "no_hooks"),
    [("os.fork", False), ("os.fork", True), ("fork_in_c", False)],
    ids=["with hooks", "without our hooks", "in C"],
)


def accepted(said: list[str]) -> list[str]:
    """Return the ids of the lines ``say("ids", *ids)``."""
    return [each for line in said if line.startswith("ids ") for each in line.split()[1:]]


@FORKS
def test_parent_and_child_both_track_after_a_fork_and_their_ids_never_collide(
    rig: Rig, fork: str, no_hooks: bool
) -> None:
    said = lines(
        f"""
        client = make()
        say("ids", *track(client, 10))
        pids = []
        for _ in range(3):
            pid = {fork}()
            if pid == 0:
                say("ids", *track(client, 100))
                os._exit(0)
            pids.append(pid)
        say("ids", *track(client, 100))
        assert [ended(pid) for pid in pids] == [0, 0, 0]
        assert client.drain(20).complete
        """,
        rig.queue_dir,
        rig.server.host,
        no_hooks=no_hooks,
    )
    ids = accepted(said)
    assert len(ids) == len(set(ids)) == 410
    assert rig.check(ids).delivered == 410
    assert rig.server.duplicates == 0


@pytest.mark.parametrize("no_hooks", [False, True], ids=["with hooks", "without our hooks"])
def test_forks_in_the_middle_of_use_by_other_threads_lose_nothing(rig: Rig, no_hooks: bool) -> None:
    said = lines(
        """
        allow_forks_beside_threads()
        client = make(segment_bytes=1 << 16)
        ended_tracking = threading.Event()
        kept = []

        def go_on():
            while not ended_tracking.is_set():
                kept.extend(track(client))

        threads = [threading.Thread(target=go_on) for _ in range(3)]
        for thread in threads:
            thread.start()
        pids = []
        for _ in range(12):
            pid = os.fork()
            if pid == 0:
                say("ids", *track(client, 50))
                os._exit(0)
            pids.append(pid)
        assert [ended(pid) for pid in pids] == [0] * 12
        ended_tracking.set()
        for thread in threads:
            thread.join()
        for start in range(0, len(kept), 50):
            say("ids", *kept[start:start + 50])
        assert client.drain(60).complete
        """,
        rig.queue_dir,
        rig.server.host,
        no_hooks=no_hooks,
    )
    ids = accepted(said)
    assert len(ids) == len(set(ids)) > 600
    assert rig.check(ids).delivered == len(ids)


@FORKS
def test_a_child_keeps_none_of_the_parents_descriptors(rig: Rig, fork: str, no_hooks: bool) -> None:
    lines(
        f"""
        def ours():
            links = [os.readlink(f"/proc/self/fd/{{each}}") for each in os.listdir("/proc/self/fd")
                     if os.path.lexists(f"/proc/self/fd/{{each}}")]
            return [link for link in links if str(queue_dir) in link or "socket" in link]

        client = make()
        track(client, 3)
        [own] = ours()
        pid = {fork}()
        if pid == 0:
            if {no_hooks or fork != "os.fork"}:
                track(client)  # without hooks it is noticed at the first call
                [left] = ours()
                assert left != own
            else:
                assert ours() == [], ours()
            os._exit(0)
        assert ended(pid) == 0
        assert ours() == [own]
        """,
        rig.queue_dir,
        rig.server.host,
        no_hooks=no_hooks,
    )


@FORKS
def test_a_child_forked_in_the_middle_of_a_drain_neither_flushes_nor_keeps_others_from_it(
    rig: Rig, fork: str, no_hooks: bool
) -> None:
    said = lines(
        f"""
        from lotus_durable.flusher import locks
        client = make(max_batch_events=2)
        say("ids", *track(client, 20))
        pids = []

        def fork_once():
            if pids or not locks.is_held(client._tracker.directory.flusher_lock):
                return
            pid = {fork}()
            if pid == 0:
                say("ids", *track(client, 3))
                signal.pause()
            pids.append(pid)

        assert client.watched_drain(20, fork_once).complete
        [child] = pids
        assert not locks.is_held(client._tracker.directory.flusher_lock), "by the child, which still lives"
        assert client.drain(20).complete
        wait_until(lambda: client.stats().accepted == 23)
        assert client.drain(20).complete
        os.kill(child, signal.SIGKILL)
        assert ended(child) == -9
        """,
        rig.queue_dir,
        rig.server.host,
        no_hooks=no_hooks,
    )
    assert rig.check(accepted(said)).delivered == 23
    assert rig.server.duplicates == 0


def test_a_child_that_ends_in_order_waits_only_for_what_it_tracked_itself(rig: Rig) -> None:
    said = lines(
        """
        client = make(exit_timeout=3600)
        say("ids", *track(client, 3))
        pid = os.fork()
        if pid == 0:
            client.config = client.config._replace(flusher="auto")  # then it would wait, for what is the parent's
            sys.exit(0)
        assert ended(pid) == 0
        pid = os.fork()
        if pid == 0:
            say("ids", *track(client, 3))
            sys.exit(0)
        assert ended(pid) == 0
        """,
        rig.queue_dir,
        rig.server.host,
        timeout=30,
    )
    assert rig.check(accepted(said)).pending == 6


def test_events_in_the_parents_memory_are_not_the_childs_to_write(rig: Rig) -> None:
    said = lines(
        """
        import errno
        client = make()
        write, allowed = os.pwrite, []

        def refuse(descriptor, data, offset):
            if not allowed and b"note" in data:
                raise OSError(errno.ENOSPC, "full")
            return write(descriptor, data, offset)

        os.pwrite = refuse
        ids = track(client, 5, properties={"note": "on a full disk"})
        assert client.stats().in_memory == 5
        pid = os.fork()
        allowed.append(True)
        if pid == 0:
            assert client.stats().in_memory == 0
            say("ids", *track(client, 1))
            os._exit(0)
        assert ended(pid) == 0
        say("ids", *ids)
        assert client.drain(20).complete
        """,
        rig.queue_dir,
        rig.server.host,
    )
    assert rig.check(accepted(said)).delivered == 6
    assert rig.server.duplicates == 0


def test_threads_that_fork_at_once_do_not_wait_for_each_other_for_ever(rig: Rig) -> None:
    lines(
        """
        allow_forks_beside_threads()
        clients = [make(), make(queue_dir=queue_dir.with_name("other"))]
        for client in clients:
            track(client, 1)

        def fork_often():
            for _ in range(10):
                pid = os.fork()
                if pid == 0:
                    os._exit(0)
                assert ended(pid) == 0

        threads = [threading.Thread(target=fork_often) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive()
        for client in clients:
            track(client, 1)
            assert client.drain(20).delivered == 2
        """,
        rig.queue_dir,
        rig.server.host,
    )


@FORKS
def test_a_child_that_waits_or_ends_before_it_tracks_leaves_its_parents_segment_alone(
    rig: Rig, fork: str, no_hooks: bool
) -> None:
    [ids] = lines(
        f"""
        told = []
        client = make(flusher="auto", on_error=lambda error, events: told.append(error))
        ids = track(client, 1)
        reading, writing = os.pipe()
        pid = {fork}()
        if pid == 0:
            os.read(reading, 1)
            client.join(0)
            client.shutdown(0)
            os._exit(len(told))
        ids += track(client, 1)
        os.write(writing, b"x")
        assert ended(pid) == 0
        ids += track(client, 1)
        client.shutdown(20)
        assert told == []
        say(*ids)
        """,
        rig.queue_dir,
        rig.server.host,
        no_hooks=no_hooks,
    )
    assert rig.client().drain(20).complete
    assert rig.check(ids.split()).delivered == 3
    assert rig.server.duplicates == 0


def test_what_is_dropped_in_a_child_makes_nobody_keep_what_is_the_parents(monkeypatch: pytest.MonkeyPatch) -> None:
    """A collection of garbage in the middle, say, that takes an owner which came before."""

    class Owner:
        def __init__(self) -> None:
            self.others: list[Owner] = []
            self.is_abandoned = False

        def abandon(self) -> None:
            self.others.clear()
            self.is_abandoned = True

    monkeypatch.setattr(of_forks, "_owners", [])
    first, last = Owner(), Owner()
    of_forks.register(dropped := Owner())
    of_forks.register(first)
    of_forks.register(last)
    first.others.append(dropped)
    del dropped
    monkeypatch.setattr(of_forks, "mark", [0])
    monkeypatch.setattr(of_forks, "_forks", 0)  # this process stays what it is
    of_forks.begin_process()
    assert first.is_abandoned
    assert last.is_abandoned
