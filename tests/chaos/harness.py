"""A run's strikes one after another; now and then all get well, and what was accepted must be settled then."""

from __future__ import annotations

import math
import random
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from lotus_durable.clock import since_boot
from lotus_durable.errors import LotusError
from lotus_durable.flusher.starting import Starting
from lotus_durable.queue.counting import count
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.heartbeat import read_beat
from lotus_durable.queue.stats import QueueStats
from lotus_durable.testing import Faults, Slow

from .clock import Clock
from .disk import Disk
from .oracle import Kill, gap
from .plan import Mode, Plan
from .points import Arms
from .processes import Processes, strike
from .server import ServerProcess
from .writers import Folder

_TICK = 0.005  # seconds
STALL = 30.0
"""Seconds after which a queue that does not get empty, when all is well and a flusher may start, is a problem."""
_SENT_WITH_WAITS = 100.0
"""Events in a second, at the least, where each request to the server of 2022 waits: the books are gone, and nobody
knows what the server has."""
_SERVER_PATIENCE = 10.0
_SOON = 3.0
_GONE = re.compile(r"the books .* are (gone, and new ones were begun|older than the last count)")
WRITTEN_BACK = re.compile(r"the books .* were written back")
_WELL: Mapping[str, Faults | None] = {"L24": None, "L22": Faults(rates={Slow(0.2): 0.2})}
"""The server of 2022 takes its time now and then: a request must be there for another to meet it."""


@dataclass(slots=True)
class Tally:
    """What was done."""

    kills: int = 0
    struck: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    """Strikes that found nobody, or nothing, in time."""
    flusher_kills: list[Kill] = field(default_factory=list)
    recoveries: list[float] = field(default_factory=list)
    """Seconds in which all that was accepted was settled, when all had got well."""
    events: int = 0
    problems: list[str] = field(default_factory=list)


class Harness:
    """What strikes work with."""

    def __init__(
        self,
        plan: Plan,
        *,
        folder: Folder,
        server: ServerProcess,
        disk: Disk,
        queue_dir: Path,
        processes: Processes,
        arms: Arms,
        clock: Clock,
    ) -> None:
        self.plan = plan
        self.chance = self.chance_of(plan.seed)
        self.server = server
        self.disk = disk
        self.queue = QueueDirectory(queue_dir)
        self.processes = processes
        self.arms = arms
        self.clock = clock
        self.struck: dict[str, str] = {}
        """See :attr:`.Evidence.struck`."""
        self.cut: dict[str, set[str]] = {}
        """See :attr:`.Evidence.cut`."""
        self.damage: list[Mapping[str, int]] = []
        """See :attr:`.Evidence.damage`: of books that are gone."""
        self.books_gone: list[tuple[Sequence[str], set[str]]] = []
        """For each time that books were destroyed, the events in them, and what was said of books before."""
        self.asides: list[Path] = []
        """Queue directories that were put aside."""
        self.is_well = True
        self.counts_are_exact = True
        self.tally = Tally()
        self._folder = folder

    @staticmethod
    def chance_of(seed: int) -> random.Random:
        """Return what draws the strikes of a seed."""
        return random.Random(f"chaos {seed}")

    # Time

    def wait(self, condition: Callable[[], object], patience: float) -> bool:
        """Wait; return whether it came to that."""
        ends = time.monotonic() + patience
        while not condition():
            if time.monotonic() > ends or self.processes.has_failed():
                return False
            self.processes.look()
            time.sleep(_TICK)
        return True

    def comes(self, condition: Callable[[], object], *, more: Callable[[], float] = lambda: 0.0) -> bool:
        """Wait for what must come within :data:`STALL` and so many seconds more; return whether it came.

        That counts when no start is put off any more because flushers were killed before, one after another. A start
        that fails now, when nobody strikes, puts nothing off.
        """
        starting = Starting(self.queue, makes=False)
        killed = starting.read().failures + 1  # the last one may not be noted yet
        since = time.monotonic()
        has_come = False

        def is_over() -> bool:
            nonlocal since, has_come
            has_come = bool(condition())
            notes = starting.read()
            if notes.next_start > since_boot() and notes.failures <= killed:
                since = time.monotonic()
            return has_come or time.monotonic() - since > STALL + more()

        self.wait(is_over, math.inf)
        return has_come

    def pass_(self, seconds: float) -> None:
        """Let so much time go by."""
        self.wait(lambda: False, seconds)

    def flusher(self, patience: float = 10.0) -> int:
        """Return who flushes, 0 when nobody does for so long."""
        self.wait(self.processes.flusher, patience)
        return self.processes.flusher()

    def worker(self, *, that_has: Callable[[int], object] = lambda _: True) -> int:
        """Return one that is struck, 0 where there is none that has this."""
        self.wait(self.processes.workers, _SOON)
        workers = [pid for pid in self.processes.workers() if that_has(pid)]
        return self.chance.choice(workers) if workers else 0

    def kill(self, pid: int) -> bool:
        """SIGKILL, counted; return whether it was there."""
        is_struck = bool(pid) and strike(pid, signal.SIGKILL)
        self.tally.kills += is_struck
        return is_struck

    # What happens to all

    def set_mode(self, mode: Mode) -> None:
        """Have this much tracked."""
        path = self._folder.mode
        path.with_suffix(".new").write_text(mode)
        path.with_suffix(".new").rename(path)

    def tell_server(self, faults: Faults | None) -> None:
        """Have the server fail, or (None) be well."""

        def tell() -> bool:
            try:
                self.server.set_faults(_WELL[self.plan.generation] if faults is None else faults)
            except OSError:
                return False  # it is away
            return True

        self.is_well = self.is_well and faults is None
        if not self.wait(tell, _SERVER_PATIENCE):
            self.tally.problems.append("the server did not come back")

    def flusher_killed(self, at: float, *, in_haste: bool, was_starting: bool = False) -> None:
        """Note a kill, and wait for the next delivery unless the next strike comes in haste."""
        if self.tally.flusher_kills and not self._has_delivered_since(self.tally.flusher_kills[-1].at):
            self.tally.flusher_kills[-1] = replace(self.tally.flusher_kills[-1], is_plain=False)
        self.tally.flusher_kills.append(Kill(at, self.is_well and not in_haste, was_starting))
        if self.is_well and not in_haste and not self.comes(lambda: self._has_delivered_since(at)):
            self.tally.problems.append(f"{STALL:g} s after a flusher was killed nothing was delivered: {self.where()}")

    def _has_delivered_since(self, at: float) -> bool:
        return any(each.is_delivery and each.began > at for each in reversed(self.server.look()[-50:]))

    # Getting well

    def get_well(self) -> None:
        """End all that is wrong; then what was accepted until now must be settled soon, and the numbers add up."""
        self.disk.free()
        self.processes.look(resume_all=True)
        self.tell_server(None)
        self.set_mode("trickle")
        began = time.monotonic()
        pending = 0  # at the most: what older books do not know is pending when a flusher has opened them

        def is_empty() -> bool:
            nonlocal pending
            counts = self.counts()
            pending = max(pending, 0 if counts is None else counts.pending)
            return counts is not None and counts.pending == 0

        sent_with_waits = _SENT_WITH_WAITS if self.plan.generation == "L22" else math.inf
        if self.comes(is_empty, more=lambda: pending / sent_with_waits):
            self.tally.recoveries.append(time.monotonic() - began)
        else:
            self.tally.problems.append(f"long after all was well events were still pending: {self.where()}")
        counts = self.counts()
        if counts is not None and gap(counts):
            self.tally.problems.append(f"in the middle of it conservation does not hold: {counts}")
        self.tally.events = self.calls()
        self.is_well = True
        self.set_mode("full")

    def calls(self, pid: int | str = "*") -> int:
        """Return how many events a process, or all, have begun to track."""
        return sum(path.read_bytes().count(b"\n") for path in self._folder.ledger.glob(f"intended-{pid}-*"))

    def said_of_books(self, words: re.Pattern[str] = _GONE) -> set[str]:
        """Return what flushers have said of the books, in logs and to writers: that they are gone or older."""
        logs = (log for root in (Path(self.queue.root), *self.asides) for log in root.glob("*.log*"))
        said = {line for log in logs for line in log.read_text(errors="replace").splitlines() if words.search(line)}
        told = self._folder.told.read_text() if self._folder.told.exists() else ""
        return said.union(f"{number} {line}" for number, line in enumerate(told.splitlines()) if words.search(line))

    def counts(self) -> QueueStats | None:
        """Count the queue as anybody can; None while it cannot be counted."""
        try:
            return count(self.queue)
        except (OSError, LotusError):
            return None

    def where(self) -> str:
        """Say where it is, for a problem."""
        return f"{self.counts()}; flushers {sorted(self.processes.flushers())}; {read_beat(self.queue)}"
