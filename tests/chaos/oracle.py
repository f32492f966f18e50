"""The oracle: what the writers wrote down, against where the events are now. Pure; not the queue's own bookkeeping."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from lotus_durable.queue.stats import QueueStats
from tests.servers.apps.ledger import Entries

from .server import Served

CUT = "segment cut off"
"""The strike that destroys what has to be counted and told: by the writer, which looks some moments later; or, where it
has written on behind the cut by then, by the flusher, which finds damage."""
BOOKS = "books removed, flusher killed"
"""The strike that destroys what the next flusher has to tell."""
RESTORED = "older books restored"
"""The strike that destroys what was refused since they were copied."""
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Kill:
    """A flusher was killed."""

    at: float
    """Monotonic."""
    is_plain: bool
    """Server and disk were well, and nobody struck at a flusher again before the next one had delivered."""
    was_starting: bool = False
    """It did not flush yet: the next start may be put off, for a second or more."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was found at the end, when no process lived any more and the queue was drained."""

    entries: Entries
    database: Collection[str]
    """Ids that the server holds in the end: what it answered is not asked."""
    received: Mapping[str, int]
    """How often it accepted each id."""
    parked: Collection[str]
    dead: Collection[str]
    pending: Collection[str]
    given_up: Collection[str]
    """Dead letters of events that the server would take, now or some day."""
    counts: Sequence[QueueStats]
    """The six numbers of each queue directory there has been."""
    struck: Mapping[str, str]
    """By id: which strike may have destroyed it, and with it the only place where it was."""
    cut: Mapping[str, Collection[str]] = field(default_factory=dict)
    """By segment: the events that were cut off."""
    told: Mapping[str, int] = field(default_factory=dict)
    """By segment: how many destroyed events its writer has told of, at the most."""
    damage: Sequence[Mapping[str, int]] = ()
    """By segment: how many dead letters say that it was damaged; in each queue directory, and in books that are gone.
    """
    books_gone: Sequence[tuple[Collection[str], bool]] = ()
    """For each time that books were destroyed, the events in them, and whether a flusher has said so afterwards."""
    served: Sequence[Served] = ()
    one_at_a_time: bool = False
    """Whether the server loses events to a second request."""
    kills: Sequence[Kill] = ()
    not_drained: Sequence[str] = ()
    counts_are_exact: bool = True
    """Nothing was destroyed, moved away or counted anew: each accepted event is in one place."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What became of the events."""

    attempted: int
    acknowledged: int
    found: int
    in_database: int
    lost: tuple[str, ...]
    """Acknowledged, and found nowhere."""
    destroyed: Mapping[str, int] = field(default_factory=dict)
    """Acknowledged, found nowhere, and a strike had destroyed what held them; by strike."""
    never_tracked: int = 0
    lost_from_memory: int = 0
    """Events that a process held in memory, because the disk took nothing, when it was killed: the documented limit."""
    sent_again: int = 0
    most_at_once: int = 0
    takeovers: Sequence[float] = ()
    """Seconds from a plain kill to the next delivery; sorted."""
    takeovers_of_starting: Sequence[float] = ()
    """The same, of flushers that did not flush yet."""
    problems: tuple[str, ...] = ()
    """Everything that is not as promised, a sentence each."""


def compare(evidence: Evidence) -> Comparison:
    """Compare."""
    entries = evidence.entries
    settled = {*evidence.database, *evidence.parked, *evidence.dead}
    found = settled | set(evidence.pending)
    missing = entries.missing_in(found)
    lost = tuple(sorted(missing - evidence.struck.keys()))
    destroyed: dict[str, int] = {}
    for each in missing & evidence.struck.keys():
        destroyed[evidence.struck[each]] = destroyed.get(evidence.struck[each], 0) + 1
    never_tracked = entries.never_tracked_in(found)
    takeovers, without = takeover_times([kill for kill in evidence.kills if not kill.was_starting], evidence.served)
    starting, without_starting = takeover_times([kill for kill in evidence.kills if kill.was_starting], evidence.served)
    without += without_starting
    at_once = most_at_once(evidence.served)
    return Comparison(
        attempted=len(entries.intended) + entries.left_to_library,
        acknowledged=len(set(entries.returned)),
        found=len(found),
        in_database=len(evidence.database),
        lost=lost,
        destroyed=destroyed,
        never_tracked=never_tracked,
        lost_from_memory=len(entries.kept - found - set(entries.returned)),
        sent_again=sum(evidence.received.values()) - len(evidence.received),
        most_at_once=at_once,
        takeovers=takeovers,
        takeovers_of_starting=starting,
        problems=(
            *([f"{len(lost)} acknowledged events are LOST: {_some(lost)}"] if lost else ()),
            *([f"{never_tracked} events were found that nobody tracked"] if never_tracked else ()),
            *(
                [f"{at_once} requests at once, where one loses the other's events"]
                * (evidence.one_at_a_time and at_once > 1)
            ),
            *([f"after {without} kills of a flusher nothing was delivered any more"] if without else ()),
            *_gone_in_silence(missing, evidence),
            *_cut_in_silence(missing, evidence),
            *_damage_made_up(evidence),
            *_collided(entries),
            *_twice(evidence),
            *_given_up(evidence),
            *_not_settled(evidence, settled),
            *_miscounted(evidence, len(found)),
        ),
    )


def most_at_once(served: Sequence[Served]) -> int:
    """Return how many requests the server worked on at once, at the most."""
    changes = sorted(change for each in served for change in ((each.began, 1), (each.ended, -1)))
    now = most = 0
    for _, change in changes:
        now += change
        most = max(most, now)
    return most


def takeover_times(kills: Sequence[Kill], served: Sequence[Served]) -> tuple[list[float], int]:
    """Return how long it was from each plain kill to the next delivery, sorted; and how many had none.

    What comes over a connection that was there before may be what the killed one had sent.
    """
    times, without = [], 0
    order = sorted(served, key=lambda each: each.began)
    for kill in kills:
        if not kill.is_plain:
            continue
        known = {each.connection for each in order if each.began < kill.at}
        after = (each for each in order if each.began > kill.at and each.connection not in known and each.is_delivery)
        first = next(after, None)
        if first is None:
            without += 1
        else:
            times.append(first.ended - kill.at)
    return sorted(times), without


def _gone_in_silence(missing: Collection[str], evidence: Evidence) -> list[str]:
    return [
        f"{gone} events were in books that are gone, and nobody said so"
        for ids, is_told in evidence.books_gone
        if (gone := _destroyed_by(BOOKS, ids, missing, evidence)) and not is_told
    ]


def _destroyed_by(strike: str, ids: Collection[str], missing: Collection[str], evidence: Evidence) -> int:
    return sum(evidence.struck.get(each) == strike for each in ids if each in missing)


def _cut_in_silence(missing: Collection[str], evidence: Evidence) -> list[str]:
    problems = []
    for segment, ids in sorted(evidence.cut.items()):
        gone = _destroyed_by(CUT, ids, missing, evidence)
        # Copies of a queue have the same dead letters.
        told = evidence.told.get(segment, 0) + max((each.get(segment, 0) for each in evidence.damage), default=0)
        if gone > told:
            problems.append(f"{gone} events of segment {segment} were destroyed, and {told} are counted at the most")
    return problems


def _damage_made_up(evidence: Evidence) -> list[str]:
    """Each dead letter of damage is an event that a strike destroyed."""
    return [
        f"{letters} dead letters are of damage in {segment}, of which {cut} events were cut off"
        for each in evidence.damage
        for segment, letters in sorted(each.items())
        if letters > (cut := len(evidence.cut.get(segment, ())))
    ]


def _collided(entries: Entries) -> list[str]:
    collided = sorted(entries.collided())
    return [f"{len(collided)} ids were returned by more than one call: {_some(collided)}"] if collided else []


def _twice(evidence: Evidence) -> list[str]:
    twice = sorted(set(evidence.parked) & set(evidence.dead))
    return [f"{len(twice)} events are parked and dead letters: {_some(twice)}"] if twice else []


def _given_up(evidence: Evidence) -> list[str]:
    given_up = sorted(evidence.given_up)
    return [f"{len(given_up)} events were given up that the server would take: {_some(given_up)}"] * bool(given_up)


def _not_settled(evidence: Evidence, settled: Collection[str]) -> list[str]:
    problems = [f"the queue could not be drained: {each}" for each in evidence.not_drained]
    left = sorted(set(evidence.pending) - set(settled))
    if left or any(counts.pending for counts in evidence.counts):
        problems.append(f"{len(left)} events are still pending after the drain: {_some(left)}; {evidence.counts}")
    return problems


def _miscounted(evidence: Evidence, found: int) -> list[str]:
    problems = [f"conservation does not hold: {counts}" for counts in evidence.counts if gap(counts)]
    problems += [f"{counts.discarded} events were discarded unasked" for counts in evidence.counts if counts.discarded]
    accepted = sum(counts.accepted for counts in evidence.counts)
    if evidence.counts_are_exact:
        # Every frame was one event with an id of its own, so this is exact, whoever was killed when.
        if accepted != found:
            problems.append(f"the queue says that it accepted {accepted} events, and {found} are found")
        stores = (("parked", evidence.parked), ("dead_lettered", evidence.dead))
        for name, ids in stores:
            said = sum(getattr(counts, name) for counts in evidence.counts)
            if said != len(ids):
                problems.append(f"the queue says that {said} events are {name}, and {len(ids)} are found")
    return problems


def gap(counts: QueueStats) -> int:
    """Return how many events are missing from the books, or (below 0) are there twice; 0 by the promise."""
    gone = counts.delivered + counts.handed_over + counts.parked + counts.dead_lettered + counts.discarded
    return counts.accepted - counts.pending - gone


def _some(ids: Sequence[str]) -> str:
    return ", ".join(ids[:_SHOWN]) + (", …" if len(ids) > _SHOWN else "")
