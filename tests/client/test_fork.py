"""Forks of every kind, in the middle of everything: nothing is lost, nothing is shared, and nobody is confused."""

from __future__ import annotations

import pytest

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
        client = be_quiet()
        say("ids", *track(client, 10))
        assert client.drain(20).complete
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
        client = make(segment_bytes=1 << 16)
        track(client)
        assert client.drain(20).complete  # and all is imported
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
        assert client.drain(30).complete
        """,
        rig.queue_dir,
        rig.server.host,
        no_hooks=no_hooks,
    )
    ids = accepted(said)
    assert len(ids) == len(set(ids)) > 600
    stats = rig.stats()
    assert set(ids) <= set(rig.server.times_received)
    assert stats.accepted == stats.delivered == len(ids) + 1


@FORKS
def test_the_child_of_a_leader_does_not_believe_it_leads_and_drains_by_asking(
    rig: Rig, fork: str, no_hooks: bool
) -> None:
    said = lines(
        f"""
        client = be_quiet()
        say("ids", *track(client, 3))
        assert client.drain(20).complete and leads(client)
        pid = {fork}()
        if pid == 0:
            assert not leads(client)
            say("ids", *track(client, 3))
            candidate._POLL_INTERVAL = 0.05
            assert not leads(client)
            report = client.drain(20)
            assert report.complete, report
            assert not leads(client)
            os._exit(0)
        desk._LOOK_INTERVAL = 0.01
        client._process.candidate.nudge()  # it looks again, now at the short interval
        assert ended(pid) == 0
        assert leads(client) and client._process.candidate._leadership.is_held()
        """,
        rig.queue_dir,
        rig.server.host,
        no_hooks=no_hooks,
    )
    assert rig.check(accepted(said)).delivered == 6


@FORKS
def test_a_child_keeps_none_of_the_parents_descriptors(rig: Rig, fork: str, no_hooks: bool) -> None:
    lines(
        f"""
        def ours():
            links = [os.readlink(f"/proc/self/fd/{{each}}") for each in os.listdir("/proc/self/fd")
                     if os.path.lexists(f"/proc/self/fd/{{each}}")]
            return sorted(link for link in links if str(queue_dir) in link or "socket" in link)

        client = be_quiet()
        track(client, 3)
        assert client.drain(20).complete
        assert any(".seg" in each for each in ours()) and any("socket" in each for each in ours())
        pid = {fork}()
        if pid == 0:
            if {no_hooks or fork != "os.fork"}:
                track(client)  # without hooks it is noticed at the first call
                # A directory that another thread was just listing is nobody's to close.
                left = [each for each in ours() if "leader.lock" not in each and "socket" not in each
                        and not os.path.isdir(each)]
                assert len(left) == 1 and str(os.getpid()) in left[0], left
            else:
                assert ours() == [], ours()
            os._exit(0)
        assert ended(pid) == 0
        assert any(".seg" in each for each in ours()) and any("socket" in each for each in ours())
        """,
        rig.queue_dir,
        rig.server.host,
        no_hooks=no_hooks,
    )


def test_a_child_that_ends_in_order_sends_only_what_is_its_to_send(rig: Rig) -> None:
    """The parent's leadership, its queue and its exit are not the child's."""
    said = lines(
        """
        client = make(exit_timeout=20)
        say("ids", *track(client, 3))
        pid = os.fork()
        if pid == 0:
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
    )
    assert rig.check(accepted(said)).delivered == 6


def test_events_in_the_parents_memory_are_not_the_childs_to_write(rig: Rig) -> None:
    said = lines(
        """
        import errno
        from lotus_durable.queue import writer
        client = make(flusher="external")
        write, allowed = os.write, []

        def refuse(descriptor, data):
            if not allowed and b"note" in data:
                raise OSError(errno.ENOSPC, "full")
            return write(descriptor, data)

        writer.os.write = refuse
        ids = track(client, 5, properties={"note": "on a full disk"})
        wait_until(lambda: client.stats().buffered == 5)  # one may just be tried again
        pid = os.fork()
        allowed.append(True)
        if pid == 0:
            assert client.stats().buffered == 0
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


def test_a_pool_of_processes_tracks(rig: Rig) -> None:
    """multiprocessing ends its children by os._exit: no atexit, no farewell."""
    said = lines(
        """
        import multiprocessing

        client = make()

        def work(number):
            return track(client, 20)

        if __name__ == "__main__":
            say("ids", *track(client, 1))
            with multiprocessing.get_context("fork").Pool(4) as pool:
                for ids in pool.map(work, range(20), chunksize=1):
                    say("ids", *ids)
            assert client.drain(20).complete
        """,
        rig.queue_dir,
        rig.server.host,
    )
    ids = accepted(said)
    assert len(ids) == len(set(ids)) == 401
    assert rig.check(ids).delivered == 401


def test_forks_while_parked_events_are_written_never_carry_the_store_along(rig: Rig) -> None:
    """SQLite carried across a fork loses acknowledged rows; so the fork waits until it is closed."""
    said = lines(
        """
        client = make(parked_retry_interval=0.05)
        ids = track(client, 40, time_created="2999-01-01T00:00:00Z")
        wait_until(lambda: client.stats().parked)
        for _ in range(40):
            pid = os.fork()
            if pid == 0:
                from lotus_durable.tracker import Process
                open_files = [os.readlink(f"/proc/self/fd/{each}") for each in os.listdir("/proc/self/fd")
                              if os.path.lexists(f"/proc/self/fd/{each}")]
                assert not [each for each in open_files if "events.db" in each], open_files
                assert not Process.has_inherited_store
                os._exit(0)
            assert ended(pid) == 0
        wait_until(lambda: client.stats().parked == 40)
        say("ids", *ids)
        client.release(20)
        """,
        rig.queue_dir,
        rig.server.host,
    )
    stats = rig.check(accepted(said))
    assert stats.parked == 40


def test_threads_that_fork_at_once_do_not_wait_for_each_other_for_ever(rig: Rig) -> None:
    lines(
        """
        clients = [make(), make(queue_dir=queue_dir.with_name("other"))]
        for client in clients:
            track(client, 1)
            assert client.drain(20).complete

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
            track(client, 1, time_created="2999-01-01T00:00:00Z")  # the store can be opened
            assert client.drain(20).parked == 1
        """,
        rig.queue_dir,
        rig.server.host,
    )


def test_a_fork_past_all_hooks_in_the_middle_of_an_import_waits_for_nobody_in_the_child(rig: Rig) -> None:
    said = lines(
        """
        from lotus_durable import imports
        client = be_quiet()
        importing, ended_ = threading.Event(), threading.Event()

        def slow_import():
            with imports.uncut():
                importing.set()
                ended_.wait(30)

        thread = threading.Thread(target=slow_import)
        thread.start()
        importing.wait()
        pid = fork_in_c()
        if pid == 0:
            signal.alarm(20)  # it would wait for ever
            with imports.uncut():
                say("was cut:", imports.was_cut())
            say("ids", *track(client))
            os._exit(0)
        assert ended(pid) == 0
        ended_.set()
        thread.join()
        say("was cut:", imports.was_cut())
        assert client.drain(20).complete
        """,
        rig.queue_dir,
        rig.server.host,
    )
    assert [line for line in said if "cut" in line] == ["was cut: True", "was cut: False"]
    [one] = accepted(said)
    assert one in rig.server.times_received, "the event of a process that cannot upload is sent by another"
