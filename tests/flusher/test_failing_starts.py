"""Starts that come to nothing: backed off for the whole directory, told with their last words, and drain() delivers."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import sqlite3
import sys
from pathlib import Path

import pytest

from lotus_durable.flusher.starting import Starting
from lotus_durable.testing import Delay

from .deployment import Deployment
from .scene import Scene, hear, say, wait_until

TOLD = """
    told = []
    client = make(exit_timeout=0, on_error=lambda error, events: told.append(f"{type(error).__name__}: {error}"))
    number = [0]
    def again():
        number[0] += 1
        track(client, f"event{number[0]}")
        time.sleep(0.1)
        return told
    """

GONE = """
    from lotus_durable.flusher import look
    look.find_interpreter = lambda: sys.argv[1]
    """


def test_a_missing_module_is_told_in_the_words_of_the_start_and_drain_says_it_too(scene: Scene) -> None:
    deployment = Deployment(scene.root / "deployment")
    deployment.break_module("requests")
    application = scene.start(
        TOLD
        + """
    say(*(line.replace("\\n", " ") for line in wait_until(again)))
    report = client.drain(30)
    say(report.complete, report.reason)
    """,
        python=deployment.python,
        more={"PYTHONPATH": deployment.paths},
    )
    line = hear(application)
    assert re.match(r"DeliveryBlocked: nothing is delivered, \d+ events? (is|are) kept, the oldest for \d+ s: ", line)
    assert ": a flusher cannot be started" in line
    assert "No module named 'requests'" in line
    line = hear(application)
    assert line.startswith("False")
    assert "No module named 'requests'" in line
    assert application.wait(20) == 0


def test_a_start_that_is_told_to_end_before_it_can_listen_is_no_failure_and_delivers(scene: Scene) -> None:
    """A service is stopped in that moment: systemd's SIGTERM goes to everything in the cgroup."""
    deployment = Deployment(scene.root / "deployment")
    boot = deployment.site / "lotus_durable" / "flusher" / "boot.py"
    boot.write_text(boot.read_text().replace("import os\n", "import os\nos.kill(os.getpid(), 15)\n", 1))
    application = scene.start(
        "track(make(), 'first'); os._exit(0)", python=deployment.python, more={"PYTHONPATH": deployment.paths}
    )
    assert application.wait(20) == 0
    scene.arrived("first")
    wait_until(lambda: not scene.flushers(), "it to end")
    assert Starting(scene.directory).read().failures == 0


def gone(folder: Path) -> str:
    return str(folder / "python3")


def not_to_be_run(folder: Path) -> str:
    path = folder / "python3"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o644)
    return str(path)


def of_another_machine(folder: Path) -> str:
    path = folder / "python3"
    path.write_bytes(b"\x7fELF" + bytes(100))
    path.chmod(0o755)
    return str(path)


def ends_at_once(folder: Path) -> str:
    path = folder / "python3"
    path.write_text("#!/bin/sh\necho 'some last words' >&2\nexit 3\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize("interpreter", [gone, not_to_be_run, of_another_machine, ends_at_once])
def test_an_interpreter_that_cannot_be_run_is_told_and_drain_delivers(scene: Scene, interpreter: object) -> None:
    assert callable(interpreter)
    path = interpreter(scene.root)
    told, drained = scene.run(
        GONE
        + TOLD
        + """
    say(*wait_until(again))
    report = client.drain(20)
    say(report.complete, number[0], report.reason)
    """,
        path,
    )
    assert "a flusher cannot be started" in told
    assert "some last words" in told if interpreter is ends_at_once else "python3" in told
    complete, count, _ = drained.split()
    assert complete == "True", drained
    scene.arrived(*(f"event{number + 1}" for number in range(int(count))))


def test_starts_that_failed_are_told_when_one_delivers_again(scene: Scene) -> None:
    told = scene.run(
        GONE
        + TOLD
        + """
    wait_until(again)
    from lotus_durable.flusher.spawn import find_interpreter
    look.find_interpreter = find_interpreter
    wait_until(lambda: len(again()) > 1)
    say(*told)
    os._exit(0)
    """,
        "/nowhere/python3",
    )
    assert re.search("DeliveryBlocked: .*DeliveryResumed: events are delivered again, after [0-9]+ s$", " ".join(told))


def test_failing_starts_are_backed_off_for_all_processes_together(scene: Scene) -> None:
    """Eight processes look for four seconds: a start after 0, 1, 3 s, not one for each process and look."""
    path = ends_at_once(scene.root)
    code = (
        GONE
        + """
    client = make(exit_timeout=0)
    say("ready")
    while hear() == "track":
        track(client, os.urandom(8).hex())
        say("tracked")
    """
    )
    workers = [scene.start(code, path) for _ in range(8)]
    for worker in workers:
        assert hear(worker) == "ready"

    def four_failed() -> bool:
        for worker in workers:
            say(worker, "track")
        for worker in workers:
            assert hear(worker) == "tracked"
        return Starting(scene.directory).read().failures >= 3

    wait_until(four_failed, "the third start to fail")
    assert scene.starts() in (3, 4)


def test_failing_starts_are_backed_off_and_told_where_only_whole_files_can_be_locked(scene: Scene) -> None:
    """As on macOS, and on some network file systems."""
    [told] = scene.run(
        GONE
        + """
    from lotus_durable.flusher import locks
    locks.HAS_OWN = False
    """
        + TOLD
        + """
    say(*wait_until(again))
    began = time.monotonic()
    while time.monotonic() < began + 2.0:
        again()
    """,
        gone(scene.root),
    )
    assert "a flusher cannot be started" in told
    assert scene.starts() <= 3


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="needs root, to have no processes")
def test_who_may_have_no_more_processes_keeps_its_events_and_says_so(scene: Scene) -> None:
    # The limit is that of a user, and not for those who may exceed it: here of one who has no process but this.
    application = scene.start(
        GONE
        + "import resource; resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))"
        + TOLD
        + """
    say(*wait_until(again))
    say(client.drain(20).complete)
    """,
        sys.executable,
        prefix=["setpriv", "--ruid", "54321", "--bounding-set", "-sys_admin,-sys_resource"],
    )
    assert "a flusher cannot be started: no process can be started" in hear(application)
    assert hear(application) == "True"
    scene.arrived("event1")


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs root and namespaces")
def test_without_a_shell_a_flusher_is_started_all_the_same_and_is_nobodys_child(scene: Scene) -> None:
    application = scene.start(
        """
        client = make()
        track(client, "first")
        try:
            os.waitpid(-1, 0)
            say("a child")
        except ChildProcessError:
            say("no child")
        hear()
        """,
        prefix=[
            "unshare",
            "--mount",
            "/bin/bash",
            "-c",
            'mount --bind /dev/null "$(readlink -f /bin/sh)"; exec "$@"',
            "-",
        ],
    )
    assert hear(application) == "no child"
    scene.arrived("first")
    assert scene.flusher()


def test_a_process_whose_working_directory_was_removed_starts_one(scene: Scene) -> None:
    """``python -c`` looks for modules in the working directory, whose path cannot be told then."""
    place = scene.root / "place"
    place.mkdir()
    application = scene.start("os.rmdir(os.getcwd()); track(make(), 'first'); os._exit(0)", cwd=place, prefix=["env"])
    assert application.wait(20) == 0
    scene.arrived("first")


def test_paths_of_modules_that_are_no_text_disturb_nobody(scene: Scene) -> None:
    scene.run("sys.path += [Path('/nowhere'), b'/bytes', 7]; track(make(), 'first'); os._exit(0)")
    scene.arrived("first")


def test_a_frozen_program_says_in_one_sentence_what_to_do_and_its_drain_delivers(scene: Scene) -> None:
    told, complete = scene.run(
        "    sys.frozen = True"
        + TOLD
        + """
    say(*wait_until(again))
    say(client.drain(20).complete, number[0])
    """
    )
    assert "no Python interpreter is found" in told
    assert "`lotus-durable flusher`" in told
    assert "drain()" in told
    assert complete.split()[0] == "True"
    scene.arrived("event1")
    assert scene.starts() == 0


def test_a_flusher_that_is_killed_while_the_server_is_away_was_no_failed_start(scene: Scene) -> None:
    """It has flushed, though no pass was ever done; the next one starts at once, and nothing wrong is told."""
    scene.server.pause()
    application = scene.start(
        """
        client = make(on_error=lambda error, events: say("told", error))
        while (line := hear()):
            track(client, line)
            say("tracked")
        """
    )
    say(application, "first")
    assert hear(application) == "tracked"
    wait_until(lambda: (beat := scene.beat()) is not None and beat.state == "retrying", "it to meet no server")
    killed = scene.kill_flusher()

    def replaced() -> bool:
        say(application, "more")
        assert hear(application) == "tracked"
        return bool(scene.flushers())

    wait_until(replaced, "another flusher")
    assert scene.flusher(other_than=killed)
    assert scene.starts() == 2
    assert Starting(scene.directory).read().failures == 0


def test_trouble_of_the_queue_itself_is_told_when_it_lasts(scene: Scene) -> None:
    """Each try is a new beginning; the trouble is the old one."""
    scene.queue_dir.mkdir(mode=0o700)
    with contextlib.closing(sqlite3.connect(scene.directory.books)) as books:
        books.execute("PRAGMA user_version=99")  # a later release's: nothing is changed in it
    [told] = scene.run(
        """
    told = []
    client = make(exit_timeout=0, constants={"report_after": 2.5},
                  on_error=lambda error, events: told.append(f"{type(error).__name__}: {error}"))
    def again():
        track(client, os.urandom(4).hex())
        time.sleep(0.1)
        return told
    say(*wait_until(again))
    """
    )
    assert told.startswith("DeliveryBlocked")
    os.unlink(scene.directory.books)
    scene.server.wait_until(lambda: scene.server.event_count > 0, what="delivery to go on")


def test_flushers_that_end_in_the_middle_of_their_work_are_backed_off_and_told_and_drain_says_so(scene: Scene) -> None:
    """Killed for want of memory, say, at the same event each time: only the first of them is replaced at once."""
    deployment = Deployment(scene.root / "deployment")
    (deployment.site / "lotus_durable" / "delivery" / "batching.py").write_text(
        "import os, signal\n"
        "class Batch: pass\n"
        "def batches_of_parked(*_, **__): return []\n"
        "class Batcher:\n"
        "    def __init__(self, *_, **__): pass\n"
        "    def next(self): os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    code = """
    say(*wait_until(again))
    report = client.drain(20)
    say(report.complete, report.reason)
    """
    told, drained = scene.finish(scene.command(TOLD + code, python=deployment.python), PYTHONPATH=deployment.paths)
    assert "are kept, the oldest for " in told
    assert ": flushers end in the middle" in told
    assert drained.startswith("False flushers end in the middle of their work")
    assert scene.starts() in (2, 3)
    assert Starting(scene.directory).read().failures in (2, 3)


def test_one_that_comes_to_flush_in_the_middle_of_a_look_has_not_failed(scene: Scene) -> None:
    """The look sees no lock of a flusher, then none of a start any more: in between one became the other."""
    scene.server.fail_next(Delay(2.0))  # it has nothing to show for it yet
    assert (
        scene.run(
            """
            from lotus_durable.flusher import look
            client = make(exit_timeout=0, on_error=lambda error, events: say("told", error))
            track(client, "first")
            glance = look.Look._glance
            def held_up(self):
                found = glance(self)
                wait_until(lambda: not self.is_on_its_way())
                return found
            look.Look._glance = held_up
            client._tracker.look_now()
            """
        )
        == []
    )
    assert Starting(scene.directory).read().failures == 0
    scene.arrived("first")
    assert scene.starts() == 1


def test_a_lock_that_somebody_holds_who_does_not_flush_is_told(scene: Scene) -> None:
    """A backup that locks the folder, say."""
    scene.queue_dir.mkdir(mode=0o700)
    folder = os.open(scene.queue_dir, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_SH)
    code = """
    say(*wait_until(again))
    say(client.drain(0.5).reason)
    """
    told, drained = scene.run(TOLD + code)
    assert "does not flush holds a lock" in told
    assert "does not flush holds a lock" in drained
    os.close(folder)
    assert scene.run("client = make(); track(client, 'after'); say(client.drain(20).complete)") == ["True"]
    scene.arrived("event1", "after")
