"""A real RabbitMQ on loopback, of one node or several, apart from everything else on the machine.

Each cluster has addresses of its own in 127.0.0.0/8, so that clusters do not meet, and any two nodes, or a node and one
of those that connect to it, can be cut off from each other by their addresses (:class:`Network`, as root). A node
listens at an address for each *party* (a host, a relay), for the same reason.

What is started ends with who starts it, also when that is killed.
"""

from __future__ import annotations

import contextlib
import functools
import os
import random
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from tests.ports import free_port
from tests.waiting import wait_until

PARTIES = 8
"""Addresses of each node."""
START_TIMEOUT = 90.0
_EPMD = shutil.which("epmd")
_USER = "guest"
"""With a password of the same name; RabbitMQ takes both from loopback only."""
_CONFIG = """
{listeners}
log.console = true
log.console.level = info
log.file = false
net_ticktime = 8
cluster_partition_handling = pause_minority
cluster_formation.peer_discovery_backend = classic_config
cluster_formation.classic_config.nodes.1 = {first}
cluster_formation.classic_config.nodes.2 = {name}
"""


def _scripts() -> Path | None:
    """Return where its programs are; those in /usr/sbin switch to another user, and write under /var."""
    return next(iter(sorted(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin"), reverse=True)), None)


def why_not() -> str:
    """Return why no broker can be run here; empty where one can."""
    missing = _scripts() is None or _EPMD is None or shutil.which("setpriv") is None
    return "RabbitMQ is not installed (Debian: rabbitmq-server)" if missing else ""


def version() -> tuple[int, ...]:
    """Return the version that is installed, as numbers."""
    scripts = _scripts()
    assert scripts is not None
    return tuple(int(each) for each in re.findall(r"\d+", scripts.parent.name))


class Node:
    """One member of a cluster: a process that is started, killed, stopped and started again.

    Args:
        number: its place in the cluster, from 0.
        cluster: whose cookie, name server and folder it has.
        config: lines of rabbitmq.conf; later lines of a name win.
    """

    def __init__(self, number: int, cluster: Cluster, config: str) -> None:
        self.number = number
        self.address = cluster.address(number)
        self.name = cluster.name(number)
        self.port = free_port(self.address)
        self.folder = cluster.folder / f"node{number}"
        self._log = self.folder / "log"
        self._cluster = cluster
        self._process: subprocess.Popen[bytes] | None = None
        self._seen = 0
        self._environment = self._prepare(config)

    def _prepare(self, config: str) -> dict[str, str]:
        for name in ("mnesia", "logs"):
            (self.folder / name).mkdir(parents=True)
        listeners = "\n".join(
            f"listeners.tcp.{party + 1} = {self.address_for(party)}:{self.port}" for party in range(PARTIES)
        )
        first = self._cluster.name(0)
        text = _CONFIG.format(listeners=listeners, first=first, name=self.name)
        if self.name == first:
            text = re.sub(r".*nodes\.2.*\n", "", text)
        (self.folder / "rabbitmq.conf").write_text(text + config)
        (self.folder / "plugins").write_text("[].")
        ip = f"{{{self.address.replace('.', ',')}}}"
        return {
            **self._cluster.environment,
            "RABBITMQ_NODENAME": self.name,
            "RABBITMQ_DIST_PORT": str(free_port(self.address)),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.folder / "logs"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                f"-start_epmd false -kernel inet_dist_use_interface {ip}"
                f" -kernel inet_dist_connect_options [{{ip,{ip}}}] {self._cluster.erlang}"
            ),
            "RUNNING_UNDER_SYSTEMD": "1",  # so the script becomes the node, and its process id is the node's
        }

    def address_for(self, party: int) -> str:
        """Return where this party finds it; 0 is who cuts nothing off."""
        return self._cluster.address(self.number, party)

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} does not run"
        return self._process.pid

    def start(self, *, wait: bool = True) -> None:
        """Start it, for the first time or again."""
        self.folder.mkdir(exist_ok=True)
        self._seen = self._log.stat().st_size if self._log.exists() else 0
        scripts = _scripts()
        assert scripts is not None
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [*_ENDS_WITH_US, str(scripts / "rabbitmq-server")],
                cwd=self.folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        if wait:
            self.wait_until_started()

    def wait_until_started(self) -> None:
        """Wait until it says that its start is complete: its port answers a little before that."""
        wait_until(self._has_started, f"{self.name} has started, see {self._log}", START_TIMEOUT)

    def _has_started(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"{self.name} ended: {self._log.read_text(errors='replace')[-3000:]}"
        return b"Server startup complete" in self._log.read_bytes()[self._seen :]

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def send(self, number: signal.Signals) -> None:
        """Send it a signal: SIGSTOP and SIGCONT, say."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL it; what it has stored stays."""
        self.stop(signal.SIGKILL)

    def stop(self, number: signal.Signals = signal.SIGTERM, *, timeout: float = 60.0) -> None:
        """End it by a signal, and wait until it has ended; a node that was stopped by SIGSTOP is killed."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
            try:
                self._process.wait(timeout)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(timeout)

    def ctl(self, *arguments: str, timeout: float = 120.0) -> str:
        """Run rabbitmqctl (it takes a second or two) and return its output.

        Raises:
            AssertionError: it failed, with its words, or it did not end: a node that is paused does not answer it.
        """
        scripts = _scripts()
        assert scripts is not None
        command = [str(scripts / "rabbitmqctl"), "--longnames", "--node", self.name, "--quiet", *arguments]
        try:
            ran = subprocess.run(
                command, env=self._environment, capture_output=True, text=True, timeout=timeout, check=False
            )
        except subprocess.TimeoutExpired:
            raise AssertionError(f"rabbitmqctl {' '.join(arguments)} did not end within {timeout:g} s") from None
        assert ran.returncode == 0, f"rabbitmqctl {' '.join(arguments)}: {ran.stdout}{ran.stderr}"
        return ran.stdout.strip()


class Cluster:
    """Nodes that know each other; a context manager, which starts them and ends them.

    Args:
        folder: where it has all its files.
        size: how many nodes it has.
        config: more lines of rabbitmq.conf.
        erlang: more arguments of each node's virtual machine.
    """

    def __init__(self, folder: Path, size: int = 1, config: str = "", erlang: str = "") -> None:
        self.folder = folder
        self.erlang = erlang
        folder.mkdir(parents=True, exist_ok=True)
        self._block = f"127.{random.randrange(16, 255)}.{random.randrange(256)}"
        cookie = folder / ".erlang.cookie"
        cookie.write_text("lotus-durable-tests")
        cookie.chmod(0o400)
        (folder / "rabbitmq-env.conf").touch()
        self._epmd: subprocess.Popen[bytes] | None = None
        self._epmd_port = free_port(self.address(0))
        self.environment = {
            "HOME": str(folder),
            "PATH": os.environ["PATH"],
            "LC_ALL": "C.UTF-8",
            "ERL_EPMD_PORT": str(self._epmd_port),
            "RABBITMQ_USE_LONGNAME": "true",
            "RABBITMQ_CTL_ERL_ARGS": "-start_epmd false",  # or rabbitmqctl leaves one behind where ours has ended
            "RABBITMQ_CONF_ENV_FILE": str(folder / "rabbitmq-env.conf"),
        }
        self.nodes = tuple(Node(number, self, config) for number in range(size))
        self.network = Network(self)

    def name(self, node: int) -> str:
        """Return what a node is called; epmd wants them different before the @, too."""
        return f"rabbit{node}@{self.address(node)}"

    def address(self, node: int, party: int = 0) -> str:
        """Return one of its addresses."""
        return f"{self._block}.{1 + node * PARTIES + party}"

    def start(self) -> None:
        """Start the first node, and when it is there all the others."""
        assert _EPMD is not None
        addresses = ",".join(node.address for node in self.nodes)
        self._epmd = subprocess.Popen(
            [*_ENDS_WITH_US, _EPMD, "-port", str(self._epmd_port), "-address", addresses],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until(lambda: _listens(self.nodes[0].address, self._epmd_port), "epmd listens")
        self.nodes[0].start()
        for node in self.nodes[1:]:
            node.start(wait=False)
        for node in self.nodes[1:]:
            node.wait_until_started()

    def stop(self) -> None:
        """End all of it."""
        self.network.heal()
        for node in self.nodes:
            if node.is_running():
                node.send(signal.SIGCONT)
                node.send(signal.SIGTERM)
        for node in self.nodes:
            node.stop(timeout=15.0)
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def urls(self, vhost: str = "/", party: int = 0) -> tuple[str, ...]:
        """Return the URL of each node as this party knows it."""
        path = "%2F" if vhost == "/" else vhost
        return tuple(f"amqp://{_USER}:{_USER}@{node.address_for(party)}:{node.port}/{path}" for node in self.nodes)

    def url(self, queue: str, party: int = 0) -> str:
        """Return what ``relay_url`` is set to for a queue: the URL of the first node, and where the others are."""
        first, *others = self.urls(party=party)
        return ",".join((f"{first}?queue={queue}", *(urlsplit(each).netloc.rpartition("@")[2] for each in others)))

    def running(self) -> Node:
        """Return a node that runs."""
        return next(node for node in self.nodes if node.is_running())

    def add_vhost(self, name: str) -> None:
        """Make a virtual host: queues, users' rights and policies of its own."""
        node = self.running()
        node.ctl("add_vhost", name)
        node.ctl("set_permissions", "-p", name, _USER, ".*", ".*", ".*")

    def set_policy(self, definition: str, *, vhost: str = "/", pattern: str = ".*", name: str = "test") -> None:
        """Set a policy for queues, as JSON."""
        self.running().ctl("set_policy", "-p", vhost, "--apply-to", "queues", name, pattern, definition)

    def leader_of(self, queue: str, vhost: str = "/") -> Node:
        """Return the node that leads a quorum queue; raises AssertionError when nobody does now."""
        rows = self.running().ctl("list_queues", "-p", vhost, "--no-table-headers", "name", "leader").splitlines()
        leaders = dict(row.split("\t") for row in rows)
        found = [node for node in self.nodes if node.name == leaders.get(queue)]
        assert found, f"nobody leads {queue}: {rows}"
        return found[0]

    def node_of(self, pid: int) -> Node | None:
        """Return a node that this process has a connection to; None when it has none."""
        connected = _peers(pid)
        return next(
            (
                node
                for node in self.nodes
                for party in range(PARTIES)
                if (node.address_for(party), node.port) in connected
            ),
            None,
        )


class Network:
    """Who can reach whom, by rules of the kernel in a chain of its own: as root, and with iptables."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._chain = f"lotus-{cluster.address(0)}"
        self._is_made = False

    @staticmethod
    @functools.cache
    def why_not() -> str:
        """Return why nothing can be cut off here; empty where it can."""
        if os.geteuid() != 0:
            return "only root can cut connections"
        if shutil.which("iptables") is None:
            return "iptables is not installed"
        works = subprocess.run(["iptables", "-w", "-S", "OUTPUT"], capture_output=True, check=False).returncode == 0
        return "" if works else "iptables has no rights here"

    def part(self, *sides: Sequence[Node]) -> None:
        """Cut the nodes of each side off from those of the others."""
        for here in sides:
            for there in sides:
                if here is not there:
                    for one in here:
                        for other in there:
                            self._drop("-s", one.address, "-d", other.address)

    def cut(self, party: int, *nodes: Node) -> None:
        """Cut this party off from these nodes, or from all."""
        for node in nodes or self._cluster.nodes:
            self._drop("-d", node.address_for(party))
            self._drop("-s", node.address_for(party))

    def heal(self) -> None:
        """Let everybody reach everybody again."""
        if self._is_made:
            _iptables("-D", "OUTPUT", "-j", self._chain)
            _iptables("-F", self._chain)
            _iptables("-X", self._chain)
            self._is_made = False

    def _drop(self, *match: str) -> None:
        if not self._is_made:
            _iptables("-N", self._chain)
            _iptables("-A", "OUTPUT", "-j", self._chain)
            self._is_made = True
        _iptables("-A", self._chain, *match, "-j", "DROP")


_ENDS_WITH_US = ("setpriv", "--pdeathsig", "KILL")


def _iptables(*arguments: str) -> None:
    subprocess.run(["iptables", "-w", *arguments], check=True, capture_output=True)


def _listens(address: str, port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((address, port), 1):
        return True
    return False


def _peers(pid: int) -> set[tuple[str, int]]:
    """Return whom a process is connected to, as the kernel knows it."""
    sockets = set()
    with contextlib.suppress(OSError):
        for entry in os.scandir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                sockets.add(os.readlink(entry.path))
        rows = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
        return {_peer(row[2]) for row in rows if f"socket:[{row[9]}]" in sockets}
    return set()


def _peer(text: str) -> tuple[str, int]:
    address, _, port = text.partition(":")
    return socket.inet_ntoa(bytes.fromhex(address)[::-1]), int(port, 16)
