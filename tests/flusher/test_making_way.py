"""Deploys, keys and surroundings: the newer program flushes, and nobody blocks the queue for ever."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from lotus_durable.clock import boot_id, since_boot
from lotus_durable.flusher.destination import AsConfigured
from lotus_durable.flusher.life import Flusher
from lotus_durable.flusher.program import _asks_to_make_way
from lotus_durable.flusher.stats import collect
from lotus_durable.flusher.surroundings import this_program
from lotus_durable.queue.heartbeat import HeartbeatFile
from lotus_durable.queue.requests import ask, newest
from tests.delivery.scripted_server import CERTIFICATE
from tests.rig import Rig, record

from .deployment import Deployment
from .scene import ROOT, Scene, hear, say, wait_until
from .test_decisions import beat

KEY = "another-key"
NOBODY = 65534
TRACKS = """
    client = make(api_key=sys.argv[1], constants=eval(sys.argv[2]))
    while (line := hear()):
        track(client, line)
        say("tracked")
    os._exit(0)
    """
QUICK = {"unreachable_before_making_way": 0.5, "trusted_look": 0.1}

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes namespaces and becomes another user")


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A deployment with a later version of the package."""
    deployment = Deployment(tmp_path_factory.mktemp("newer"))
    (deployment.site / "lotus_durable" / "_version.py").write_text('__version__ = "99.0"\n')
    yield deployment
    shutil.rmtree(deployment.site)


class Program:
    """A process that tracks what it is told to."""

    def __init__(
        self,
        scene: Scene,
        deployment: Deployment | None = None,
        *,
        key: str = "test-key",
        prefix: tuple[str, ...] = (),
        **more: str,
    ) -> None:
        if deployment is not None:
            more["PYTHONPATH"] = deployment.paths
        python = sys.executable if deployment is None else deployment.python
        self.process = scene.start(TRACKS, key, QUICK, python=python, prefix=prefix, more=more)

    def track(self, *names: str) -> None:
        for name in names:
            say(self.process, name)
            assert hear(self.process) == "tracked"

    def end(self) -> None:
        say(self.process)
        assert self.process.wait(20) == 0


def not_by_name(scene: Scene) -> str:
    """Return the server's URL as one that is not seen to be this machine's own, which no proxy is asked for."""
    return scene.server.host.replace("127.0.0.1", "0.0.0.0")  # connects to loopback


def version(scene: Scene) -> str:
    scene.flusher()
    beat = scene.beat()
    assert beat is not None
    return beat.program.version


def track_until(program: Program, scene: Scene, wanted: str) -> None:
    """Track until a flusher of this version is in force."""
    count = 0

    def there() -> bool:
        nonlocal count
        count += 1
        program.track(f"{wanted}-{program.process.pid}-{count}")
        return version(scene) == wanted

    wait_until(there, f"version {wanted} to flush")


@pytest.mark.parametrize(
    ("later", "trouble", "expected"),
    [(-1.0, {}, True), (1.0, {}, False), (1.0, {"key_refused": True}, True), (1.0, {"unreachable_since": 1.0}, True)],
)
def test_a_flusher_that_is_to_take_over_asks_no_newer_program_that_has_come_meanwhile(
    rigs: Callable[..., Rig], later: float, trouble: dict[str, object], expected: bool
) -> None:
    rig = rigs()
    rig.directory.prepare()
    flusher = Flusher(lambda: rig.config(flusher="auto"), kind="auto", began=100.0, destination=None)
    program = this_program(rig.config())._replace(began=100.0 + later)
    with contextlib.closing(HeartbeatFile(rig.directory)) as heartbeat:
        heartbeat.write(beat(boot=boot_id(), at=since_boot(), program=program, **trouble), None)
    assert _asks_to_make_way(flusher, 100.0) is expected
    assert (newest(rig.directory) > 0) is expected


def test_a_newer_version_flushes_after_its_first_event_and_the_older_one_is_gone(
    scene: Scene, newer: Deployment
) -> None:
    old = Program(scene)
    old.track("old")
    before = scene.flusher()
    new = Program(scene, newer)
    track_until(new, scene, "99.0")
    old.track("old again")
    new.track("new")
    scene.arrived("old", "old again", "new")
    wait_until(lambda: scene.flushers() == {scene.flusher(before)}, "one flusher")
    assert scene.server.senders_take_turns()
    assert scene.server.most_at_once() == 1


def test_older_programs_that_begin_later_change_nothing_while_the_newer_version_is_in_use(
    scene: Scene, newer: Deployment
) -> None:
    web = Program(scene, newer)
    web.track("web")
    flusher = scene.flusher()
    for number in range(5):  # a cron job, a horse
        web.track(f"web {number}")
        job = Program(scene)
        job.track(f"job {number}")
        job.end()
        scene.arrived(f"job {number}", f"web {number}")
    assert scene.flusher() == flusher
    assert scene.starts() == 1


def test_two_versions_share_a_queue_and_each_writes_and_flushes_in_turn(scene: Scene, newer: Deployment) -> None:
    names: list[str] = []
    more: list[str] = []

    def have_arrived() -> bool:
        if set(names) <= scene.server.times_received.keys():
            return True
        program.track(again := f"once more {len(more)}")  # a start that is put off after a kill is a later event's
        more.append(again)
        return False

    for number in range(4):
        program = Program(scene, newer if number % 2 else None)
        names += [f"round {number} {each}" for each in range(5)]
        program.track(*names[-5:])
        wait_until(have_arrived, "the events to arrive", pause=0.5)
        program.end()
        wait_until(lambda: collect(scene.directory).pending == 0, "all to be settled")
        scene.kill_flusher()
    assert set(scene.server.times_received) == {*names, *more}
    assert set(scene.server.times_received.values()) == {1}


def test_the_same_program_in_another_place_takes_over_once_and_not_back(scene: Scene, tmp_path: Path) -> None:
    before, after = Program(scene, Deployment(tmp_path / "blue")), None
    before.track("blue")
    blue = scene.flusher()
    after = Program(scene, Deployment(tmp_path / "green"))
    after.track("green")
    green = scene.flusher(other_than=blue)
    for number in range(10):
        before.track(f"blue {number}")
        after.track(f"green {number}")
    scene.arrived("blue 9", "green 9")
    assert scene.flusher() == green


def test_a_key_of_the_same_organisation_takes_over(scene: Scene) -> None:
    scene.server.rotate_key(KEY, keep_old=True)
    Program(scene).track("old key")
    before = scene.flusher()
    Program(scene, key=KEY).track("new key")
    scene.flusher(other_than=before)
    scene.arrived("old key", "new key")


def test_a_flusher_whose_key_is_refused_makes_way_to_an_older_program_with_another_one(scene: Scene) -> None:
    older, newer = Program(scene, key=KEY), Program(scene)
    newer.track("valid key")
    scene.arrived("valid key")  # from here on it is known whose queue it is
    scene.server.rotate_key(KEY)
    newer.track("refused key")
    wait_until(lambda: (beat := scene.beat()) is not None and beat.key_refused, "the key to be refused")
    count = 0

    def arrived() -> bool:
        nonlocal count
        count += 1
        older.track(f"good key {count}")
        return not scene.not_yet("refused key", "good key 1")

    wait_until(arrived, "the events to arrive")


def test_another_organisations_key_never_flushes_and_the_events_are_kept(scene: Scene) -> None:
    scene.server.rotate_key(KEY, keep_old=True)
    ours = Program(scene)
    ours.track("ours")
    scene.arrived("ours")
    flusher = scene.flusher()
    scene.server.accounts.organization_id = "org_other"
    theirs = Program(scene, key=KEY)
    theirs.track("theirs")
    ours.track("ours too")
    scene.arrived("ours too")
    assert scene.not_yet("theirs"), "they were sent with our key"
    assert scene.flusher() == flusher
    ours.end()
    scene.kill_flusher()
    held: list[str] = []

    def is_blocked() -> bool:
        held.append(f"held {len(held)}")
        theirs.track(held[-1])
        beat = scene.beat()
        return beat is not None and beat.state == "blocked" and "another organisation" in str(beat.reason)

    wait_until(is_blocked, "it to be blocked")
    assert scene.not_yet(*held)


def test_a_flusher_that_lacks_a_proxy_makes_way_to_who_needs_none(scene: Scene) -> None:
    host = not_by_name(scene)
    Program(scene, http_proxy="http://127.0.0.1:9", TEST_HOST=host).track("through a proxy")
    before = scene.flusher()
    wait_until(lambda: (beat := scene.beat()) is not None and beat.unreachable_since is not None, "it to reach nobody")
    other = Program(scene, TEST_HOST=host)
    track_until_other(other, scene, before)
    scene.arrived("through a proxy")


def test_a_flusher_whose_key_is_new_and_that_cannot_ask_whose_it_is_makes_way_too(scene: Scene) -> None:
    host = not_by_name(scene)
    Program(scene, TEST_HOST=host).track("first")
    scene.settled("first")
    scene.kill_flusher()
    scene.server.rotate_key(KEY, keep_old=True)
    Program(scene, http_proxy="http://127.0.0.1:9", key=KEY, TEST_HOST=host).track("through a proxy")
    before = scene.flusher()
    wait_until(lambda: (beat := scene.beat()) is not None and beat.unreachable_since is not None, "it to reach nobody")
    other = Program(scene, TEST_HOST=host)
    track_until_other(other, scene, before)
    assert scene.not_yet("through a proxy"), "nobody has said yet whose that key is"
    Program(scene, key=KEY, TEST_HOST=host).track("with a network")
    scene.arrived("through a proxy", "with a network")


@needs_root
def test_a_flusher_in_an_empty_network_namespace_makes_way_to_who_has_a_network(scene: Scene) -> None:
    Program(scene, prefix=("unshare", "--net")).track("without a network")
    before = scene.flusher()
    other = Program(scene)
    track_until_other(other, scene, before)
    scene.arrived("without a network")


def track_until_other(program: Program, scene: Scene, before: int) -> None:
    count = 0

    def there() -> bool:
        nonlocal count
        count += 1
        program.track(f"{program.process.pid}-{count}")
        beat = scene.beat()
        return beat is not None and beat.pid not in (0, before)

    wait_until(there, "another flusher")


@pytest.mark.parametrize("prefix", [("nice", "-n", "19"), ("prlimit", "--nofile=40"), ("prlimit", "--nofile=128:128")])
def test_what_the_first_starter_was_limited_to_does_not_keep_events(scene: Scene, prefix: tuple[str, ...]) -> None:
    if shutil.which(prefix[0]) is None:
        pytest.skip(f"there is no {prefix[0]}")
    Program(scene, prefix=prefix).track("limited")
    scene.arrived("limited")


class OpenScene(Scene):
    """One whose queue is another user's, with a deployment that he may run.

    In a folder of its own: from those of its tests pytest takes other users' access when another session begins.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "scene")
        folder.chmod(0o711)
        self.deployment = Deployment(folder / "app")
        self.deployment.python = shutil.which("python3", path="/usr/local/bin:/usr/bin") or "/usr/bin/python3"
        _let_others_in(self.deployment.site, self.root)
        self.queue_dir.mkdir(mode=0o700)
        shutil.chown(self.queue_dir, NOBODY, NOBODY)
        (self.root / "starts").touch()
        (self.root / "starts").chmod(0o666)

    def begin(self, code: str) -> subprocess.Popen[str]:
        """Start an application of the deployment, as root."""
        return self.start(code, python=self.deployment.python, more={"PYTHONPATH": self.deployment.paths})


@pytest.fixture
def open_scene() -> Iterator[OpenScene]:
    python = shutil.which("python3", path="/usr/local/bin:/usr/bin")
    if python is None or _minor_version(python) != sys.version_info.minor:
        pytest.skip("there is no Python of this version that other users may run")
    with tempfile.TemporaryDirectory() as folder, OpenScene(Path(folder)) as scene:
        yield scene


@needs_root
@pytest.mark.parametrize("preload", [False, True], ids=["each its own client", "a client of the master's"])
def test_workers_of_a_root_master_that_are_another_user_own_the_queue(open_scene: OpenScene, preload: bool) -> None:
    process = open_scene.begin(
        f"""
        client = make() if {preload} else None
        before = sorted(os.listdir(QUEUE_DIR))
        pids = []
        for number in range(3):
            pid = os.fork()
            if pid == 0:
                os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
                track(client or make(), f"worker {{number}}")
                os._exit(0)
            pids.append(pid)
        assert before == []
        assert [exit_code(pid) for pid in pids] == [0, 0, 0]
        """,
    )
    assert process.wait(20) == 0
    open_scene.arrived("worker 0", "worker 1", "worker 2")
    owners = set()
    for path in open_scene.queue_dir.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # the flusher deletes what is settled
            owners.add(path.stat().st_uid)
    assert owners == {NOBODY}


@needs_root
def test_a_program_that_acts_as_another_user_than_it_was_started_by_has_a_flusher_of_that_user(
    open_scene: OpenScene,
) -> None:
    process = open_scene.begin(
        f"os.setegid({NOBODY}); os.seteuid({NOBODY}); track(make(), 'event'); say('tracked'); hear(); os._exit(0)",
    )
    assert hear(process) == "tracked"
    open_scene.arrived("event")
    status = Path(f"/proc/{open_scene.flusher()}/status").read_text()
    assert f"Uid:\t{NOBODY}\t{NOBODY}\t{NOBODY}" in status
    assert f"Gid:\t{NOBODY}\t{NOBODY}\t{NOBODY}" in status
    say(process)
    assert process.wait(20) == 0


def _minor_version(python: str) -> int:
    said = subprocess.run([python, "-c", "import sys; print(sys.version_info.minor)"], capture_output=True, check=True)
    return int(said.stdout)


def _let_others_in(*folders: Path) -> None:
    """Let other users read these folders, as they may read what is installed for all."""
    for folder in folders:
        for path in (folder, *folder.rglob("*")):
            path.chmod(path.stat().st_mode | (0o055 if path.is_dir() else 0o044))


def test_a_module_of_the_applications_that_has_a_librarys_name_is_not_taken_for_it(
    scene: Scene, tmp_path: Path
) -> None:
    (tmp_path / "requests.py").write_text("raise RuntimeError('the application has a module of this name')\n")
    process = scene.start(
        "track(make(), 'one'); os._exit(0)", more={"PYTHONPATH": f"{tmp_path}:{ROOT}"}, cwd=str(tmp_path)
    )
    assert process.wait(20) == 0
    scene.arrived("one")


def test_a_deployment_that_is_removed_under_its_flusher_delivers_on_over_new_tls_connections(
    scene: Scene, tmp_path: Path
) -> None:
    deployment = Deployment(tmp_path / "removed")
    bundle = deployment.site / "bundle.pem"
    bundle.write_text(CERTIFICATE)
    with in_tls(scene.server.host, tmp_path) as (host, connections):
        program = Program(scene, deployment, TEST_HOST=host, REQUESTS_CA_BUNDLE=str(bundle))
        program.track("before")
        scene.arrived("before")
        flusher = scene.flusher()
        shutil.rmtree(deployment.site)
        while connections:
            with contextlib.suppress(OSError):  # closed already
                connections.pop().shutdown(socket.SHUT_RDWR)
        program.track("after")
        program.track("after that")
        scene.arrived("after", "after that")
        assert connections, "over a new connection"
        assert scene.flusher() == flusher


@contextlib.contextmanager
def in_tls(host: str, folder: Path) -> Iterator[tuple[str, list[socket.socket]]]:
    """Put TLS in front of a server; give its URL, and the connections that there are."""
    certificate = folder / "loopback.pem"
    certificate.write_text(CERTIFICATE)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    address = urlsplit(host)
    listener = socket.create_server(("127.0.0.1", 0))
    connections: list[socket.socket] = []

    def pump(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)

    def serve(outside: socket.socket) -> None:
        with contextlib.suppress(OSError), context.wrap_socket(outside, server_side=True) as client:
            connections.append(client)
            with socket.create_connection((address.hostname or "", address.port or 0)) as server:
                back = threading.Thread(target=pump, args=(server, client), daemon=True)
                back.start()
                pump(client, server)
                back.join()

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                outside, _ = listener.accept()
                threading.Thread(target=serve, args=(outside,), daemon=True).start()

    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    try:
        yield f"https://127.0.0.1:{listener.getsockname()[1]}", connections
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join()


def test_a_wheel_of_the_package_holds_what_the_start_of_a_flusher_runs(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)],
        check=True,
        capture_output=True,
    )
    [wheel] = tmp_path.glob("*.whl")
    listing = subprocess.run(
        [sys.executable, "-m", "zipfile", "--list", str(wheel)], check=True, capture_output=True, text=True
    ).stdout
    assert "lotus_durable/flusher/boot.py" in listing


def test_one_that_leaves_hears_of_a_stop_that_is_asked_meanwhile_and_does_not_go_on(
    rigs: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one may have the lock at that moment: it is not the only one meant, and may end first."""
    rig = rigs()
    config = rig.config(idle_before_end=0.0)
    flusher = Flusher(lambda: config, kind="auto", destination=AsConfigured())
    release = flusher.lock.release

    def let_go() -> None:
        release()
        rig.put(record("came meanwhile"))
        ask(rig.directory, "stop")

    monkeypatch.setattr(flusher.lock, "release", let_go)
    rig.directory.prepare()
    assert flusher.lock.acquire()
    flusher.run()
    assert rig.check(["came meanwhile"]).pending == 1
