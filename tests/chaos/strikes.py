"""Everything that is done to a queue: a function for each, drawn at random. Each returns whether it struck anything."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from lotus_durable.event.record import RecordError, decode_record
from lotus_durable.queue.books import read_page
from lotus_durable.queue.directory import released_name
from lotus_durable.queue.format import HEADER_SIZE, decode_header, frames
from lotus_durable.queue.heartbeat import Progress, read_progress
from lotus_durable.testing import (
    Away,
    DatabaseDown,
    Delay,
    Drip,
    Fault,
    Faults,
    RateLimited,
    RefuseEvents,
    Reset,
    Slow,
    Status,
    Truncate,
)

from .crew import is_alive, state_of, strike
from .oracle import BOOKS, CUT
from .plan import READ_TIMEOUT, Plan
from .points import IN_FLUSHERS, POINTS
from .stage import Stage
from .writers import CLOSE_ALL

_PATIENCE = 10.0
"""Seconds in which a point must be reached, or a new flusher be there."""
_SOON = 3.0
_AT_A_START = ("first instruction", "before the lock", "lock taken", "about to start", "started")
"""Points that come up when there is no flusher."""
_STRIKES_IN_A_ROUND = 10
_HUNG = 25.0
"""Seconds within which a stopped flusher must be ended: 15 is promised, on a machine that has time."""
_PID_IN_NAME = re.compile(r"-(\d+)-[0-9a-f]+\.seg$")

TROUBLES: Mapping[str, tuple[Sequence[Fault], Mapping[Fault, float]]] = {
    "server away": ([Away(1.0)], {}),
    "server slow": ([Slow(0.5), Delay(0.3), Drip(0.005)], {Slow(0.1): 0.3, Delay(0.1): 0.2}),
    "server slower than anybody waits": ([Slow(READ_TIMEOUT + 0.5)], {}),
    "500, 502, 503": ([Status(503), DatabaseDown()], {Status(500): 0.1, Status(502, stored=True): 0.2}),
    "stored, then reset or cut short": ([Reset(), Truncate()], {Reset(): 0.2, Truncate(40): 0.1}),
    "refused key, rate limit, too large": ([Status(401), RateLimited(1), Status(413)], {}),
    "events refused": ([], {RefuseEvents("Customer does not exist", fraction=0.02): 0.3}),
}
"""What is wrong with the server, while other strikes go on: some faults once each, some by chance."""


@dataclass(frozen=True, slots=True)
class Strike:
    """One kind."""

    about: str
    do: Callable[[Stage], bool]
    weight: int = 1
    """How many of the deck's cards are of this kind."""


# Processes


def kill_flusher(stage: Stage) -> bool:
    pid = stage.flusher()
    at = time.monotonic()
    if not pid or not _kill(stage, pid):
        return False
    stage.flusher_killed(at, in_haste=stage.chance.random() < 0.3)
    return True


def kill_starting_flusher(stage: Stage) -> bool:
    pid = stage.flusher()
    if not pid or not _kill(stage, pid):
        return False
    stage.flusher_killed(time.monotonic(), in_haste=True)
    stage.wait(stage.crew.flushers, _SOON)
    time.sleep(stage.chance.uniform(0.0, 0.2))
    killed = [each for each in stage.crew.flushers() if _kill(stage, each)]
    if killed:
        stage.flusher_killed(time.monotonic(), in_haste=False, was_starting=True)
    return bool(killed)


def stop_flusher(stage: Stage) -> bool:
    """For a moment: whoever looks must let it be."""
    pid = stage.flusher()
    if not pid or not stage.crew.stop_for(pid, seconds := stage.chance.uniform(0.1, 1.0)):
        return False
    stage.pass_(seconds + 0.1)
    return True


def stop_flusher_for_good(stage: Stage) -> bool:
    """Whoever looks must end it, and it sends nothing more when it is continued."""
    pid = stage.flusher()
    if not pid or not strike(pid, signal.SIGSTOP):
        return False
    try:
        if not stage.wait(lambda: not is_alive(pid) or stage.crew.flusher() not in (0, pid), _HUNG):
            stage.tally.problems.append(f"a stopped flusher was not ended within {_HUNG:g} s: {stage.where()}")
    finally:
        strike(pid, signal.SIGCONT)
    return True


def end_flusher(stage: Stage) -> bool:
    pid = stage.flusher()
    return bool(pid) and strike(pid, signal.SIGTERM)


def kill_worker(stage: Stage) -> bool:
    return _kill(stage, _worker(stage))


def stop_worker(stage: Stage) -> bool:
    return stage.crew.stop_for(_worker(stage), stage.chance.uniform(0.2, 1.5))


def end_worker(stage: Stage) -> bool:
    return strike(_worker(stage), signal.SIGTERM)


def kill_short(stage: Stage) -> bool:
    return stage.wait(lambda: any(_kill(stage, pid) for pid in stage.crew.shorts()), _SOON)


def close_descriptors(stage: Stage) -> bool:
    return strike(_worker(stage), CLOSE_ALL)


def kill_at(name: str, stage: Stage) -> bool:
    """Have a process killed at a named point; some are only reached when something else is done as well."""
    before = stage.arms.hits()
    stage.arms.arm(name)
    if name in _AT_A_START:
        kill_flusher_in_haste(stage)
    elif name == "lock released":
        stage.set_mode("silent")
    elif name == "carried over, not sealed":
        delete_segment(stage)
    is_hit = stage.wait(lambda: len(stage.arms.hits()) > len(before), _PATIENCE)
    at = time.monotonic()
    stage.set_mode("full")
    stage.arms.disarm(name)
    if is_hit:
        stage.tally.kills += 1
        if name in IN_FLUSHERS:
            is_start = name in _AT_A_START
            stage.flusher_killed(at, in_haste=stage.chance.random() < 0.3, was_starting=is_start)
    return is_hit


def kill_flusher_in_haste(stage: Stage) -> None:
    pid = stage.flusher()
    if pid and _kill(stage, pid):
        stage.flusher_killed(time.monotonic(), in_haste=True)


# Files


def delete_locks(stage: Stage) -> bool:
    names = stage.chance.choice((["flusher.lock"], ["starting"], ["flusher.lock", "starting", "heartbeat", "requests"]))
    for name in names:
        Path(stage.queue.root, name).unlink(missing_ok=True)
    return True


def cut_segment(stage: Stage) -> bool:
    with _segment_in_use(stage) as (path, pid):
        if path is None:
            return False
        size = stage.chance.randrange(path.stat().st_size)
        ids = _ids_in(path, beyond=size)
        os.truncate(path, size)
    _wait_until_it_goes_on(stage, pid, path)
    _mark_struck(stage, ids, CUT if is_alive(pid) else f"{CUT}, writer killed")
    return True


def delete_segment(stage: Stage) -> bool:
    """Its writer alone can still reach what is in it; if that is killed first, it is destroyed."""
    with _segment_in_use(stage) as (path, pid):
        if path is None:
            return False
        ids = _ids_in(path)
        path.unlink()
    _wait_until_it_goes_on(stage, pid, path)
    if not is_alive(pid):
        _mark_struck(stage, ids, "segment deleted, writer killed")
    return True


def rename_segment(stage: Stage) -> bool:
    """Out of the journal, and back."""
    with _segment_in_use(stage) as (path, _):
        if path is None:
            return False
        elsewhere = Path(stage.queue.root, path.name)
        path.rename(elsewhere)
    stage.pass_(stage.chance.uniform(0.05, 0.6))
    elsewhere.rename(path)
    return True


def move_directory(stage: Stage) -> bool:
    """Away, and back; what was made in its place is put aside, and drained at the end."""
    stage.counts_are_exact = False
    root = Path(stage.queue.root)
    away = root.with_name("away")
    root.rename(away)
    stage.pass_(stage.chance.uniform(0.05, 1.5))
    while True:
        if root.exists():
            aside = root.with_name(f"aside{len(stage.asides)}")
            root.rename(aside)
            stage.asides.append(aside)
        with contextlib.suppress(OSError):  # one was made in this moment
            away.rename(root)
            return True


def remove_books(stage: Stage) -> bool:
    """While they are open; sometimes the flusher is killed too, before it could write them back."""
    pid = stage.flusher()
    if not pid or not strike(pid, signal.SIGSTOP):
        return False
    books = Path(stage.queue.books)
    try:
        if not stage.wait(lambda: state_of(pid) == "T", _SOON) or not stage.crew.has_open(pid, books):
            return False  # nobody could write them back
        if read_progress(stage.queue) == Progress():
            return False  # the heartbeat has just been deleted too: nobody could know what was in them
        ids = [_id(each.record) for table in ("parked", "dead") for each in read_page(str(books), table, 0, 1 << 30)]
        for suffix in ("", "-wal", "-shm"):
            books.with_name(books.name + suffix).unlink(missing_ok=True)
    except OSError:
        return False  # stopped in the middle of a transaction: they cannot be read
    finally:
        strike(pid, signal.SIGCONT)
    stage.counts_are_exact = False
    if stage.chance.random() < 0.3:
        _kill(stage, pid)
        stage.flusher_killed(time.monotonic(), in_haste=True)
    elif stage.wait(lambda: books.exists() or not is_alive(pid), _PATIENCE) and is_alive(pid):
        return True  # all of it must be there again
    _mark_struck(stage, ids, BOOKS)
    return True


# The world


def fill_disk(stage: Stage) -> bool:
    if not stage.disk.can_be_filled:
        return False
    stage.is_well = False
    stage.disk.fill()
    stage.pass_(stage.chance.uniform(0.3, 2.0))
    if stage.chance.random() < 0.5:
        stage.disk.free()  # else it stays full through some other strikes
    return True


def trouble(name: str, stage: Stage) -> bool:
    script, rates = TROUBLES[name]
    stage.tell_server(Faults(script=script, rates=rates, seed=stage.chance.randrange(1 << 20), path="/api/track/"))
    return True


WORLD: Mapping[str, Strike] = {
    "disk full": Strike("a tmpfs of its own is filled, for up to 2 s or a whole round", fill_disk),
    **{name: Strike("for a round", partial(trouble, name)) for name in TROUBLES},
}
"""What is wrong around a round of other strikes."""
STRIKES: Mapping[str, Strike] = {
    "flusher killed": Strike("SIGKILL", kill_flusher, 5),
    "starting flusher killed": Strike("SIGKILL 0 to 0.2 s after it is there", kill_starting_flusher, 2),
    "flusher stopped": Strike("SIGSTOP, and SIGCONT within a second", stop_flusher),
    "flusher stopped for good": Strike("SIGSTOP until somebody has ended it", stop_flusher_for_good),
    "flusher ended": Strike("SIGTERM", end_flusher),
    "worker killed": Strike("SIGKILL", kill_worker, 6),
    "worker stopped": Strike("SIGSTOP, and SIGCONT within 1.5 s", stop_worker),
    "worker ended": Strike("SIGTERM", end_worker),
    "short-lived killed": Strike("SIGKILL within its 0 to 50 ms", kill_short, 4),
    "descriptors closed": Strike("a worker closes all, and uses their numbers", close_descriptors, 2),
    "lock files deleted": Strike("flusher.lock, starting, or these with heartbeat and requests", delete_locks),
    CUT: Strike("a segment in use is truncated at any byte", cut_segment),
    "segment deleted": Strike("a segment in use is unlinked", delete_segment),
    "segment moved": Strike("a segment in use is moved out of the journal and back", rename_segment),
    "directory moved": Strike("the queue directory is renamed, and put back within 1.5 s", move_directory),
    "books removed": Strike("books.db is unlinked while open; 3 in 10 times the flusher is killed too", remove_books),
    **{f"at: {name}": Strike(f"SIGKILL: {about}", partial(kill_at, name)) for name, about in POINTS.items()},
}
UNTIDY = (CUT, "segment deleted", "directory moved", "books removed", "at: carried over, not sealed")
"""Those that may destroy or count anew: without them the counts must be exact at the end."""


def rounds(plan: Plan, chance: random.Random) -> Iterator[list[str]]:
    """Give the strikes of each round. All cards are dealt in a random order, and then again: nothing waits for long.

    Every other round is plain: nothing is wrong with the server and the disk.
    """
    cards = _dealt([name for name, each in STRIKES.items() for _ in range(each.weight)], plan, chance)
    world = _dealt(list(WORLD), plan, chance)
    while True:
        yield list(islice(cards, _STRIKES_IN_A_ROUND))
        yield [*islice(world, 1), *islice(cards, _STRIKES_IN_A_ROUND)]


def _dealt(cards: Sequence[str], plan: Plan, chance: random.Random) -> Iterator[str]:
    cards = [name for name in cards if name not in plan.without]
    while cards:
        yield from chance.sample(cards, len(cards))


def _kill(stage: Stage, pid: int) -> bool:
    is_struck = bool(pid) and strike(pid, signal.SIGKILL)
    stage.tally.kills += is_struck
    return is_struck


def _worker(stage: Stage) -> int:
    stage.wait(stage.crew.workers, _SOON)
    workers = stage.crew.workers()
    return stage.chance.choice(workers) if workers else 0


@contextlib.contextmanager
def _segment_in_use(stage: Stage) -> Iterator[tuple[Path | None, int]]:
    """Give a segment that a worker writes, and its pid; the worker stands still meanwhile."""
    pid = _worker(stage)
    if not pid or not strike(pid, signal.SIGSTOP):
        yield None, 0
        return
    try:
        stage.wait(lambda: state_of(pid) == "T", _SOON)
        own = _segments_of(stage, pid)
        yield (own[-1] if own else None), pid
    finally:
        strike(pid, signal.SIGCONT)


def _segments_of(stage: Stage, pid: int) -> list[Path]:
    found = []
    for name in stage.queue.segments():
        match = _PID_IN_NAME.search(name)
        if match is not None and int(match[1]) == pid and name != released_name(name):
            found.append(Path(stage.queue.journal, name))
    return found


def _wait_until_it_goes_on(stage: Stage, pid: int, path: Path) -> None:
    """Wait until a writer has noticed and goes on in another segment, or is dead."""
    if not stage.wait(lambda: not is_alive(pid) or set(_segments_of(stage, pid)) - {path}, _SOON):
        stage.tally.problems.append(
            f"process {pid} still writes segment {path.name}, {_SOON:g} s after a hand was on it"
        )


def _ids_in(path: Path, beyond: int = HEADER_SIZE) -> list[str]:
    """Return the ids of the events in a segment that end beyond a byte."""
    data = path.read_bytes()
    header = decode_header(data[:HEADER_SIZE])
    if header is None:
        return []
    return [_id(record) for _, end, record, _ in frames(data, header.marker, HEADER_SIZE) if end > beyond]


def _mark_struck(stage: Stage, ids: Sequence[str], name: str) -> None:
    stage.counts_are_exact = False
    stage.struck.update(dict.fromkeys(ids, name))


def _id(record: bytes) -> str:
    try:
        return decode_record(record).idempotency_id
    except RecordError:
        return ""
