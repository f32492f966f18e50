"""Two flushers never send at once, and where one is gone or hangs another one goes on."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lotus_durable.flusher import locks
from lotus_durable.queue.requests import ask
from lotus_durable.testing.faults import Delay, Faults

from .scene import Scene, hear, say, wait_until
from .seen import ended, state_of

SERVES = """
    client = make(constants=eval(sys.argv[1]), on_error=lambda error, events: os.write(2, f"told {error}\\n".encode()))
    while (line := hear()):
        track(client, line)
        say("tracked")
    os._exit(0)
    """
QUICK = {"hung_after": 1.0, "idle_before_end": 30.0}
"""Constants with which one that hangs is replaced after four seconds: a beat is young for two."""


class Worker:
    """A process that tracks what it is told to."""

    def __init__(self, scene: Scene, **constants: float) -> None:
        self.process = scene.start(SERVES, constants)
        self._scene = scene
        self.count = 0

    def track(self, name: str) -> None:
        say(self.process, name)
        assert hear(self.process) == "tracked"

    def track_until(self, condition: Callable[[], object], what: str) -> list[str]:
        """Track now and then until that is so; return what was tracked."""
        names: list[str] = []

        def again() -> bool:
            names.append(f"event{os.urandom(4).hex()}")
            self.track(names[-1])
            time.sleep(0.05)  # an event now and then, not a wait for anything
            return bool(condition())

        wait_until(again, what)
        return names


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: state_of(pid) == "T", "it to stop")
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def test_a_killed_flusher_is_replaced_at_the_next_look(scene: Scene) -> None:
    worker = Worker(scene)
    worker.track("first")
    scene.arrived("first")
    for _ in range(3):
        killed = scene.kill_flusher()
        names = worker.track_until(lambda killed=killed: scene.flushers() - {killed}, "another one")  # type: ignore[misc]
        scene.arrived(*names)
    assert scene.server.senders_take_turns()
    assert scene.starts() == 4


def test_while_an_answer_is_late_its_heartbeat_is_not_written_into_another_queue_that_takes_the_place_of_its_own(
    scene: Scene, tmp_path: Path
) -> None:
    worker = Worker(scene)
    worker.track("first")
    scene.settled("first")
    flusher = scene.flusher()
    scene.server.faults = Faults(script=[Delay(3.0)], path="/api/track/")
    worker.track("second")
    wait_until(lambda: (beat := scene.beat()) is not None and beat.in_flight is not None, "the request")
    queue, moved = Path(scene.directory.root), tmp_path / "moved"
    queue.rename(moved)
    scene.directory.prepare()
    other = Path(scene.directory.heartbeat)
    other.write_bytes(b"another queue's")
    wait_until(lambda: ended(flusher), "it to notice, and leave")
    assert other.read_bytes() == b"another queue's"


def test_a_flusher_that_is_stopped_is_ended_and_replaced_and_sends_no_more_when_it_is_continued(scene: Scene) -> None:
    worker = Worker(scene, **QUICK)
    worker.track("first")
    scene.settled("first")
    flusher = scene.flusher()
    with stopped(flusher):
        names = worker.track_until(lambda: ended(flusher), "it to be ended")
    scene.arrived(*names)
    assert scene.server.senders_take_turns()
    assert scene.server.duplicates == 0


def track_in_short_lives(scene: Scene, constants: dict[str, float]) -> None:
    """Have a flusher stopped, and processes of fifty milliseconds track until events arrive again."""
    code = f"track(make(constants={constants}), sys.argv[1]); time.sleep(0.05); os._exit(0)"
    scene.run(code, "first")
    scene.settled("first")
    names: list[str] = []

    def one_more() -> bool:
        names.append(f"event{len(names)}")
        scene.run(code, names[-1])
        return names[0] in scene.server.times_received

    with stopped(scene.flusher()):
        wait_until(one_more, "events to arrive again", timeout=30.0)
    scene.arrived(*names)
    assert scene.server.senders_take_turns()


def test_a_stopped_flusher_is_replaced_also_where_only_processes_of_fifty_milliseconds_track(scene: Scene) -> None:
    track_in_short_lives(scene, QUICK)


@pytest.mark.slow
def test_a_stopped_flusher_is_replaced_within_fifteen_seconds_with_the_constants_as_they_are(scene: Scene) -> None:
    """The promise's own time, and as much again for a busy machine."""
    track_in_short_lives(scene, {})


@contextlib.contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Freeze a process by a cgroup of version 1; it gets SIGKILL only when it is thawed."""
    group = Path(f"/sys/fs/cgroup/freezer/lotus-durable-test-{pid}")
    try:
        group.mkdir()
    except OSError:
        pytest.skip("needs root and a freezer of cgroup v1")
    tasks = group / "cgroup.procs"
    if not tasks.exists():
        group.rmdir()
        pytest.skip("needs a freezer of cgroup v1")
    try:
        tasks.write_text(str(pid))
        (group / "freezer.state").write_text("FROZEN")
        yield
    finally:
        (group / "freezer.state").write_text("THAWED")
        wait_until(lambda: ended(pid), "it to end")
        wait_until(lambda: not tasks.read_text(), "an empty cgroup")
        group.rmdir()


def test_a_flusher_in_a_frozen_cgroup_is_named_and_replaced_when_it_is_thawed(scene: Scene) -> None:
    worker = scene.start(
        f"""
        told = []
        constants = {{**{QUICK}, "report_interval": 0.5}}
        client = make(constants=constants, on_error=lambda error, events: told.append(str(error)))
        def named():
            track(client, os.urandom(4).hex())
            time.sleep(0.05)
            return [each for each in told if "thawed" in each]
        track(client, "first")
        hear()
        say(*wait_until(named))
        hear()
        track(client, "last")
        say(client.drain(20).complete)
        """
    )
    scene.settled("first")
    flusher = scene.flusher()
    with frozen(flusher):
        say(worker)
        assert f"process {flusher} on" in hear(worker)
    say(worker)
    assert hear(worker) == "True"
    scene.arrived("last")
    assert scene.server.senders_take_turns()


def test_a_flusher_that_was_stopped_for_less_than_that_goes_on(scene: Scene) -> None:
    worker = Worker(scene)
    worker.track("first")
    scene.arrived("first")
    flusher = scene.flusher()
    with stopped(flusher):
        began = time.monotonic()
        names = worker.track_until(lambda: time.monotonic() > began + 4.0, "four seconds")
    scene.arrived(*names)
    assert scene.flusher() == flusher
    assert scene.starts() == 1


def test_nobody_is_ended_after_a_suspend_of_all(scene: Scene) -> None:
    workers = [Worker(scene, **QUICK) for _ in range(3)]
    for worker in workers:
        worker.track(f"first{worker.process.pid}")
    scene.arrived(*(f"first{worker.process.pid}" for worker in workers))
    flusher = scene.flusher()
    everybody = [flusher, *(worker.process.pid for worker in workers)]
    with contextlib.ExitStack() as stack:
        for pid in everybody:
            stack.enter_context(stopped(pid))
        began = time.monotonic()
        wait_until(lambda: time.monotonic() > began + 5.0, "a while")
    for worker in workers:
        worker.track_until(lambda: (beat := scene.beat()) is not None and beat.age() < 1.0, "a beat")
    assert scene.flusher() == flusher
    assert scene.starts() == 1


def test_a_dead_heartbeat_that_sixteen_workers_look_at_makes_one_start_and_tells_nothing(scene: Scene) -> None:
    first = Worker(scene, **QUICK)
    first.track("first")
    scene.arrived("first")
    workers = [scene.start(SERVES.replace("os.write(2,", "say(").replace(".encode())", ")"), QUICK) for _ in range(16)]
    for number, worker in enumerate(workers):
        say(worker, f"early{number}")
        assert hear(worker) == "tracked"
    scene.arrived(*(f"early{number}" for number in range(16)))
    scene.kill_flusher()
    before = scene.starts()
    turns = [0]

    def all_track() -> bool:
        turns[0] += 1
        for number, worker in enumerate(workers):
            say(worker, f"event{number}-{turns[0]}")
        for worker in workers:
            assert hear(worker) == "tracked", "nothing is told"
        return "event0-1" in scene.server.times_received

    wait_until(all_track, "the events to arrive")
    scene.arrived(*(f"event{number}-{turn + 1}" for number in range(16) for turn in range(turns[0])))
    assert scene.starts() == before + 1
    assert scene.server.senders_take_turns()


def both_lock_files(scene: Scene) -> None:
    Path(scene.directory.flusher_lock).unlink()
    Path(scene.directory.starting).unlink()


@pytest.mark.parametrize("moment", ["idle", "in a request"])
def test_with_both_lock_files_deleted_no_two_flushers_send_at_once_and_all_arrives(scene: Scene, moment: str) -> None:
    worker = Worker(scene)
    worker.track("first")
    scene.arrived("first")
    if moment == "in a request":
        scene.server.fail_next(Delay(3.0))
    worker.track("second")
    scene.arrived("second")
    both_lock_files(scene)
    # The same one, if it was faster than the one that is started, or another.
    names = worker.track_until(lambda: locks.is_held(scene.directory.flusher_lock), "somebody to flush")
    scene.arrived(*names)
    assert scene.server.senders_take_turns()
    assert scene.server.most_at_once() == 1
    assert scene.server.duplicates == 0


def test_an_event_that_comes_within_a_trusted_look_after_the_lock_was_deleted_arrives(scene: Scene) -> None:
    """Nobody looks any more: the flusher itself has to see to it that somebody goes on."""
    application = scene.start(
        """
        client = make(constants={"trusted_look": 5.0, "leaving_wait": 6.0})
        track(client, "first")
        say("tracked")
        hear()
        track(client, "second")
        os._exit(0)
        """
    )
    assert hear(application) == "tracked"
    scene.arrived("first")
    both_lock_files(scene)
    wait_until(lambda: "lock" in Path(scene.directory.log).read_text(), "it to notice")
    say(application)
    assert application.wait(20) == 0
    scene.arrived("second", timeout=30)
    assert scene.starts() == 1


def test_copies_of_the_lock_of_a_start_in_children_hold_up_no_other_start(scene: Scene) -> None:
    """Another thread of the application forks between the lock is taken and the shell is started."""
    application = scene.start(
        """
        from lotus_durable.flusher import look, starting
        starting._IGNORED_AFTER = 3600.0  # nor does anybody wait until that start is given up
        start = look.start_flusher
        def fork_and_start(*arguments):
            if os.fork() == 0:
                time.sleep(60)
                os._exit(0)
            start(*arguments)
        look.start_flusher = fork_and_start
        client = make()
        while (line := hear()):
            track(client, line)
            say("tracked")
        """
    )
    say(application, "first")
    assert hear(application) == "tracked"
    scene.arrived("first")
    killed = scene.kill_flusher()

    def replaced() -> bool:
        say(application, f"event{os.urandom(4).hex()}")
        assert hear(application) == "tracked"
        return bool(scene.flushers() - {killed})

    wait_until(replaced, "another one")
    for pid in children_of(application.pid):
        os.kill(pid, signal.SIGKILL)


def test_children_that_are_forked_in_the_middle_of_a_drain_here_do_not_keep_the_lock(scene: Scene) -> None:
    """With an external flusher drain() takes the lock in the application, which may fork, past all hooks too."""
    application = scene.start(
        """
        import ctypes, threading
        allow_forks_beside_threads()
        client = make(flusher="external")
        track(client, "first")
        draining = threading.Thread(target=lambda: say("drained", client.drain(20).complete))
        draining.start()
        hear()
        for fork in (os.fork, ctypes.PyDLL(None).fork):
            if fork() == 0:
                time.sleep(60)
                os._exit(0)
        say("forked")
        draining.join()
        hear()
        """
    )
    scene.server.fail_next(None, Delay(3.0))
    scene.arrived("first")
    say(application)
    assert hear(application) == "forked"
    assert hear(application) == "drained True"
    try:
        assert locks.is_held(scene.directory.flusher_lock) is False
        [complete] = scene.run("client = make(); track(client, 'second'); say(client.drain(30).complete)")
        assert complete == "True"
    finally:
        for pid in children_of(application.pid):
            os.kill(pid, signal.SIGKILL)


def test_a_process_that_is_stopped_in_the_middle_of_its_own_drain_is_named_and_ended_by_nobody(scene: Scene) -> None:
    scene.server.fail_next(None, Delay(1.0))
    draining = scene.start(
        """
        client = make(flusher="external")
        track(client, "first")
        say("drained", client.drain(60).complete)
        hear()
        """
    )
    scene.arrived("first")
    with stopped(draining.pid):
        worker = scene.start(
            f"""
            told = []
            client = make(constants={QUICK}, on_error=lambda error, events: told.append(str(error)))
            def again():
                track(client, os.urandom(4).hex())
                time.sleep(0.05)
                return told
            say(*wait_until(again))
            """
        )
        line = hear(worker)
        assert f"process {draining.pid}" in line
        assert "drain()" in line
        assert state_of(draining.pid) == "T"
    assert hear(draining) == "drained True"
    assert scene.server.senders_take_turns()


def test_events_around_the_moment_at_which_a_flusher_leaves_all_arrive(scene: Scene) -> None:
    """The race of leaving and looking: processes that end at once track in steps of a few milliseconds around it."""
    scene.run(
        """
        constants = {"idle_before_end": 0.05, "trusted_look": 0.05, "leaving_wait": 0.06}
        options = dict(constants=constants, flush_interval=0.01)
        number = 0
        for turn in range(40):
            client = make(**options)
            # Two processes, of which one looks when it is made and tracks within what that has seen.
            pids = []
            for step in range(6):
                pid = os.fork()
                if pid == 0:
                    track(client, f"look{turn}-{step}")
                    time.sleep(0.012 * step + 0.001 * turn)
                    track(client, f"trust{turn}-{step}")
                    os._exit(0)
                pids.append(pid)
            for pid in pids:
                assert exit_code(pid) == 0
        os._exit(0)
        """
    )
    scene.arrived(*(f"{kind}{turn}-{step}" for kind in ("look", "trust") for turn in range(40) for step in range(6)))
    assert scene.server.duplicates == 0
    assert scene.server.senders_take_turns()


@pytest.mark.parametrize("backend", ["journal", "sqlite"])
def test_an_event_on_the_word_of_a_look_before_the_flusher_let_go_arrives(scene: Scene, backend: str) -> None:
    scene.run(
        """
        constants = {"idle_before_end": 0.1, "trusted_look": 3.0, "leaving_wait": 3.5}
        client = make(constants=constants, flush_interval=0.02, backend=sys.argv[1])
        track(client, "first")
        flushes = client._tracker.look.somebody_flushes
        wait_until(flushes)
        client._tracker.look_now()
        wait_until(lambda: not flushes())
        track(client, "trusted")
        os._exit(0)
        """,
        backend,
    )
    scene.arrived("first", "trusted")
    assert scene.starts() == 1


def test_an_event_that_comes_when_the_flusher_has_made_way_for_one_that_died_arrives(scene: Scene) -> None:
    scene.run(
        """
        from lotus_durable.queue.requests import ask
        client = make(constants={"trusted_look": 3.0, "leaving_wait": 3.5}, flush_interval=0.02)
        track(client, "first")
        flushes = client._tracker.look.somebody_flushes
        wait_until(flushes)
        client._tracker.look_now()
        ask(client._tracker.directory, "make way")
        wait_until(lambda: not flushes())
        track(client, "trusted")
        os._exit(0)
        """
    )
    scene.arrived("first", "trusted")
    assert scene.starts() == 1


def test_an_event_that_was_held_up_between_its_clock_and_its_write_arrives(scene: Scene) -> None:
    """A process is stopped in the middle of the call for longer than a flusher takes to leave."""
    scene.run(
        """
        constants = {"idle_before_end": 0.1, "trusted_look": 0.3, "leaving_wait": 0.4}
        client = make(constants=constants, flush_interval=0.02)
        track(client, "first")
        pwrite, flushes = os.pwrite, client._tracker.look.somebody_flushes
        wait_until(lambda: client.stats().delivered == 1)
        track(client, "second")

        def held_up(*arguments):
            os.pwrite = pwrite
            wait_until(lambda: not flushes())
            time.sleep(1.0)
            return pwrite(*arguments)

        time.sleep(0.35)
        track(client, "third")     # looks
        os.pwrite = held_up
        track(client, "held up")
        os._exit(0)
        """
    )
    scene.arrived("first", "second", "third", "held up")


def test_blocked_with_nobody_tracking_it_goes_on_and_all_arrives_when_the_server_is_back(scene: Scene) -> None:
    scene.server.pause()
    scene.run("track(make(constants={'idle_before_end': 0.1}), 'first', 'second'); os._exit(0)")
    flusher = scene.flusher()
    beat = wait_until(lambda: (beat := scene.beat()) and beat.state == "retrying" and beat, "it to meet no server")
    assert beat
    began = time.monotonic()
    wait_until(lambda: time.monotonic() > began + 3.0, "a while")
    assert scene.flusher() == flusher
    scene.server.resume()
    scene.arrived("first", "second", timeout=60)


def test_blocked_by_its_key_it_stays_and_all_arrives_when_the_key_is_valid(scene: Scene) -> None:
    scene.server.rotate_key("another-key")
    scene.run("track(make(constants={'idle_before_end': 0.1, 'probe_interval': 0.3}), 'first'); os._exit(0)")
    wait_until(lambda: (beat := scene.beat()) and beat.state == "blocked", "it to be blocked")
    scene.server.rotate_key("test-key")
    scene.arrived("first", timeout=60)


def test_on_the_2022_server_a_request_that_a_killed_flusher_had_in_flight_is_waited_out(
    scenes: Callable[..., Scene],
) -> None:
    scene = scenes("L22")
    worker = scene.start(
        """
        client = make(constants={"grace": 1.0}, timeout=(1.0, 4.0), exit_timeout=0)
        while (line := hear()):
            track(client, line)
            say("tracked")
        """
    )
    say(worker, "first")
    assert hear(worker) == "tracked"
    scene.arrived("first")
    scene.server.fail_next(Delay(4.0))
    say(worker, "second")
    assert hear(worker) == "tracked"
    scene.arrived("second")
    scene.kill_flusher()

    def again() -> bool:
        say(worker, f"event{os.urandom(4).hex()}")
        assert hear(worker) == "tracked"
        return len(scene.server.sent) >= 3

    wait_until(again, "the next one to send")
    assert scene.server.most_at_once() == 1


def test_on_the_2022_server_a_killed_flushers_batch_that_comes_again_in_parts_loses_no_lot(
    scenes: Callable[..., Scene],
) -> None:
    """It gathers 1,000 events; while it inserts them, a repeat makes it lose the next lot."""
    scene = scenes("L22")
    workers = [
        scene.start(
            """
            client = make(constants={"grace": 2.0}, timeout=(1.0, 1.0), exit_timeout=0, max_batch_events=18)
            while (line := hear()):
                track(client, *[f"{line} {number}" for number in range(int(line.split()[-1]))])
                say("tracked")
            """
        )
        for _ in range(2)
    ]

    def track(worker: int, name: str, count: int) -> list[str]:
        say(workers[worker], f"{name} {count}")
        assert hear(workers[worker]) == "tracked"
        return [f"{name} {count} {number}" for number in range(count)]

    ids = track(0, "before", 980)
    scene.arrived(*ids, timeout=60.0)
    scene.settled(*track(1, "before too", 4))
    with stopped(scene.flusher()):
        scene.server.fail_next(Delay(2.0))
        ids += track(0, "again", 7) + track(1, "again too", 6)
    scene.arrived("again 7 0", "again too 6 0")
    scene.kill_flusher()
    ids += track(0, "new", 11) + track(1, "new too", 200)

    def arrived() -> bool:
        ids.extend(track(0, f"more{len(ids)}", 1))  # an event a moment later looks
        time.sleep(0.2)
        return set(ids) <= scene.server.times_received.keys()

    wait_until(arrived, "all to arrive", 60.0)
    assert set(ids) <= scene.server.database


def children_of(parent: int) -> list[int]:
    with open(f"/proc/{parent}/task/{parent}/children") as children:
        return [int(child) for child in children.read().split()]


def test_a_flusher_whose_directory_is_moved_away_writes_nothing_into_the_one_that_comes_in_its_place(
    scene: Scene,
) -> None:
    """Its books are of the other one: here they would take the place of those that tell what lies here."""
    scene.server.faults = Faults(script=[Delay(1.0)], path="/api/track/")
    for name in ("one", "two", "three"):
        scene.run("track(make(flusher='external'), sys.argv[1]); os._exit(0)", name)
    scene.run("track(make(), 'four'); os._exit(0)")
    scene.arrived("one", "two", "three", "four")  # and are not answered yet
    away = scene.root / "away"
    scene.queue_dir.rename(away)
    scene.directory.prepare()
    wait_until(lambda: not scene.flushers(), "the flusher to end")
    assert not (scene.queue_dir / "books.db").exists()
    with contextlib.closing(sqlite3.connect(away / "books.db")) as books:
        assert books.execute("SELECT delivered FROM settled WHERE segment = x''").fetchone() == (4,)


@pytest.mark.parametrize("before", ["nobody", "one that ended", "itself", "itself, without a lock file"])
def test_a_flusher_that_is_stopped_without_a_heartbeat_is_ended_and_replaced(scene: Scene, before: str) -> None:
    """It was stopped before its first beat, or somebody has removed its heartbeat, and perhaps its lock file."""
    code = """
    import signal
    from lotus_durable.flusher.surroundings import COMMAND
    from lotus_durable.flusher.lock import FlusherLock
    make()._tracker.directory.prepare()
    lock = FlusherLock(make()._tracker.directory)
    wait_until(lock.acquire)
    Path("/proc/self/comm").write_text(COMMAND)
    say("held")
    os.kill(os.getpid(), signal.SIGSTOP)
    """
    worker = Worker(scene, **QUICK)
    if before != "nobody":
        worker.track("first")
        scene.settled("first")
    if before.startswith("itself"):
        stopped_one = scene.flusher()
        os.kill(stopped_one, signal.SIGSTOP)
        os.unlink(scene.directory.heartbeat)
        if before != "itself":
            os.unlink(scene.directory.flusher_lock)
    else:
        if before != "nobody":
            ask(scene.directory, "stop")
            wait_until(lambda: not scene.flushers(), "it to end")
        holder = scene.start(code)
        assert hear(holder) == "held"
        stopped_one = holder.pid
    before_that = len(scene.server.times_received)
    names = worker.track_until(lambda: len(scene.server.times_received) > before_that, "events to arrive again")
    assert ended(stopped_one)
    scene.arrived(*names)
