"""A real RabbitMQ on loopback, of one node or several, apart from everything else on the machine.

Each cluster has addresses of its own, so that clusters do not meet, and any two nodes can be cut off from each other by
them (:class:`Network`, as root). Hosts and relays can each have a network namespace of their own, as if they were other
machines; one can be cut off from the nodes, and reach the rest all the same.

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

START_TIMEOUT = 90.0
_EPMD = shutil.which("epmd")
_USER = "guest"
"""With a password of the same name."""
_CONFIG = """
listeners.tcp.1 = {address}:{port}
loopback_users = none
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
        first = self._cluster.name(0)
        text = _CONFIG.format(address=self.address, port=self.port, first=first, name=self.name)
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
        parties: how many hosts and relays have a network namespace of their own, where that can be done.
    """

    def __init__(self, folder: Path, size: int = 1, config: str = "", erlang: str = "", parties: int = 0) -> None:
        self.folder = folder
        self.erlang = erlang
        folder.mkdir(parents=True, exist_ok=True)
        self.network = Network(size, parties)
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

    def name(self, node: int) -> str:
        """Return what a node is called; epmd wants them different before the @, too."""
        return f"rabbit{node}@{self.address(node)}"

    def address(self, node: int) -> str:
        """Return where a node listens."""
        return self.network.nodes[node]

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
        self.network.close()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def urls(self, vhost: str = "/") -> tuple[str, ...]:
        """Return the URL of each node."""
        path = "%2F" if vhost == "/" else vhost
        return tuple(f"amqp://{_USER}:{_USER}@{node.address}:{node.port}/{path}" for node in self.nodes)

    def url(self, queue: str) -> str:
        """Return what ``relay_url`` is set to for a queue: the URL of the first node, and where the others are."""
        first, *others = self.urls()
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
        return next((node for node in self.nodes if (node.address, node.port) in connected), None)


class Network:
    """Who is where, and who can reach whom: by namespaces of the kernel and rules in a chain of its own, as root.

    Args:
        nodes: how many; they stay in the namespace of who makes this.
        parties: how many others there are. Each has a namespace, and a cable from there to here, which goes with the
            process that holds it, also when who made it is killed. Where this cannot be done all are in one.

    Attributes:
        nodes: the addresses of the nodes.
        here: an address under which each party reaches what else listens here.
    """

    def __init__(self, nodes: int, parties: int) -> None:
        has_namespaces = bool(parties) and not self.why_not()
        block = f"{10 if has_namespaces else 127}.{random.randrange(16, 255)}.{random.randrange(256)}"
        self.nodes = tuple(f"{block}.{1 + node}" for node in range(nodes))
        self.here = f"{block}.100" if has_namespaces else "127.0.0.1"
        self._chain = f"lotus-{block}"
        self._is_made = False
        self._parties: list[_Party] = []
        if has_namespaces:
            for number in range(parties):
                self._parties.append(_Party(f"{block}.{101 + number}", (*self.nodes, self.here)))

    @staticmethod
    @functools.cache
    def why_not() -> str:
        """Return why nothing can be cut off here; empty where it can."""
        if os.geteuid() != 0:
            return "only root can cut connections"
        for program, package in (("iptables", "iptables"), ("ip", "iproute2")):
            if shutil.which(program) is None:
                return f"{package} is not installed"
        for command in (_LISTS_RULES, _MAKES_CABLE):
            if subprocess.run(command, capture_output=True, check=False).returncode:
                return f"`{' '.join(command)}` has no rights here"
        return ""

    def inside(self, party: int) -> list[str]:
        """Return what to put before a command, so that it runs where this party is."""
        return self._parties[party].prefix if self._parties else []

    def part(self, *sides: Sequence[Node]) -> None:
        """Cut the nodes of each side off from those of the others."""
        for here in sides:
            for there in sides:
                if here is not there:
                    for one in here:
                        for other in there:
                            self._drop("-s", one.address, "-d", other.address)

    def cut(self, party: int) -> None:
        """Cut a party off from all nodes."""
        address = self._parties[party].address
        for node in self.nodes:
            self._drop("-s", address, "-d", node)
            self._drop("-s", node, "-d", address)

    def heal(self) -> None:
        """Let everybody reach everybody again."""
        if self._is_made:
            for way in _WAYS:
                _run("iptables", "-w", "-D", way, "-j", self._chain)
            _run("iptables", "-w", "-F", self._chain)
            _run("iptables", "-w", "-X", self._chain)
            self._is_made = False

    def close(self) -> None:
        """Let go of the namespaces."""
        for party in self._parties:
            party.close()

    def _drop(self, *match: str) -> None:
        if not self._is_made:
            _run("iptables", "-w", "-N", self._chain)
            for way in _WAYS:
                _run("iptables", "-w", "-A", way, "-j", self._chain)
            self._is_made = True
        _run("iptables", "-w", "-A", self._chain, *match, "-j", "DROP")


class _Party:
    """A namespace with an address, and a cable at whose other end these addresses are."""

    def __init__(self, address: str, others: Sequence[str]) -> None:
        self.address = address
        self._holder = subprocess.Popen([*_ENDS_WITH_US, "unshare", "--net", "sleep", "infinity"])
        namespace = f"/proc/{self._holder.pid}/ns/net"
        wait_until(lambda: os.readlink(namespace) != os.readlink("/proc/self/ns/net"), "the namespace")
        self.prefix = ["nsenter", f"--net={namespace}"]
        cable = f"lotus{self._holder.pid}"
        _run("ip", "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", str(self._holder.pid))
        for each in others:
            _run("ip", "address", "add", f"{each}/32", "dev", cable)
        _run("ip", "link", "set", cable, "up")
        _run("ip", "route", "add", f"{address}/32", "dev", cable)
        _run(*self.prefix, "ip", "address", "add", f"{address}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            _run(*self.prefix, "ip", "link", "set", device, "up")

    def close(self) -> None:
        self._holder.kill()
        self._holder.wait()


_WAYS = ("INPUT", "OUTPUT")
_LISTS_RULES = ("iptables", "-w", "-S", "OUTPUT")
_MAKES_CABLE = ("unshare", "--net", "ip", "link", "add", "one", "type", "veth", "peer", "name", "other")
_ENDS_WITH_US = ("setpriv", "--pdeathsig", "KILL")


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


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
