"""A guest in the application's process: its forks, signals, clocks and modules are what they were."""

from __future__ import annotations

import importlib.util
import sys

import pytest

from .scene import Scene

NEVER = "filelock requests urllib3 persistqueue sqlite3 asyncio ssl http.client"


def needs(library: str) -> None:
    """Skip where it is not installed; it is not imported, because it would change this process."""
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")


def test_a_process_that_tracks_never_imports_what_only_a_flusher_needs(scene: Scene) -> None:
    script = f"""
import sys
import lotus_durable as lotus
lotus.api_key, lotus.host, lotus.queue_dir = "test-key", {scene.server.host!r}, {str(scene.queue_dir)!r}
lotus.track_event(customer_id="c", event_name="x", idempotency_id="first")
lotus.stats()
lotus.track_event(customer_id="c", event_name="x", idempotency_id="second")
lotus.shutdown()
print(*(name for name in {NEVER.split()} if name in sys.modules))
"""
    assert scene.finish([sys.executable, "-c", script]) == [""]
    scene.arrived("first", "second")


@pytest.mark.parametrize("text", ["UTF-8 only", "everything"])
def test_nothing_is_imported_between_the_import_and_the_second_event(scene: Scene, text: str) -> None:
    """Also not with properties of every kind; and the first of both events starts a flusher."""
    script = f"""
import datetime, decimal, enum, sys, uuid
import lotus_durable as lotus
before = set(sys.modules)
lotus.api_key, lotus.host, lotus.queue_dir = "test-key", {scene.server.host!r}, {str(scene.queue_dir)!r}
properties = {{"a": 1.5}}
if {text!r} == "everything":
    properties = {{"when": datetime.datetime.now(), "day": datetime.date.today(), "much": decimal.Decimal("1.5"),
                   "id": uuid.UUID(int=7), "set": {{1, 2}}, "tuple": (1, None, True), "text": "é\\u2028"}}
lotus.track_event(customer_id="c", event_name="x", properties=properties, idempotency_id="first")
lotus.track_event(customer_id="c", event_name="x", properties=properties, idempotency_id="second",
                  time_created="2026-01-01T00:00:00Z" if {text!r} == "everything" else None)
print(*sorted(set(sys.modules) - before))
"""
    assert scene.finish([sys.executable, "-c", script]) == [""]
    assert scene.flusher()


def test_no_thread_of_ours_runs_and_no_signal_is_changed(scene: Scene) -> None:
    [same, threads] = scene.run(
        """
        import signal, threading
        def signals():
            handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
            return handlers, signal.pthread_sigmask(0, ())
        before = signals()
        client = make()
        track(client, "first")
        client.drain(20)
        say(signals() == before)
        say(len(threading.enumerate()), len(os.listdir("/proc/self/task")))
        """
    )
    assert (same, threads) == ("True", "1 1")
    scene.arrived("first")


@pytest.mark.parametrize("threads", [2, 3])
def test_of_a_thousand_forks_in_threads_at_once_none_raises_waits_or_warns(scene: Scene, threads: int) -> None:
    """The child tracks in some of them; others track in the parent all the while."""
    said = scene.run(
        f"""
        import threading
        assert "filelock" not in sys.modules
        allow_forks_beside_threads()
        client = make(exit_timeout=20)
        track(client, "first")
        failed, tracked, ended = [], [], threading.Event()

        def fork_often(thread):
            try:
                for number in range(1000 // {threads}):
                    pid = os.fork()
                    if pid == 0:
                        if number % 20 == 0:
                            track(client, f"child{{thread}}-{{number}}")
                        os._exit(0)
                    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0:
                        failed.append(number)
            except BaseException as error:
                failed.append(error)

        def track_often():
            while not ended.is_set():
                tracked.append(f"parent{{len(tracked)}}")
                track(client, tracked[-1])
                time.sleep(0.01)

        tracking = threading.Thread(target=track_often)
        tracking.start()
        forking = [threading.Thread(target=fork_often, args=(number,)) for number in range({threads})]
        for thread in forking:
            thread.start()
        for thread in forking:
            thread.join()
        ended.set()
        tracking.join()
        say(len(tracked), *failed)
        """
    )
    [tracked] = said
    assert tracked.isdigit(), f"forks that failed: {tracked}"
    children = [f"child{thread}-{number}" for thread in range(threads) for number in range(0, 1000 // threads, 20)]
    scene.arrived("first", *children, *(f"parent{number}" for number in range(int(tracked))))


def test_a_child_that_is_forked_in_the_middle_of_a_start_holds_up_no_flusher(scene: Scene) -> None:
    """By another thread: it has a copy of every descriptor, the writing end of the pipe of the settings too."""
    scene.run(
        """
        from lotus_durable.flusher import spawn

        class Forking:
            def __getattr__(self, name):
                return getattr(os, name)

            def write(self, descriptor, data):
                if os.fork() == 0:
                    os.close(1)
                    os.close(2)
                    wait_until(lambda: os.path.exists(QUEUE_DIR.parent / "arrived"), 60)
                    os._exit(0)
                return os.write(descriptor, data)

        spawn.os = Forking()
        track(make(), "event")
        os._exit(0)
        """
    )
    scene.arrived("event")
    (scene.root / "arrived").touch()
    assert scene.starts() == 1


def test_a_child_that_was_forked_past_all_hooks_tracks_into_a_segment_of_its_own(scene: Scene) -> None:
    scene.run(
        """
        import ctypes
        client = make()
        track(client, "parent before")
        pid = ctypes.PyDLL(None).fork()
        if pid == 0:
            track(client, *(f"child{number}" for number in range(50)))
            os._exit(0)
        track(client, *(f"parent{number}" for number in range(50)))
        assert exit_code(pid) == 0
        os._exit(0)
        """
    )
    scene.arrived("parent before", *(f"{who}{number}" for who in ("child", "parent") for number in range(50)))
    assert scene.server.duplicates == 0


@pytest.mark.parametrize("disposition", ["SIG_DFL", "SIG_IGN"])
def test_a_server_that_hangs_up_kills_no_program_whatever_it_does_with_sigpipe(scene: Scene, disposition: str) -> None:
    scene.server.pause()
    scene.run(
        f"""
        import signal
        signal.signal(signal.SIGPIPE, signal.{disposition})
        client = make(exit_timeout=0.1)
        track(client, "first")
        client.drain(0.3)
        """
    )
    scene.server.resume()
    scene.arrived("first", timeout=60)
    assert scene.flusher()


def test_an_application_that_ignores_its_childrens_end_starts_a_flusher_and_waits_for_nobody(scene: Scene) -> None:
    scene.run(
        """
        import signal
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        client = make()
        track(client, "first")
        client.drain(20)
        """
    )
    scene.arrived("first")


def test_a_clock_that_returns_whole_seconds_makes_no_dead_letter(scene: Scene) -> None:
    [dead] = scene.run(
        """
        time.time = lambda: 1_800_000_000
        import lotus_durable.event.record
        client = make()
        track(client, "first", time_created="2026-11-29T05:00:00Z")
        client.drain(20)
        say(client.stats().dead_lettered)
        """
    )
    assert dead == "0"


def test_where_every_clock_of_the_application_is_frozen_waits_end_and_all_arrives(scene: Scene) -> None:
    """As freezegun does it, in every module that is imported by then."""
    scene.run(
        """
        now = time.time()
        frozen = {name: (lambda value=getattr(time, name)(): value)
                  for name in ("time", "monotonic", "perf_counter", "time_ns", "monotonic_ns")}
        for module in list(sys.modules.values()):
            for attribute, value in list(vars(module).items()):
                for name in frozen:
                    if value is getattr(time, name) and module is not time:
                        setattr(module, attribute, frozen[name])
        sleep = time.sleep
        for name, value in frozen.items():
            setattr(time, name, value)
        client = make()
        track(client, "first")
        assert client.drain(20).complete
        client.drain(0.5)
        for number in range(10):
            track(client, f"event{number}")
            sleep(0.06)
        client.shutdown(1)
        """
    )
    scene.arrived("first", *(f"event{number}" for number in range(10)))


def test_freezegun_itself_freezes_nothing_of_ours(scene: Scene) -> None:
    needs("freezegun")
    scene.run(
        """
        from freezegun import freeze_time
        client = make()
        with freeze_time("2026-11-29"):
            track(client, "first")
            assert client.drain(20).complete
            client.drain(0.5)
        """
    )
    scene.arrived("first")


@pytest.mark.parametrize("patched", ["gevent", "eventlet"])
def test_greenlets_track_and_so_does_a_native_thread_that_is_first(scene: Scene, patched: str) -> None:
    needs(patched)
    patch = {
        "gevent": "from gevent import monkey; monkey.patch_all()",
        "eventlet": "import eventlet; eventlet.monkey_patch()",
    }
    script = scene.root / "script.py"
    script.write_text(
        f"""
{patch[patched]}
from tests.flusher.app import *
import threading
from concurrent.futures import ThreadPoolExecutor
client = make()
if {patched!r} == "gevent":
    import gevent
    gevent.get_hub().threadpool.apply(lambda: track(client, "native"))
else:
    from eventlet import tpool
    tpool.execute(lambda: track(client, "native"))
threads = [threading.Thread(target=lambda n=n: track(client, f"greenlet{{n}}")) for n in range(5)]
for each in threads: each.start()
for each in threads: each.join()
import posix
child = os.fork()
if child == 0:
    track(client, "child")
    os._exit(0)
posix.waitpid(child, 0)  # the system's own: the library's waits for a signal, and is not what is tested
assert client.drain(20).complete
"""
    )
    # Else eventlet imports dnspython, that an HTTP client where one is installed, and patching meets what that holds.
    scene.finish([sys.executable, str(script)], EVENTLET_NO_GREENDNS="yes")
    scene.arrived("native", "child", *(f"greenlet{number}" for number in range(5)))


@pytest.mark.parametrize(
    ("library", "patch"),
    [
        ("responses", "import responses; responses.start()"),
        ("requests_cache", "import requests_cache; requests_cache.install_cache('cache', backend='memory')"),
        ("vcr", "import vcr; vcr.use_cassette('cassette.yaml', record_mode='none').__enter__()"),
    ],
)
def test_libraries_that_answer_for_servers_in_tests_do_not_reach_the_flusher(
    scene: Scene, library: str, patch: str
) -> None:
    needs(library)
    scene.run(
        f"""
        os.chdir({str(scene.root)!r})
        client = make()
        {patch}
        track(client, "first")
        assert client.drain(20).complete
        """
    )
    scene.arrived("first")


def test_a_time_limit_that_strikes_in_the_middle_of_a_look_is_the_applications(scene: Scene) -> None:
    assert scene.run(
        """
        import signal
        from lotus_durable.flusher import locks

        class TimeLimit(Exception):
            pass

        def strike(*_):
            raise TimeLimit

        signal.signal(signal.SIGUSR1, strike)
        client = make(constants={"trusted_look": 0.0})
        track(client, "before")
        is_held_in = locks.is_held_in

        def struck(*arguments):
            signal.raise_signal(signal.SIGUSR1)
            return is_held_in(*arguments)

        locks.is_held_in = struck
        try:
            track(client, "struck")
        except TimeLimit:
            say("the application's")
        locks.is_held_in = is_held_in
        track(client, "after")
        os._exit(0)
        """
    ) == ["the application's"]
    scene.arrived("before", "struck", "after")


def test_a_start_goes_past_what_gevent_replaced_in_os(scene: Scene) -> None:
    """Its functions wait in its loop: gunicorn's gevent workers were seen to hang there."""
    needs("gevent")
    script = scene.root / "script.py"
    script.write_text(
        """
from gevent import monkey
monkey.patch_all()
from tests.flusher.app import *
import threading

def refuse(*arguments, **options):
    raise AssertionError("a function of the loop")

os.posix_spawn = os.waitpid = os.fork = refuse
client = make()
tracking = threading.Thread(target=track, args=(client, "first"))
tracking.start()
tracking.join(10)
say(tracking.is_alive())
os._exit(0)
"""
    )
    assert scene.finish([sys.executable, str(script)]) == ["False"]
    scene.arrived("first")
