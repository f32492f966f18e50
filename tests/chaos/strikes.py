"""Everything that is done to a queue: a function for each, drawn at random. Each returns whether it struck anything."""

from __future__ import annotations

import random
import re
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

from .hands import (
    cut_segment,
    delete_locks,
    delete_segment,
    remove_books,
    remove_delivered,
    remove_rows,
    rename_segment,
)
from .harness import Harness
from .operators import clone, mount_over, move_directory, move_journal, restore, swap_directory
from .oracle import CUT
from .plan import Plan
from .points import IN_FLUSHERS, POINTS
from .processes import is_alive, strike
from .world import TROUBLES, fill_disk, set_clock, trouble
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


@dataclass(frozen=True, slots=True)
class Strike:
    """One kind."""

    about: str
    do: Callable[[Harness], bool]
    weight: int = 1
    """How many of the deck's cards are of this kind."""


def kill_flusher(harness: Harness) -> bool:
    pid = harness.flusher()
    at = time.monotonic()
    if not pid or not harness.kill(pid):
        return False
    harness.flusher_killed(at, in_haste=harness.chance.random() < 0.3)
    return True


def kill_starting_flusher(harness: Harness) -> bool:
    pid = harness.flusher()
    if not pid or not harness.kill(pid):
        return False
    harness.flusher_killed(time.monotonic(), in_haste=True)
    harness.wait(harness.processes.flushers, _SOON)
    time.sleep(harness.chance.uniform(0.0, 0.2))
    killed = [each for each in harness.processes.flushers() if harness.kill(each)]
    if killed:
        harness.flusher_killed(time.monotonic(), in_haste=False, was_starting=True)
    return bool(killed)


def stop_flusher(harness: Harness) -> bool:
    """For a moment: whoever looks must let it be."""
    pid = harness.flusher()
    if not pid or not harness.processes.stop_for(pid, seconds := harness.chance.uniform(0.1, 1.0)):
        return False
    harness.pass_(seconds + 0.1)
    return True


def stop_flusher_for_good(harness: Harness) -> bool:
    """Whoever looks must end it, and it sends nothing more when it is continued."""
    pid = harness.flusher()
    if not pid or not strike(pid, signal.SIGSTOP):
        return False
    try:
        if not harness.wait(lambda: not is_alive(pid) or harness.processes.flusher() not in (0, pid), _HUNG):
            harness.tally.problems.append(f"a stopped flusher was not ended within {_HUNG:g} s: {harness.where()}")
    finally:
        strike(pid, signal.SIGCONT)
    return True


def end_flusher(harness: Harness) -> bool:
    pid = harness.flusher()
    return bool(pid) and strike(pid, signal.SIGTERM)


def kill_worker(harness: Harness) -> bool:
    return harness.kill(harness.worker())


def stop_worker(harness: Harness) -> bool:
    return harness.processes.stop_for(harness.worker(), harness.chance.uniform(0.2, 1.5))


def end_worker(harness: Harness) -> bool:
    return strike(harness.worker(), signal.SIGTERM)


def kill_short(harness: Harness) -> bool:
    return harness.wait(lambda: any(harness.kill(pid) for pid in harness.processes.shorts()), _SOON)


def close_descriptors(harness: Harness) -> bool:
    return strike(harness.worker(), CLOSE_ALL)


def deploy(harness: Harness) -> bool:
    harness.tally.problems += harness.processes.deploy()
    return harness.wait(harness.processes.workers, _PATIENCE)


def kill_at(name: str, harness: Harness) -> bool:
    """Have a process killed at a named point; some are only reached when something else is done as well."""
    before = harness.arms.hits()
    harness.arms.arm(name)
    if name in _AT_A_START:
        kill_flusher_in_haste(harness)
    elif name == "lock released":
        harness.set_mode("silent")
    elif name == "carried over, not sealed":
        delete_segment(harness)
    is_hit = harness.wait(lambda: len(harness.arms.hits()) > len(before), _PATIENCE)
    at = time.monotonic()
    harness.set_mode("full")
    harness.arms.disarm(name)
    if is_hit:
        harness.tally.kills += 1
        if name in IN_FLUSHERS:
            is_start = name in _AT_A_START
            harness.flusher_killed(at, in_haste=harness.chance.random() < 0.3, was_starting=is_start)
    return is_hit


def kill_flusher_in_haste(harness: Harness) -> None:
    pid = harness.flusher()
    if pid and harness.kill(pid):
        harness.flusher_killed(time.monotonic(), in_haste=True)


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
    "directory moved": Strike("the queue directory or its parent is renamed, and back within 1.5 s", move_directory),
    "directory swapped": Strike("it is exchanged with an empty one, and back within 1.5 s", swap_directory),
    "journal swapped": Strike("so is the journal alone; what was written elsewhere is moved back", move_journal),
    "mounted over": Strike("another folder is mounted over it, for up to 1.5 s", mount_over),
    "restored": Strike("books, journal or both become what they were a second ago", restore),
    "cloned": Strike("all of it is copied while in use; the copy is drained at the end", clone),
    "clock set": Strike("an hour, a day or 400 days off, either way, for up to 3 s", set_clock),
    "deployed": Strike("all that track end, and begin again with another release, or the former one", deploy),
    "books removed": Strike("books.db is unlinked while open; 3 in 10 times the flusher is killed too", remove_books),
    "rows removed": Strike("queue.db is unlinked while open", remove_rows),
    "delivered ids removed": Strike("or they become what they were a second ago", remove_delivered),
    **{f"at: {name}": Strike(f"SIGKILL: {about}", partial(kill_at, name)) for name, about in POINTS.items()},
}
UNTIDY = (
    CUT,
    "segment deleted",
    "directory moved",
    "directory swapped",
    "journal swapped",
    "mounted over",
    "restored",
    "cloned",
    "books removed",
    "rows removed",
    "at: carried over, not sealed",
)
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
