"""What is struck: hosts with their workers and flushers, the nodes of the cluster, the relays, and the server."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from lotus_durable.errors import LotusError
from lotus_durable.flusher.stats import collect
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.testing import Faults
from tests.chaos.plan import REPOSITORY, Generation
from tests.chaos.processes import flusher_of
from tests.chaos.server import ServerProcess
from tests.relay.broker import Cluster, version
from tests.rig import wait_until

from .worker import API_KEY, Shift

PATIENCE = 150.0
"""Seconds in which all must be at Lotus when all is well: cluster, takeover and the wait after it."""
_LOOK_INTERVAL = 3.0
RELAYS = 2
_ID_LINE = 37
"""Bytes of a line in a ledger."""
_TIMEOUT = "5,1.5"
"""To connect to Lotus, and for its answer; a takeover waits out the second one, and 10 s."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One run."""

    seed: int
    kills: int = 30
    """SIGKILLs after which it may end,"""
    events: int = 20_000
    """and events."""
    seconds: float = 900.0
    """After so many it ends in any case, with what it came to."""
    hosts: int = 3
    workers: int = 4
    """Of each host."""
    nodes: int = 3
    rate: float = 500.0
    """Events in a second, of all workers."""
    generation: Generation = "L22"
    without: tuple[str, ...] = ()


class Child:
    """A process that is started again when it has ended, unless it is to be down."""

    def __init__(self, command: list[str], log: Path, environment: dict[str, str]) -> None:
        self._command, self._log, self._environment = command, log, environment
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def tend(self) -> None:
        """Start it if it does not run."""
        if self._process is None or self._process.poll() is not None:
            with self._log.open("ab") as log:
                self._process = subprocess.Popen(
                    ["setpriv", "--pdeathsig", "KILL", *self._command],
                    cwd=REPOSITORY,
                    env=self._environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )

    def send(self, number: signal.Signals) -> bool:
        """Send it a signal; return whether it was there."""
        if self._process is None or self._process.poll() is not None:
            return False
        self._process.send_signal(number)
        if number == signal.SIGKILL:
            self._process.wait()
        return True

    def end(self, timeout: float = 60.0) -> None:
        """End it in order, or not."""
        self.send(signal.SIGCONT)
        self.send(signal.SIGTERM)
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout)
            self.send(signal.SIGKILL)


class Host:
    """One queue directory, and who tracks there."""

    def __init__(self, world: World, number: int) -> None:
        self.folder = world.root / f"host{number}"
        self.directory = QueueDirectory(self.folder)
        shift = Shift(
            queue_dir=str(self.folder),
            relay_url=world.cluster.url(world.queue),
            ledger=str(world.ledger),
            mode=str(world.mode),
            rate=world.plan.rate / world.plan.hosts / world.plan.workers,
        )
        inside = world.cluster.network.inside(number)
        command = [*inside, sys.executable, "-m", "tests.relay.chaos.worker", shift.encode()]
        self.workers = [Child(command, world.log, world.environment) for _ in range(world.plan.workers)]
        self.drainer = Child([*command, "drain"], world.log, world.environment)

    def flusher(self) -> int | None:
        """Return the process that flushes."""
        return flusher_of(self.directory) or None


class World:
    """All of it; a context manager that leaves no process behind.

    Args:
        plan: what is asked for.
        root: a folder for everything.
        cluster: a broker that runs already and is not struck; without it one is made for this run.
        queue: its name there.
    """

    def __init__(self, plan: Plan, root: Path, cluster: Cluster | None = None, queue: str = "lotus.chaos") -> None:
        self.plan, self.root, self.queue = plan, root, queue
        self.chance = random.Random(plan.seed)
        self.ledger, self.mode, self.log = root / "ledger", root / "mode", root / "processes.log"
        self.ledger.mkdir(parents=True)
        self.mode.write_text("full")
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("LOTUS_")}
        self.environment["PYTHONPATH"] = str(REPOSITORY)
        self._own = cluster is None
        self.cluster = cluster or Cluster(root / "broker", plan.nodes, parties=plan.hosts + RELAYS)
        self.server = ServerProcess(
            root / "served", plan.generation, api_key=API_KEY, address=self.cluster.network.here
        )
        self.policy = {"consumer-disconnected-timeout": 5000} if version() >= (4, 3) else {}
        """What the page on fleets asks for; before 4.3 there is no such thing."""
        self.kills = 0
        self.undo: list[Callable[[], object]] = []
        """What ends what a strike has set at the broker; whoever fails is tried again."""
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            if self._own:
                stack.enter_context(self.cluster)
                if self.policy:
                    self.set_policy()
            stack.enter_context(self.server)
            self.hosts = [Host(self, number) for number in range(self.plan.hosts)]
            self.relays = [self._relay(number) for number in range(RELAYS)]
            stack.callback(self._end)
            self.tend()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _relay(self, number: int) -> Child:
        folder = self.root / f"relay{number}"
        folder.mkdir(mode=0o700)
        environment = {
            "LOTUS_QUEUE_DIR": str(folder),
            "LOTUS_RELAY_URL": self.cluster.url(self.queue),
            "LOTUS_API_KEY": API_KEY,
            "LOTUS_HOST": self.server.host,
            "LOTUS_TIMEOUT": _TIMEOUT,
            "LOTUS_EXIT_TIMEOUT": "0",
        }
        inside = self.cluster.network.inside(self.plan.hosts + number)
        command = [*inside, sys.executable, "-m", "lotus_durable", "relay"]
        return Child(command, self.root / f"relay{number}.log", {**self.environment, **environment})

    def tend(self) -> None:
        """Start again what has ended."""
        for child in [*self.relays, *(worker for host in self.hosts for worker in host.workers)]:
            child.tend()

    def heal(self) -> None:
        """End all that is wrong."""
        self.cluster.network.heal()
        for node in self.cluster.nodes:
            if node.is_running():
                node.send(signal.SIGCONT)
            else:
                node.start(wait=False)
        for node in self.cluster.nodes:
            node.wait_until_started()
        for child in [*self.relays, *(worker for host in self.hosts for worker in host.workers)]:
            child.send(signal.SIGCONT)
        for host in self.hosts:
            if (pid := host.flusher()) is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
        wait_until(lambda: self.set_faults(None), "Lotus is back", PATIENCE)
        self.tend()
        wait_until(self.undone, "what was set at the broker is undone", 2 * PATIENCE)

    def set_faults(self, faults: Faults | None) -> bool:
        """Have Lotus do this; return False while it is away, and is told nothing."""
        try:
            self.server.set_faults(faults)
        except ConnectionError:
            return False
        return True

    def set_policy(self, **more: int) -> None:
        """Set the policy of the queue, of which there is one at a time."""
        definition = {**self.policy, **more} or {"max-length": 1_000_000_000}
        self.cluster.set_policy(json.dumps(definition), pattern=f"^{re.escape(self.queue)}$")

    def undone(self) -> bool:
        """Undo what is set at the broker; return whether nothing is left."""
        while self.undo:
            try:
                self.undo[-1]()
            except AssertionError:
                return False
            self.undo.pop()
        return True

    def pass_(self, seconds: float) -> None:
        """Let time pass, and what has ended begin again."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            self.tend()
            time.sleep(0.05)

    def acknowledged(self) -> int:
        """Return how many calls have returned."""
        return sum(path.stat().st_size // _ID_LINE for path in self.ledger.glob("returned-*"))

    def settle(self, *, resume: bool = True) -> float:
        """Have nothing tracked until all that was is at Lotus; return how many seconds that took.

        Args:
            resume: have them track again then.

        Raises:
            AssertionError: it takes too long.
        """
        self.mode.write_text("silent")
        began = looked_at = time.monotonic()

        def is_settled() -> bool:
            nonlocal looked_at
            self.tend()
            if time.monotonic() - looked_at > _LOOK_INTERVAL:
                looked_at = time.monotonic()
                self._have_flushers_replaced()
            return bool(self.server.state()["events"] >= self.acknowledged())

        try:
            wait_until(is_settled, "all that was tracked is at Lotus", PATIENCE)
        except AssertionError as error:
            raise AssertionError(f"{error}; {self.describe()}") from None
        if resume:
            self.mode.write_text("full")
        return time.monotonic() - began

    def _have_flushers_replaced(self) -> None:
        """Drain where nobody flushes: a client that root makes and that tracks nothing looks neither then nor later."""
        for host in self.hosts:
            if host.flusher() is None:
                host.drainer.tend()

    def describe(self) -> str:
        """Say where things are, for who reads why it failed."""
        said = [f"at Lotus {self.server.state()['events']}, acknowledged {self.acknowledged()}"]
        for folder in [*(host.folder for host in self.hosts), self.root / "relay0", self.root / "relay1"]:
            with contextlib.suppress(LotusError, OSError):
                said.append(f"{folder.name}: {collect(QueueDirectory(folder))}")
        with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
            said.append(self.cluster.running().ctl("list_queues", "name", "messages", "leader", "online"))
        return "\n".join(said)

    def _end(self) -> None:
        for host in self.hosts:
            for child in (*host.workers, host.drainer):
                child.send(signal.SIGKILL)
            if (pid := host.flusher()) is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        for relay in self.relays:
            relay.send(signal.SIGKILL)
        self.cluster.network.heal()
