"""Processes that track, and write down which events: workers that live long, and others that end after 0 to 50 ms.

All are forked by one process, the *nursery*, which has tracked itself: each inherits a client in use. It ends with its
standard input or with the harness, and its children end with it. Of each event the ledger has a line before the call
(attempted) and one after it (acknowledged); see ``tests/servers/apps/ledger.py``.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import random
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from lotus_durable import Client, LotusError, QueueFull
from lotus_durable.tracker import Tracker
from tests.servers.apps.ledger import Ledger

from .plan import CUSTOMERS, STRANGER, Way, configuration
from .points import spare_this_process, wrap_writers

WORKER, SHORT = "chaos-worker", "chaos-short"
"""What such processes are called in ``/proc/PID/comm``."""
CLOSE_ALL = signal.SIGUSR1
"""Has a worker close all descriptors that are not the standard ones, as daemons do, and use their numbers."""

_ODD_ONE_IN = 300
"""Events, of which one is parked (on the 2024 server: ahead of its time), and one is refused for good (too old)."""
_CHOSEN_BY_LIBRARY = 4
"""One in so many ids."""
_LARGE_ONE_IN = 20
_LARGE = 6_000
"""Bytes of padding: the frame then spans pages, where a kill can tear it."""
_MOST_AT_ONCE = 8
_FULL_PAUSE = 0.05
_SHORT_INTERVAL = 0.25
"""Seconds between two short-lived processes, at full rate."""
_TRICKLE_INTERVAL = 0.4
_LONGEST_SHORT_LIFE = 0.05
_STOP_TIMEOUT = 15.0
_HIGHEST = 4096
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Shift:
    """What the nursery is told."""

    host: str
    queue_dir: str
    folder: str
    """Of what is written down."""
    workers: int
    rate: float
    seed: str
    ways: Sequence[Way]


class Folder:
    """What the harness and its processes write for each other."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.ledger, self.mode, self.told, self.ends = root / "ledger", root / "mode", root / "told", root / "ends"

    def make(self) -> None:
        self.ledger.mkdir(parents=True)
        self.mode.write_text("full")

    def note(self, path: Path, line: str) -> None:
        """Append a line; through no descriptor that stays open."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        os.write(descriptor, f"{line}\n".encode())
        os.close(descriptor)


class Writer:
    """What tracks in one process."""

    def __init__(self, client: Client, folder: Folder, seed: str) -> None:
        self.client = client
        self.folder = folder
        self.chance = random.Random(seed)
        self.ledger = Ledger(folder.ledger)
        self._kept: list[str] = []

    def track(self) -> None:
        """Track one event, and write down what came of it."""
        chosen = None
        if self.chance.randrange(_CHOSEN_BY_LIBRARY):
            chosen = str(UUID(int=self.chance.getrandbits(128), version=4))
        event = self._event()
        self.ledger.intend(chosen)
        _kept_in_memory.clear()
        try:
            returned = self.client.track_event(**event, idempotency_id=chosen)
        except QueueFull:
            time.sleep(_FULL_PAUSE)  # not accepted: a web server would answer 503
            return
        if _kept_in_memory:
            self.ledger.kept(returned)
            self._kept.append(returned)
        else:
            self.ledger.returned(returned)

    def confirm(self) -> None:
        """Write down as acknowledged what was kept in memory and has come to the disk."""
        if self._kept and not self.client._tracker.in_memory():
            for returned in self._kept:
                self.ledger.returned(returned)
            self._kept.clear()

    def _event(self) -> dict[str, Any]:
        padding = "x" * (self.chance.randrange(100) if self.chance.randrange(_LARGE_ONE_IN) else _LARGE)
        event: dict[str, Any] = {
            "customer_id": self.chance.choice(CUSTOMERS),
            "event_name": "api_call",
            "properties": {"padding": padding},
        }
        odd = self.chance.randrange(_ODD_ONE_IN)
        if odd == 0:
            event["time_created"] = datetime.now(UTC) + timedelta(days=3)
            event["customer_id"] = STRANGER
        elif odd == 1:
            event["time_created"] = datetime.now(UTC) - timedelta(days=60)
        return event


class Worker:
    """Tracks until it is told to stop; what is pending then is the business of the client's exit hook."""

    def __init__(self, writer: Writer, rate: float) -> None:
        self._writer = writer
        self._rate = rate
        self._stopping = False
        self._closes = False
        self._watched: list[tuple[socket.socket, socket.socket]] = []
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(CLOSE_ALL, self._close)

    def serve(self) -> None:
        """A few events for each request, then a pause."""
        writer, behind = self._writer, 0.0
        while not self._stopping:
            if writer.folder.mode.read_text() != "full":
                time.sleep(0.02)
                continue
            began, count = time.monotonic(), writer.chance.randint(1, _MOST_AT_ONCE)
            for _ in range(count):
                writer.track()
            writer.confirm()
            self._look_at_descriptors()
            pause = count / self._rate + behind - (time.monotonic() - began)
            behind = max(-1.0, min(0.0, pause))
            time.sleep(max(0.0, pause))

    def _look_at_descriptors(self) -> None:
        if self._closes:
            self._closes = False
            self._close_all()
        for ours, theirs in self._watched:
            with contextlib.suppress(BlockingIOError):
                got = theirs.recv(100)
                ours.fileno()
                raise RuntimeError(f"the application's own socket was written to: {got!r}")

    def _close_all(self) -> None:
        segments = [int(each) for each in os.listdir("/proc/self/fd") if _path_of(each).endswith(".seg")]
        for pair in self._watched:
            for each in pair:
                each.detach()
        os.closerange(3, _HIGHEST)
        self._writer.ledger = Ledger(self._writer.folder.ledger)
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        self._watched = [(ours, theirs)]
        for number in segments:
            os.dup2(ours.fileno(), number)

    def _stop(self, _number: int, _frame: object) -> None:
        self._stopping = True

    def _close(self, _number: int, _frame: object) -> None:
        self._closes = True


class Nursery:
    """Keeps workers alive, and starts those that live shortly."""

    def __init__(self, shift: Shift) -> None:
        self._shift = shift
        self._folder = Folder(Path(shift.folder))
        config = configuration(shift.host, Path(shift.queue_dir))._replace(on_error=self._told)
        self._writer = Writer(Client.from_config(config), self._folder, shift.seed)
        self._workers: set[int] = set()
        self._shorts: set[int] = set()
        self._started = 0
        self._next_short = 0.0

    def serve(self) -> None:
        """Until standard input is closed."""
        while not select.select([0], [], [], 0.01)[0]:
            self._reap()
            mode = self._folder.mode.read_text()
            while len(self._workers) < self._shift.workers:
                self._workers.add(self._fork(WORKER, self._be_worker))
            if mode != "silent" and time.monotonic() >= self._next_short:
                self._next_short = time.monotonic() + (_SHORT_INTERVAL if mode == "full" else _TRICKLE_INTERVAL)
                self._writer.track()
                self._writer.confirm()
                self._shorts.add(self._fork(SHORT, self._be_short))
        self._stop()

    def _fork(self, name: str, be: Callable[[Writer], None]) -> int:
        self._started += 1
        pid = os.fork()
        if pid:
            return pid
        try:
            Path("/proc/self/comm").write_text(name)
            end_with_starter()
            be(Writer(self._client_of(name), self._folder, f"{self._shift.seed}/{self._started}"))
        except Exception as error:  # noqa: BLE001  # whatever it is, it is a problem
            self._folder.note(self._folder.ends, f"{name}: {type(error).__name__}: {error}")
            os._exit(1)
        if name == SHORT:
            os._exit(0)
        sys.exit(0)  # as any program ends, with its exit hooks

    def _client_of(self, name: str) -> Client:
        """Return what a child tracks with: what it inherited, or for another way a client of its own."""
        backend, durability = self._shift.ways[self._started % len(self._shift.ways)]
        config = self._writer.client.config
        if name == SHORT or (backend, durability) == (config.backend, config.durability):
            return self._writer.client
        return Client.from_config(config._replace(backend=backend, durability=durability))

    def _be_worker(self, writer: Writer) -> None:
        os.setsid()
        Worker(writer, self._shift.rate / self._shift.workers).serve()

    def _be_short(self, writer: Writer) -> None:
        count = writer.chance.randint(1, 4)
        for _ in range(count):
            writer.track()
            time.sleep(writer.chance.uniform(0, _LONGEST_SHORT_LIFE / count) * (count > 1))

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                pid, code = ended[0], os.waitstatus_to_exitcode(ended[1])
                if code not in (0, -signal.SIGKILL, -signal.SIGTERM, -CLOSE_ALL):  # before its handler was there
                    self._folder.note(self._folder.ends, f"process {pid} ended by itself with {code}")
                if pid not in self._workers | self._shorts:
                    self._folder.note(self._folder.ends, f"the nursery met a child that it did not start: {pid}")
                self._workers.discard(pid)
                self._shorts.discard(pid)

    def _stop(self) -> None:
        for pid in self._workers:
            os.kill(pid, signal.SIGTERM)
        ends = time.monotonic() + _STOP_TIMEOUT
        while self._workers | self._shorts:
            self._reap()
            if time.monotonic() > ends:
                self._folder.note(self._folder.ends, f"workers did not end within {_STOP_TIMEOUT:g} s of SIGTERM")
                return
            time.sleep(0.01)

    def _told(self, error: LotusError, _events: Sequence[object]) -> None:
        self._folder.note(self._folder.told, f"{type(error).__name__}: {error}")


def end_with_starter() -> None:
    """Have this process killed when its starter ends, also when that is killed, and even if it is stopped then."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


_kept_in_memory: list[bool] = []
"""Not empty: the call in progress has kept an event in memory, so it is not on disk at return."""


def _note_what_is_kept() -> None:
    keep = Tracker._keep_in_memory

    def noted(tracker: Tracker, record: bytes) -> None:
        keep(tracker, record)
        _kept_in_memory.append(True)

    Tracker._keep_in_memory = noted  # type: ignore[assignment, method-assign]


def _path_of(descriptor: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        return ""


def encode(shift: Shift) -> str:
    """Return it as an argument."""
    return json.dumps(asdict(shift))


def main() -> None:
    """Be the nursery; workers return from here too."""
    end_with_starter()
    wrap_writers()
    spare_this_process()
    _note_what_is_kept()
    Nursery(Shift(**json.loads(sys.argv[1]))).serve()


if __name__ == "__main__":
    main()
