"""Processes that end right after they tracked, in whatever way: all arrives, and nobody calls anything."""

from __future__ import annotations

import subprocess
import sys

import pytest

from .scene import Scene, hear, say, wait_until


@pytest.mark.parametrize("milliseconds", [0, 20, 50])
def test_processes_that_live_no_longer_than_that_and_end_by_os_exit_deliver_all(
    scene: Scene, milliseconds: int
) -> None:
    code = """
        track(make(), sys.argv[1])
        time.sleep(int(sys.argv[2]) / 1000)
        os._exit(0)
        """
    ids = [f"event{number}" for number in range(8)]
    for each in ids:
        scene.run(code, each, milliseconds)
    scene.arrived(*ids)
    assert scene.starts() == 1
    assert scene.server.duplicates == 0


def test_a_process_that_is_killed_right_after_the_call_delivers(scene: Scene) -> None:
    process = scene.start("track(make(), 'only'); os.kill(os.getpid(), 9)")
    assert process.wait(20) == -9
    scene.arrived("only")


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("pool", ["ProcessPoolExecutor", "Pool"])
def test_a_pool_whose_parent_never_tracks_delivers_all(scene: Scene, method: str, pool: str) -> None:
    script = scene.file(
        f"""
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor

        def work(number):
            track(make(), f"event{{number}}")

        if __name__ == "__main__":
            context = multiprocessing.get_context({method!r})
            if {pool!r} == "Pool":
                with context.Pool(2) as pool:
                    pool.map(work, range(6), chunksize=1)
            else:
                with ProcessPoolExecutor(2, context) as pool:
                    list(pool.map(work, range(6)))
        """
    )
    scene.finish([sys.executable, str(script)])
    scene.arrived(*(f"event{number}" for number in range(6)))
    assert scene.starts() <= 2, "one, or two where both workers began before either was seen"


def test_each_run_of_a_cron_job_delivers(scene: Scene) -> None:
    """Nothing of a run is left when the next one comes: here even its flusher is gone."""
    code = "track(make(exit_timeout=30.0, constants={'idle_before_end': 0.2}), sys.argv[1])"
    for number in range(3):
        scene.run(code, f"run{number}")
        assert f"run{number}" in scene.server.times_received, "a script that ends in order waits for its events"
        wait_until(lambda: not scene.flushers(), "the flusher to have nothing to do any more")
    assert scene.starts() == 3


def test_events_of_exit_handlers_before_and_after_ours_and_of_finalizers_arrive(scene: Scene) -> None:
    scene.run(
        """
        import atexit, weakref
        class Thing: pass
        thing = Thing()
        client = make()
        atexit.register(lambda: track(client, "handler that runs before ours"))
        weakref.finalize(thing, lambda: track(client, "finalizer at exit"))
        other = Thing()
        weakref.finalize(other, lambda: track(client, "finalizer before exit"))
        track(client, "event")
        del other
        """
    )
    scene.arrived("event", "handler that runs before ours", "finalizer at exit", "finalizer before exit")


@pytest.mark.parametrize("before", [(), ("event",)])
def test_events_of_an_exit_handler_that_runs_after_ours_arrive(scene: Scene, before: tuple[str, ...]) -> None:
    script = scene.root / "script.py"
    script.write_text(
        f"""
import atexit
later = []
atexit.register(lambda: [each() for each in later])   # before the import, so it runs after what that registers
from tests.flusher.app import *
client = make()
later.append(lambda: track(client, "handler that runs after ours"))
track(client, *{before})
"""
    )
    scene.finish([sys.executable, str(script)])
    scene.arrived(*before, "handler that runs after ours")


def test_events_in_a_thread_that_goes_on_while_the_interpreter_ends_are_kept(scene: Scene) -> None:
    [count] = scene.run(
        """
        import threading
        client = make()
        track(client, "first")
        accepted = [0]
        def go_on():
            while True:
                track(client, f"event{accepted[0]}")
                accepted[0] += 1
                time.sleep(0.001)
        threading.Thread(target=go_on, daemon=True).start()
        wait_until(lambda: accepted[0] > 50)
        import atexit
        atexit.unregister(go_on)
        sys.stdout.write(f"{accepted[0]}\\n")
        """
    )
    scene.arrived("first", *(f"event{number}" for number in range(int(count))))


def test_steady_short_jobs_start_one_flusher_at_the_most(scene: Scene) -> None:
    """With time to have nothing to do shorter than the pause between two jobs: it is the events that keep it."""
    forking = scene.start(
        """
        import random
        client = make()
        for number in range(60):
            if os.fork() == 0:
                track(client, f"event{number}")
                os._exit(0)
            os.wait()
            time.sleep(0.02)
        say("done")
        """
    )
    assert hear(forking) == "done"
    scene.arrived(*(f"event{number}" for number in range(60)))
    assert scene.starts() == 1


def test_sixteen_workers_that_begin_at_once_start_one(scene: Scene) -> None:
    workers = [
        scene.start("client = make(); say('ready'); hear(); track(client, sys.argv[1]); say('done'); hear()", number)
        for number in range(16)
    ]
    for worker in workers:
        assert hear(worker) == "ready"
    for worker in workers:
        say(worker)
    for worker in workers:
        assert hear(worker) == "done"
    scene.arrived(*(str(number) for number in range(16)))
    assert scene.starts() == 1
    assert len(scene.flushers()) == 1


def test_one_event_right_before_a_flusher_leaves_arrives(scene: Scene) -> None:
    """Many tries, each with a process that ends at once, around the moment at which there is nothing to do."""
    code = """
        client = make(constants={"idle_before_end": 0.15}, flush_interval=0.02)
        track(client, "first")
        for number in range(12):
            time.sleep(0.1 + number * 0.06)
            if os.fork() == 0:
                track(client, f"event{number}")
                os._exit(0)
            os.wait()
        os._exit(0)
        """
    scene.run(code)
    scene.arrived("first", *(f"event{number}" for number in range(12)))


def test_a_shell_loop_of_jobs_is_as_quick_as_its_jobs(scene: Scene) -> None:
    job = f"{sys.executable} -c \"from tests.flusher.app import *; track(make(exit_timeout=0), '$each')\""
    subprocess.run(
        ["/bin/sh", "-c", f"for each in a b c; do {job}; done; wait"],
        env=scene.environment(),
        timeout=30,
        check=True,
        cwd="/",
    )
    scene.arrived("a", "b", "c")
