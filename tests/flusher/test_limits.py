"""Many clients, few descriptors, and directories that go away."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from lotus_durable.config import Config
from lotus_durable.flusher import background, life
from lotus_durable.flusher.destination import AsConfigured
from lotus_durable.queue.directory import QueueDirectory
from tests.scripts import run

from .scene import Scene, hear, say, wait_until
from .seen import ended

MEASURE = """
    def descriptors():
        return len(os.listdir("/proc/self/fd"))
    """


@pytest.mark.parametrize("style", ["dropped", "kept", "shut down", "with"])
def test_a_client_for_each_of_many_requests_leaves_no_thread_and_few_descriptors(scene: Scene, style: str) -> None:
    [threads, more] = scene.run(
        MEASURE
        + f"""
    kept = []
    track(make(), "first")
    before = descriptors()
    for number in range(40 if {style!r} == "with" else 300):  # each of these waits for its event
        if {style!r} == "with":
            with make() as client:
                track(client, f"event{{number}}")
        else:
            client = make()
            track(client, f"event{{number}}")
            if {style!r} == "kept":
                kept.append(client)
            if {style!r} == "shut down":
                client.shutdown(0)
    say(len(os.listdir("/proc/self/task")))
    say(descriptors() - before)
    """
    )
    assert threads == "1"
    assert int(more) <= 2
    scene.arrived("first", *(f"event{number}" for number in range(40 if style == "with" else 300)))
    assert scene.starts() == 1


def test_clients_that_are_dropped_are_not_kept_for_ever(scene: Scene) -> None:
    [alive] = scene.run(
        """
        import gc, weakref
        clients = []
        for number in range(300):
            client = make()
            track(client, f"event{number}")
            clients.append(weakref.ref(client))
            del client
        gc.collect()
        say(sum(each() is not None for each in clients))
        """
    )
    assert int(alive) <= 2


def test_what_is_settled_is_not_remembered_by_a_process_that_shuts_clients_down_for_weeks(scene: Scene) -> None:
    [remembered] = scene.run(
        """
        for number in range(30):
            client = make(flush_interval=0.01)
            track(client, f"event{number}")
            client.shutdown(10)
        say(len(client._tracker.written()))
        """
    )
    assert int(remembered) <= 2


@pytest.mark.parametrize("different", ["nothing", "options"])
def test_at_128_descriptors_three_hundred_clients_lose_nothing_that_was_accepted(scene: Scene, different: str) -> None:
    said = scene.run(
        f"""
        import resource
        resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
        refused = 0
        for number in range(300):
            options = {{}}
            if {different!r} == "options":
                options["exit_timeout"] = number / 10000
            try:
                track(make(**options), f"event{{number}}")
            except Exception as error:
                say("refused", number, type(error).__name__, error)
        """
    )
    refused = {f"event{line.split()[1]}" for line in said}
    accepted = [each for each in (f"event{number}" for number in range(300)) if each not in refused]
    scene.arrived(*accepted, timeout=30)
    assert not said


def test_with_no_descriptor_left_events_are_kept_and_arrive_when_there_are_some(scene: Scene) -> None:
    scene.run(
        """
        import resource
        client = make(exit_timeout=20)
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        taken = []
        try:
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            pass
        track(client, "first", "second")
        time.sleep(0.6)
        track(client, "third")
        for each in taken:
            os.close(each)
        track(client, "fourth")
        """
    )
    scene.arrived("first", "second", "third", "fourth")


@pytest.mark.parametrize("moment", ["delivered", "at once"])
def test_a_temporary_directory_can_be_removed_right_after_a_test_and_the_flusher_is_gone_soon(
    scene: Scene, moment: str
) -> None:
    """Many times, because it is a race: nothing may be made in it while it is removed."""
    application = scene.start(
        """
        while (line := hear()):
            track(make(queue_dir=line, constants={"idle_before_end": 60.0}), "event" + line)
            say("tracked")
        os._exit(0)
        """
    )
    for number in range(15):
        folder = tempfile.mkdtemp(dir=scene.root)
        say(application, folder)
        assert hear(application) == "tracked"
        if moment == "delivered":
            scene.arrived(f"event{folder}")
        elif number % 3:
            wait_until(lambda folder=folder: scene_flushers(folder), "its start")  # type: ignore[misc]
        shutil.rmtree(folder)
        gone = lambda folder=folder: not scene_flushers(folder)  # noqa: E731
        wait_until(gone, "the flusher to be gone")
        assert not os.path.exists(folder)
    say(application)
    assert application.wait(20) == 0
    assert not list(scene.root.glob("tmp*"))


@pytest.mark.parametrize("ending", ["pass", "client.shutdown()", "client.join()"])
def test_a_directory_that_was_removed_after_all_was_delivered_is_not_made_again_at_the_end(
    scene: Scene, ending: str
) -> None:
    scene.run(
        f"""
        import shutil
        client = make()
        track(client, "first")
        assert client.drain(20).complete
        shutil.rmtree(QUEUE_DIR)
        try:
            {ending}
        except Exception as error:
            say(error)
        """
    )
    assert not scene.queue_dir.exists()
    wait_until(lambda: not scene.flushers(), "the flusher to be gone")
    assert not scene.queue_dir.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount")
@pytest.mark.parametrize("process", ["lives on", "has ended"])
def test_after_shutdown_and_stop_nothing_holds_the_directory(scene: Scene, process: str) -> None:
    scene.queue_dir.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0700", "tmpfs", str(scene.queue_dir)], check=True)
    try:
        application = scene.start(
            """
            client = make(exit_timeout=10)
            track(client, "first")
            client.shutdown(10)
            say("shut down")
            hear()
            """
        )
        assert hear(application) == "shut down"
        assert "first" in scene.server.times_received
        if process == "has ended":
            say(application)
            assert application.wait(20) == 0
        flusher = scene.flusher()
        stop = [sys.executable, "-m", "lotus_durable", "stop", "--queue-dir", str(scene.queue_dir)]
        [line] = scene.finish(stop)
        assert str(flusher) in line
        subprocess.run(["umount", str(scene.queue_dir)], check=True)
        assert not list(scene.queue_dir.iterdir())
        wait_until(lambda: ended(flusher), "it to end")
    finally:
        subprocess.run(["umount", "-l", str(scene.queue_dir)], check=False, stderr=subprocess.DEVNULL)


def scene_flushers(folder: str) -> set[int]:
    from .seen import flushers_under

    return flushers_under(Path(folder))


def test_a_directory_that_is_removed_as_a_flusher_begins_ends_no_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config.resolve({"api_key": "k", "host": "http://127.0.0.1:9", "queue_dir": tmp_path / "queue"}, environ={})
    QueueDirectory(config.queue_dir).prepare()
    flusher = life.Flusher(lambda: config, kind="external", destination=AsConfigured())
    assert flusher.lock.acquire()
    beating = background.beating

    def removed(*arguments: Any) -> contextlib.AbstractContextManager[None]:
        shutil.rmtree(config.queue_dir)
        return beating(*arguments)

    monkeypatch.setattr(life, "beating", removed)
    assert flusher.run() == "the lock is gone"


@pytest.mark.parametrize(("kind", "status"), [("auto", 0), ("external", 1)])
def test_a_flusher_with_a_step_that_does_not_end_says_where_it_is_and_ends(
    tmp_path: Path, kind: str, status: int
) -> None:
    result = run(
        f"""
        from lotus_durable.flusher.background import beating
        from lotus_durable.queue.directory import QueueDirectory

        class StuckControl:
            beat = staticmethod(lambda: None)
            is_stuck = staticmethod(lambda: True)

        def wait_for_a_disk_that_hangs():
            threading.Event().wait()

        with beating(StuckControl(), QueueDirectory(queue_dir), {kind!r}):
            wait_for_a_disk_that_hangs()
        """,
        tmp_path,
        "http://127.0.0.1:9",
    )
    assert result.returncode == status
    assert re.search(r"a step takes longer than it can: .* \(threading\.py:\d+ < .*<string>:\d+\)", result.stderr)
