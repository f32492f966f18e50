"""Playing rounds: strikes while something is wrong, then all get well, and what was accepted must be settled."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict

from lotus_durable.cli.demo.succession import Succession
from lotus_durable.errors import LotusError
from lotus_durable.queue.heartbeat import read_heartbeat
from lotus_durable.queue.protocol import Census, EventQueue
from lotus_durable.testing import FakeLotusProcess, Faults

from .crew import Crew, Role
from .disk import Disk
from .history import History
from .oracle import Books
from .plan import Plan, Round, Strike
from .points import POINTS, Arms
from .tally import Tally
from .trouble import faults_of

_TICK = 0.005  # seconds
_LOOK_INTERVAL = 0.5
"""Seconds between two looks at the books."""
_POINT_PATIENCE = 8.0
_QUARANTINE_PATIENCE = 0.6
_VICTIM_PATIENCE = 5.0
_SERVER_PATIENCE = 10.0
_BACKLOG = 50_000
"""Pending events above which the workers go slowly: how fast the server takes them is not what is asked here."""
_UNAIDED = 2.0
"""Seconds for which a killed leader is not replaced, so that one who is there already takes over."""
_STALL = 30.0
"""Seconds after which delivery that does not go on, when all is well, is a problem. A pause after a timeout is 8 s, and
one after some failures in a row can be as long."""


class Stage:
    """Plays the rounds of one plan."""

    def __init__(
        self,
        plan: Plan,
        *,
        server: FakeLotusProcess,
        disk: Disk,
        queue: EventQueue,
        crew: Crew,
        arms: Arms,
        history: History,
        say: Callable[[str], None],
    ) -> None:
        self._plan = plan
        self._server = server
        self._disk = disk
        self._queue = queue
        self._crew = crew
        self._arms = arms
        self._history = history
        self._say = say
        self._succession = Succession(queue.directory)
        self._leaders: set[int] = set()
        self._next_look = 0.0
        self._accepted = 0
        self._duplicates = 0
        self._is_full = False
        self.tally = Tally()

    def play(self, rounds: Iterable[Round]) -> None:
        """Play rounds until what was asked for is reached, or there are no more, or the time is up."""
        ends = time.monotonic() + self._plan.minutes * 60
        self._until(lambda: self._accepted > 0, _STALL, "the workers track")
        for each in rounds:
            self._play(each)
            if self._plan.is_reached(self.tally.kills, self._accepted):
                return
            if time.monotonic() > ends:
                if not self._plan.is_bounded_by_time_alone:
                    done = f"{self.tally.kills} kills and {self._accepted} events"
                    self.tally.problems.append(f"the time was up after {done}")
                return

    def _play(self, round_: Round) -> None:
        self._history.begins(round_)
        uploader_kills = self.tally.uploader_kills
        if round_.faults is not None:
            self._tell_server(faults_of(round_.faults, self._plan.seed + round_.number))
        if round_.full_disk:
            self._fill()
        free_at = time.monotonic() + round_.full_disk
        for strike in round_.strikes:
            self._pass(strike.pause)
            if strike.point is not None:
                self._strike_at_point(round_, strike.point, strike.chance)
            else:
                self._strike_by_signal(round_, strike)
        self._pass(free_at - time.monotonic())
        self._get_well(round_)
        self._count_sent_again(round_, self.tally.uploader_kills - uploader_kills)
        self.tally.rounds += 1

    # Strikes

    def _strike_at_point(self, round_: Round, name: str, chance: float) -> None:
        before = set(self._arms.hits())
        self._arms.arm(name, chance)
        ends = time.monotonic() + _POINT_PATIENCE
        while not self._wait(lambda: not self._arms.is_armed(name), _QUARANTINE_PATIENCE):
            if time.monotonic() > ends:
                self._arms.disarm(name)
                break
            if name == "quarantining":
                # There must be something to be kept aside.
                self._strike_at_point(round_, "torn-write", 1.0)
        victims = [pid for point, pid in set(self._arms.hits()) - before if point == name]
        if not victims:
            self._missed(name)
            return
        self.tally.points[name] += 1
        self._history.note("killed", point=name, pid=victims[0])
        self._killed(round_, victims[0], is_leader=POINTS[name].leads or self._led(victims[0]))

    def _strike_by_signal(self, round_: Round, strike: Strike) -> None:
        assert strike.victim is not None
        assert strike.signal is not None
        pid = 0

        def find() -> bool:
            nonlocal pid
            pid = self._find(strike)
            return pid != 0

        self._wait(find, _VICTIM_PATIENCE)
        is_leader = self._led(pid)
        if not pid or not self._crew.strike(pid, strike.signal, strike.seconds):
            self._missed(str(strike))
            return
        self.tally.signals[strike.victim, strike.signal] += 1
        self._history.note("struck", victim=strike.victim, signal=strike.signal, pid=pid)
        if strike.signal == "SIGKILL":
            self._killed(round_, pid, is_leader=is_leader)

    def _find(self, strike: Strike) -> int:
        """Return the pid of a victim, 0 when there is none now."""
        leader = self._succession.leader()
        if strike.victim == "leader":
            return leader if leader is not None and self._crew.owns(leader) else 0
        role: Role = "flusher" if strike.victim == "flusher" else "worker"
        living = self._crew.living(role)
        if role == "worker":
            living = [pid for pid in living if pid != leader]
        return living[strike.choice % len(living)] if living else 0

    def _led(self, pid: int) -> bool:
        """Whether a process was the leader: who once is remains it to its end."""
        return pid in self._leaders or pid == self._succession.leader()

    def _killed(self, round_: Round, pid: int, *, is_leader: bool) -> None:
        if not is_leader:
            return
        self.tally.uploader_kills += 1
        # While the disk is full no heartbeat tells who leads.
        if not round_.hurried and not self._is_full and not self._succession.is_open():
            self._succession.leader_is_killed(pid)
            self._crew.replaces = not self._plan.has_others_who_can_lead
            self._wait(lambda: not self._succession.is_open(), _UNAIDED)
            self._crew.replaces = True
            self._wait(lambda: not self._succession.is_open(), _STALL)

    def _missed(self, what: str) -> None:
        self.tally.missed[what] += 1
        self._history.note("missed", strike=what)

    # Getting well

    def _get_well(self, round_: Round) -> None:
        """End all that is wrong; then what was accepted until now must be settled soon."""
        began = time.monotonic()
        self._disk.free()
        self._is_full = False
        self._crew.continue_all()
        self._tell_server(None)
        census = self._look()
        target = census.accepted if census is not None else 0
        if self._settles(target, f"what round {round_.number} has left is settled"):
            self.tally.recoveries.append(time.monotonic() - began)
        self._say(
            f"round {round_.number}: {round_.faults or ('full disk' if round_.full_disk else 'plain')}; "
            f"{self.tally.kills} kills, {self._accepted} events; well after {time.monotonic() - began:.1f} s"
        )

    def _settles(self, target: int, what: str) -> bool:
        """Wait until so many events are settled: as long as it takes, if only it goes on."""
        while (before := self._settled()) < target:
            if not self._until(lambda before=before: self._settled() > before, _STALL, what):  # type: ignore[misc]
                return False
        return True

    def _settled(self) -> int:
        census = self._look(now=True)
        return 0 if census is None else census.accepted - census.pending

    def _count_sent_again(self, round_: Round, uploader_kills: int) -> None:
        duplicates: int = self._server.state()["duplicates"]
        if round_.is_plain:
            self.tally.count_sent_again(duplicates - self._duplicates, uploader_kills)
        self._duplicates = duplicates

    def _fill(self) -> None:
        self._disk.fill()
        self._is_full = True
        self.tally.full_disks += 1

    def _tell_server(self, faults: Faults | None) -> None:
        def tell() -> bool:
            try:
                self._server.set_faults(faults)
            except OSError:
                return False  # it is away
            return True

        self._until(tell, _SERVER_PATIENCE, "the server is there")

    # Time

    def _until(self, condition: Callable[[], bool], patience: float, what: str) -> bool:
        """Wait, and call it a problem if it does not come to that."""
        came = self._wait(condition, patience)
        if not came:
            heartbeat = read_heartbeat(self._queue.directory)
            problem = f"waited {patience:g} s until {what}: {self._look(now=True)}; {heartbeat}"
            self.tally.problems.append(problem)
            self._history.note("stalled", problem=problem)
        return came

    def _wait(self, condition: Callable[[], bool], patience: float) -> bool:
        ends = time.monotonic() + patience
        while not condition():
            if time.monotonic() > ends:
                return False
            self._tick()
        return True

    def _pass(self, seconds: float) -> None:
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            self._tick()

    def _tick(self) -> None:
        self._crew.look()
        leader = self._succession.leader()
        if leader is not None:
            self._leaders.add(leader)
        took = self._succession.look()
        if took is not None:
            self.tally.takeovers.append(took)
            self._history.note("took over", seconds=round(took, 3), pid=self._succession.leader())
        self._look()
        time.sleep(_TICK)

    def _look(self, *, now: bool = False) -> Census | None:
        """Look at the books, now and then: they must add up at any moment."""
        if time.monotonic() < self._next_look and not now:
            return None
        self._next_look = time.monotonic() + _LOOK_INTERVAL
        try:
            census = self._queue.census()
        except (LotusError, OSError) as error:
            self.tally.problems.append(f"the queue cannot be counted: {error}")
            return None
        self._accepted = census.accepted
        self._crew.go_slowly(census.pending > _BACKLOG or self._accepted >= (self._plan.events or math.inf))
        self.tally.books_seen += 1
        books = books_of(census)
        if books.gap:
            self.tally.problems.append(f"in the middle of it conservation does not hold: {books}")
            self._history.note("gap", **asdict(books))
        return census

    def failed_takeovers(self) -> int:
        """Return after how many kills of a leader nobody took over within 10 s."""
        return self._succession.failures


def books_of(census: Census) -> Books:
    """Return the six numbers of a count."""
    return Books(
        accepted=census.accepted,
        delivered=census.delivered,
        pending=census.pending,
        parked=census.parked,
        dead_lettered=census.dead_lettered,
        discarded=census.discarded,
    )
