"""The flusher is nobody's child: whoever waits neither meets it nor waits for it; and what ends a session leaves it."""

from __future__ import annotations

import os
import pty
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .deployment import Deployment
from .scene import Scene, hear, say, wait_until
from .seen import ended, parent_of, session_of, zombies_of

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

TRACKS_AND_STAYS = "from tests.flusher.app import *\ntrack(make(), 'first'); say('tracked'); time.sleep(60)\n"

REAP_ALL = """
    def reap_all():
        met = []
        while True:
            try:
                met.append(os.wait()[0])
            except ChildProcessError:
                return met
    """


def can_unshare() -> bool:
    if shutil.which("unshare") is None or os.geteuid() != 0:
        return False
    return subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", "true"], check=False).returncode == 0


needs_namespaces = pytest.mark.skipif(not can_unshare(), reason="needs root and pid namespaces")


def test_an_application_that_waits_until_it_has_no_child_meets_only_its_own(scene: Scene) -> None:
    assert scene.run(
        REAP_ALL
        + """
    client = make()
    track(client, "first")
    child = os.fork()
    if child == 0:
        track(client, "second")
        os._exit(0)
    say(reap_all() == [child])
    """
    ) == ["True"]
    scene.arrived("first", "second")


def test_the_flusher_is_in_a_session_of_its_own_and_no_descendant(scene: Scene) -> None:
    application = scene.start("track(make(), 'first'); say('done'); hear()")
    assert hear(application) == "done"
    flusher = scene.flusher()
    assert parent_of(flusher) not in (application.pid, os.getpid())
    assert session_of(flusher) != session_of(application.pid)


@needs_namespaces
def test_as_process_1_of_a_container_a_wait_for_all_children_ends_when_the_flusher_has_nothing_to_do(
    scene: Scene,
) -> None:
    """There orphans are its children: it may meet one, but not for longer than that."""
    code = (
        REAP_ALL
        + """
    assert os.getpid() == 1
    track(make(constants={"idle_before_end": 0.5}), "first")
    wait_until(lambda: sys.stdin.readline() == "arrived\\n")
    reap_all()
    say("waited")
    hear()
    """
    )
    container = in_a_container(scene, code)
    scene.arrived("first")
    say(container, "arrived")
    assert hear(container) == "waited"


@needs_namespaces
def test_process_1_of_a_container_keeps_no_zombie_beyond_its_next_look(scene: Scene) -> None:
    container = in_a_container(
        scene,
        """
        client = make(constants={"idle_before_end": 0.2})
        while (line := hear()):
            track(client, line)
            say("tracked")
        """,
    )
    say(container, "first")
    assert hear(container) == "tracked"
    scene.arrived("first")
    one = pid_of_process_1(container.pid)
    wait_until(lambda: zombies_of(one), "the flusher to have ended")
    say(container, "second")
    assert hear(container) == "tracked"
    assert not zombies_of(one)
    scene.arrived("second")


@needs_namespaces
def test_process_1_reaps_a_flusher_that_was_killed_and_one_that_made_way(scene: Scene) -> None:
    container = in_a_container(
        scene,
        """
        client = make()
        while (line := hear()):
            if line == "newer":
                import subprocess
                code = "from tests.flusher.app import *; track(make(flush_interval=0.4), 'of the newer'); os._exit(0)"
                subprocess.run([sys.executable, "-c", code], check=True)
            else:
                track(client, line)
            say("done")
        """,
    )
    say(container, "first")
    assert hear(container) == "done"
    scene.arrived("first")
    one = pid_of_process_1(container.pid)
    [first] = children_of(one)
    say(container, "newer")
    assert hear(container) == "done"
    scene.arrived("of the newer")
    wait_until(lambda: ended(first), "the first to make way")

    def reaped() -> bool:
        say(container, f"event{len(scene.server.times_received)}")
        assert hear(container) == "done"
        return not zombies_of(one)

    wait_until(reaped, "the first to be reaped")


@needs_namespaces
@pytest.mark.parametrize("what", ["a library", "its first file"])
def test_process_1_reaps_flushers_that_could_not_begin(scene: Scene, what: str) -> None:
    deployment = Deployment(scene.root / "deployment")
    if what == "a library":
        deployment.break_module("requests")
    else:
        (deployment.site / "lotus_durable" / "flusher" / "boot.py").unlink()
    container = in_a_container(
        scene,
        """
        client = make()
        while (line := hear()):
            track(client, line)
            say("done")
        """,
        python=deployment.python,
        more={"PYTHONPATH": deployment.paths},
    )
    say(container, "first")
    assert hear(container) == "done"
    one = pid_of_process_1(container.pid)
    wait_until(lambda: zombies_of(one), "a start that came to nothing")

    def reaped() -> bool:
        say(container, "more")
        assert hear(container) == "done"
        return not zombies_of(one)

    wait_until(reaped, "it to be reaped")


def test_a_subreaper_meets_nobody_who_stays_and_keeps_no_zombie_beyond_its_next_look(scene: Scene) -> None:
    application = scene.start(
        """
        import ctypes
        PR_SET_CHILD_SUBREAPER = 36
        assert ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
        client = make(constants={"idle_before_end": 0.2})
        while (line := hear()):
            track(client, line)
            say("tracked")
        """
    )
    say(application, "first")
    assert hear(application) == "tracked"
    scene.arrived("first")
    wait_until(lambda: zombies_of(application.pid), "the flusher to have ended")
    say(application, "second")
    assert hear(application) == "tracked"
    assert not zombies_of(application.pid)
    scene.arrived("second")


def test_who_reads_the_output_of_a_script_that_tracks_sees_its_end_when_the_script_ends(scene: Scene) -> None:
    """With a server that takes nothing, so that the flusher stays on for long."""
    scene.server.pause()
    result = subprocess.run(
        scene.command("track(make(exit_timeout=0), 'first'); say('said')"),
        capture_output=True,
        env=scene.environment(),
        timeout=20,
        check=True,
        cwd="/",
    )
    assert result.stdout == b"said\n"
    assert scene.flusher()
    scene.server.resume()
    scene.arrived("first", timeout=60)


def test_descriptors_that_an_application_lets_its_children_inherit_are_closed_in_the_flusher(scene: Scene) -> None:
    reading, writing = os.pipe()
    scene.server.pause()
    application = scene.start(
        "os.set_inheritable(int(sys.argv[1]), True); track(make(exit_timeout=0), 'first')", writing, pass_fds=[writing]
    )
    os.close(writing)
    assert application.wait(20) == 0
    assert scene.flusher()
    assert os.read(reading, 1) == b"", "the end: nobody can write any more"
    os.close(reading)


def test_a_shells_wait_does_not_wait_for_the_flusher(scene: Scene) -> None:
    scene.server.pause()
    job = scene.root / "job.py"
    job.write_text("from tests.flusher.app import *\ntrack(make(exit_timeout=0), sys.argv[1])\n")
    subprocess.run(
        ["/bin/sh", "-c", f"{sys.executable} {job} first & {sys.executable} {job} second & wait"],
        env=scene.environment(),
        timeout=20,
        check=True,
        cwd="/",
    )
    scene.server.resume()
    scene.arrived("first", "second", timeout=60)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL, signal.SIGHUP])
@pytest.mark.parametrize("moment", ["at once", "later"])
def test_a_signal_to_the_group_of_an_application_leaves_the_flusher_be(
    scene: Scene, number: signal.Signals, moment: str
) -> None:
    """What a terminal (SIGINT), supervisord with killasgroup, or a launcher does."""
    application = scene.start("track(make(exit_timeout=0), 'first'); say('tracked'); hear()", start_new_session=True)
    assert hear(application) == "tracked"
    if moment == "later":
        scene.arrived("first")
        flusher = scene.flusher()
        os.killpg(application.pid, number)
        application.wait(20)
        assert flusher in scene.flushers()
    else:
        os.killpg(application.pid, number)
        application.wait(20)
    scene.arrived("first")


@pytest.mark.parametrize("moment", ["at once", "later"])
def test_a_terminal_that_is_closed_leaves_the_flusher_be(scene: Scene, moment: str) -> None:
    outer, inner = pty.openpty()
    application = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import fcntl, os, termios\nos.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n{TRACKS_AND_STAYS}",
        ],
        stdin=inner,
        stdout=inner,
        stderr=inner,
        env=scene.environment(),
        cwd="/",
    )
    os.close(inner)
    assert os.read(outer, 100).strip() == b"tracked"
    if moment == "later":
        scene.arrived("first")
        flusher = scene.flusher()
    os.close(outer)  # SIGHUP to the session
    assert application.wait(20) == -signal.SIGHUP
    scene.arrived("first")
    if moment == "later":
        assert flusher in scene.flushers()


@pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux")
def test_a_tmux_pane_that_is_closed_leaves_the_flusher_be(scene: Scene) -> None:
    socket = scene.root / "tmux"
    script = scene.file("track(make(), 'first'); Path(sys.argv[1]).touch(); time.sleep(60)")
    tracked = scene.root / "tracked"
    tmux = ["tmux", "-S", str(socket), "-f", "/dev/null"]
    subprocess.run(
        [*tmux, "new-session", "-d", f"exec {sys.executable} {script} {tracked}"],
        env=scene.environment(TERM="xterm"),
        timeout=20,
        check=True,
    )
    wait_until(tracked.exists, "the event to be tracked")
    subprocess.run([*tmux, "kill-server"], timeout=20, check=True)
    scene.arrived("first")
    assert scene.flusher()


def test_a_parent_that_takes_any_child_for_its_own_does_not_disturb_the_start(scene: Scene) -> None:
    """A handler of SIGCHLD that reaps whatever there is, as some servers have."""
    scene.run(
        """
        import signal
        def reap(*_):
            try:
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                pass
        signal.signal(signal.SIGCHLD, reap)
        client = make()
        for number in range(3):
            track(client, f"event{number}")
        os._exit(0)
        """
    )
    scene.arrived("event0", "event1", "event2")


def test_a_time_limit_that_strikes_while_the_shell_is_waited_for_leaves_no_zombie(scene: Scene) -> None:
    application = scene.start(
        """
        import posix, signal
        from lotus_durable.flusher import spawn

        class TimeLimit(Exception):
            pass

        def strike(*_):
            raise TimeLimit

        class Struck:
            def __getattr__(self, name):
                return getattr(posix, name)

            def waitpid(self, pid, flags):
                spawn.posix = posix
                signal.raise_signal(signal.SIGUSR1)

        signal.signal(signal.SIGUSR1, strike)
        client = make(exit_timeout=0)
        spawn.posix = Struck()
        try:
            track(client, "struck")
        except TimeLimit:
            say("the application's")
        hear()
        """
    )
    assert hear(application) == "the application's"
    assert zombies_of(application.pid) == set()
    scene.arrived("struck")


# In a container


def in_a_container(scene: Scene, code: str, **options: Any) -> subprocess.Popen[str]:
    """Start an application as process 1 of a pid namespace."""
    return scene.start(code, prefix=["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"], **options)


def pid_of_process_1(unshare: int) -> int:
    """Return the number that it has outside."""
    return wait_until(lambda: next(iter(children_of(unshare)), 0), "process 1")


def children_of(parent: int) -> set[int]:
    return {int(path.name) for path in Path("/proc").glob("[0-9]*") if parent_of(int(path.name)) == parent}


@needs_namespaces
def test_a_child_that_is_process_1_as_its_parent_is_writes_into_nothing_of_its_parents(scene: Scene) -> None:
    """A container in a container: both have the same number."""
    said = in_a_container(
        scene,
        """
        import ctypes
        client = make(exit_timeout=0)
        track(client, "before")
        assert ctypes.CDLL(None).unshare(0x20000000) == 0  # CLONE_NEWPID
        child = os.fork()
        for number in range(20):
            track(client, f"{'parent' if child else 'child'}{number}")
        if child:
            say(os.getpid(), exit_code(child))
        else:
            say(os.getpid())
        os._exit(0)
        """,
    )
    assert said.stdout is not None
    assert said.stdout.read().split() == ["1", "1", "0"]
    scene.run("track(make(exit_timeout=0), 'after')")  # the flusher of the container has ended with it
    scene.arrived("before", "after", *(f"{who}{number}" for who in ("parent", "child") for number in range(20)))
