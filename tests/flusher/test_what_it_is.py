"""What the flusher is, compared with a list; and that it needs nothing of what it was started with."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from .deployment import Deployment
from .scene import Scene, hear, say, wait_until
from .seen import session_of, state_of
from .tls import https_in_front_of

ODD_STARTER = """
    import resource, signal, socket
    os.umask(0o777)
    os.setpgid(0, 0)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR1, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    hold = [os.open("/dev/null", os.O_RDONLY) for _ in range(20)]
    for each in hold:
        os.set_inheritable(each, True)
    pair = socket.socketpair()
    pair[0].set_inheritable(True)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    os.umask(0o022)
    """


@pytest.fixture
def flusher(scene: Scene) -> int:
    """One that was started by a process with everything about it changed."""
    scene.run(
        ODD_STARTER + "track(make(exit_timeout=0), 'first'); os._exit(0)",
        LOTUS_HOST=scene.server.host,
        LOTUS_API_KEY="a-secret-key",
        PYTHONDONTWRITEBYTECODE="1",
        NOTIFY_SOCKET="/run/nobody",
        MALLOC_ARENA_MAX="1",
    )
    scene.arrived("first")
    return scene.flusher()


def test_its_working_directory_is_the_root(flusher: int) -> None:
    assert os.readlink(f"/proc/{flusher}/cwd") == "/"


def test_it_lets_others_have_the_processor_first(flusher: int) -> None:
    wait_until(lambda: os.sched_getscheduler(flusher) == os.SCHED_BATCH)
    assert os.getpriority(os.PRIO_PROCESS, flusher) == 5
    for thread in os.listdir(f"/proc/{flusher}/task"):
        assert os.sched_getscheduler(int(thread)) == os.SCHED_BATCH


@pytest.mark.skipif(not os.path.exists("/proc/self/autogroup"), reason="this kernel shares processors out by process")
def test_its_session_lets_other_sessions_have_the_processor_first(flusher: int) -> None:
    wait_until(lambda: Path(f"/proc/{flusher}/autogroup").read_text().endswith(" nice 5\n"))


def test_its_environment_is_the_starters_without_settings_python_and_the_service_manager(
    scene: Scene, flusher: int
) -> None:
    environment = dict(
        each.split("=", 1) for each in Path(f"/proc/{flusher}/environ").read_text().rstrip("\0").split("\0")
    )
    expected = {
        **scene.environment(MALLOC_ARENA_MAX="1"),
    }
    expected = {name: value for name, value in expected.items() if not name.startswith(("LOTUS_", "PYTHON"))}
    for each in (environment, expected):
        for changes in ("PWD", "OLDPWD", "_", "SHLVL", "PYTEST_CURRENT_TEST"):
            each.pop(changes, None)
    assert environment == expected


def test_its_descriptors_are_its_log_its_queue_and_its_connection(scene: Scene, flusher: int) -> None:
    """And the clock's and kernel's own; never anything of the starter's."""
    links = {}
    for name in os.listdir(f"/proc/{flusher}/fd"):
        links[int(name)] = os.readlink(f"/proc/{flusher}/fd/{name}")
    log = str(scene.directory.log)
    assert links[0] == "/dev/null"
    assert links[1] == links[2] == log
    queue = str(scene.queue_dir)
    others = [link for number, link in links.items() if number > 2 and not link.startswith(queue)]
    assert [link for link in others if not link.startswith("socket:")] == []
    assert len(others) <= 1


def test_its_signals_are_those_of_a_list(flusher: int) -> None:
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{flusher}/status").read_text().splitlines() if ":\t" in line
    )

    def signals(name: str) -> set[signal.Signals]:
        bits = int(status[name], 16)
        return {number for number in signal.Signals if bits >> (number - 1) & 1}

    assert signals("SigBlk") == signals("ShdPnd") == set()
    assert signals("SigCgt") == {signal.SIGTERM, signal.SIGINT}
    assert signals("SigIgn") == {
        signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGUSR1, signal.SIGUSR2,
    }  # fmt: skip


def test_it_has_nothing_that_its_libraries_import_for_others(flusher: int) -> None:
    """An event loop, and how to guess what encoding a text is of."""
    loaded = Path(f"/proc/{flusher}/maps").read_text()
    assert "/_cmsgpack." in loaded
    assert "/_asyncio." not in loaded
    assert "/charset_normalizer/" not in loaded


def test_what_it_makes_is_for_its_owner_only(scene: Scene, flusher: int) -> None:
    status = Path(f"/proc/{flusher}/status").read_text()
    assert "Umask:\t0077" in status
    for path in scene.queue_dir.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_it_leads_no_group_of_the_application_and_has_no_terminal(scene: Scene, flusher: int) -> None:
    del scene
    assert session_of(flusher) not in (session_of(os.getpid()), 0)
    fields = Path(f"/proc/{flusher}/stat").read_text().rpartition(")")[2].split()
    assert fields[4] == "0", "no controlling terminal"


def test_it_may_open_as_many_files_as_the_starter_could_have(flusher: int) -> None:
    [line] = [line for line in Path(f"/proc/{flusher}/limits").read_text().splitlines() if line.startswith("Max open")]
    _, soft, hard, _ = line.rsplit(maxsplit=3)
    assert soft == hard


def test_its_name_in_ps_says_what_it_is_and_for_which_queue_and_no_secret(scene: Scene, flusher: int) -> None:
    assert Path(f"/proc/{flusher}/comm").read_text() == "lotus-flusher\n"
    ps = ["ps", "-ww", "-o", "args=", "-p", str(flusher)]
    shown = subprocess.run(ps, capture_output=True, text=True, check=True).stdout
    assert "lotus_durable/flusher" in shown
    assert shown.rstrip().endswith(str(scene.queue_dir))
    assert "key" not in shown.replace(str(scene.queue_dir), "")


def test_the_key_is_nowhere_in_what_others_may_see_of_it(scene: Scene, flusher: int) -> None:
    for name in ("environ", "cmdline"):
        assert b"test-key" not in Path(f"/proc/{flusher}/{name}").read_bytes()
        assert b"a-secret-key" not in Path(f"/proc/{flusher}/{name}").read_bytes()
    for path in scene.queue_dir.rglob("*"):
        if path.is_file():
            assert b"test-key" not in path.read_bytes(), path


def test_a_second_sigterm_and_other_signals_lose_nothing(scene: Scene, flusher: int) -> None:
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE, signal.SIGQUIT):
        os.kill(flusher, number)
    scene.run("track(make(), 'second'); os._exit(0)")
    scene.arrived("second")
    assert scene.flusher() == flusher
    os.kill(flusher, signal.SIGTERM)
    wait_until(lambda: state_of(flusher) in ("", "Z"), "it to end")
    scene.run("track(make(), 'third'); os._exit(0)")
    scene.arrived("third")


@pytest.mark.parametrize("name", ["requests", "filelock", "json", "logging", "lotus_durable", "sitecustomize", "ast"])
def test_an_application_directory_with_a_module_of_that_name_is_no_concern_of_the_flusher(
    scene: Scene, name: str
) -> None:
    folder = scene.root / "application"
    folder.mkdir()
    # The application itself has what it needs by then; the flusher would find this one first in a fresh interpreter.
    (folder / f"{name}.py").write_text(f"open({str(scene.root / 'imported')!r}, 'w')\nraise RuntimeError\n")
    application = scene.start(
        """
        import ast, json, logging
        os.chdir(sys.argv[1])
        sys.path.insert(0, sys.argv[1])
        track(make(), "first")
        os._exit(0)
        """,
        folder,
    )
    assert application.wait(20) == 0
    scene.arrived("first")
    assert not (scene.root / "imported").exists()


def test_what_a_library_cannot_do_without_any_more_it_has(scene: Scene) -> None:
    deployment = Deployment(scene.root / "deployment")
    requests = deployment.site / "requests" / "__init__.py"
    requests.write_text(
        requests.read_text().replace("\nimport urllib3\n", "\nimport charset_normalizer\nimport urllib3\n")
    )
    application = scene.start(
        "track(make(), 'first'); os._exit(0)", python=deployment.python, more={"PYTHONPATH": deployment.paths}
    )
    assert application.wait(20) == 0
    scene.arrived("first")


@pytest.mark.parametrize("deployed", ["removed", "replaced"])
def test_a_flusher_whose_packages_are_removed_goes_on_over_https_with_new_connections(
    scene: Scene, deployed: str
) -> None:
    deployment = Deployment(scene.root / "deployment")
    with https_in_front_of(scene.root, scene.server.port) as proxy:
        with (deployment.site / "certifi" / "cacert.pem").open("a") as bundle:
            bundle.write(proxy.certificate)
        application = scene.start(
            """
            client = make(host=sys.argv[1])
            while (line := hear()):
                track(client, line)
                say("tracked")
            """,
            proxy.host,
            python=deployment.python,
            more={"PYTHONPATH": deployment.paths},
        )
        say(application, "first")
        assert hear(application) == "tracked"
        scene.arrived("first")
        flusher = scene.flusher()
        shutil.rmtree(deployment.site)
        if deployed == "replaced":
            deployment.site.mkdir()
            for name in ("requests", "urllib3", "certifi", "lotus_durable", "persistqueue"):
                (deployment.site / f"{name}.py").write_text("raise RuntimeError('of another version')\n")
        for number in range(3):
            proxy.hang_up()
            say(application, f"event{number}")
            assert hear(application) == "tracked"
            scene.arrived(f"event{number}")
        scene.server.pause()
        say(application, "while the server is away")
        assert hear(application) == "tracked"
        wait_until(lambda: (beat := scene.beat()) and beat.state == "retrying", "it to meet no server")
        scene.server.resume()
        scene.arrived("while the server is away", timeout=60)
        assert scene.flusher() == flusher
