"""The oracle: what the workers wrote down, against where the events are now. Pure; not the queue's own bookkeeping."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from tests.servers.apps.ledger import Entries

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Books:
    """The six numbers that the queue says about itself."""

    accepted: int
    delivered: int
    pending: int
    parked: int
    dead_lettered: int
    discarded: int

    @property
    def gap(self) -> int:
        """How many events are missing from the books, or (below 0) are there twice; 0 by the promise."""
        found = self.delivered + self.pending + self.parked + self.dead_lettered + self.discarded
        return self.accepted - found


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was found at the end, when no process lived any more and the queue was drained."""

    entries: Entries
    at_server: Mapping[str, int]
    """How often each id was received."""
    parked: Collection[str]
    dead: Collection[str]
    pending: Collection[str]
    """Ids that are still in the queue."""
    books: Books
    not_drained: str | None
    """Why the drain was not complete; None when it was."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What became of the events."""

    attempted: int
    acknowledged: int
    """Calls that returned, with the event on disk."""
    found: int
    lost: tuple[str, ...]
    """Acknowledged, and found nowhere."""
    never_tracked: int
    """Found, and no call can have made them."""
    lost_from_memory: int
    """Events that a process held in memory, because the disk took nothing, when it was killed: the documented limit."""
    sent_again: int
    """How many events the server dropped as duplicates."""
    problems: tuple[str, ...]
    """Everything that is not as promised, a sentence each."""


def judge(evidence: Evidence) -> Judgement:
    """Compare."""
    entries = evidence.entries
    settled = {*evidence.at_server, *evidence.parked, *evidence.dead}
    found = settled | set(evidence.pending)
    lost = tuple(sorted(entries.missing_in(found)))
    never_tracked = entries.never_tracked_in(found)
    return Judgement(
        attempted=len(entries.intended) + entries.left_to_library,
        acknowledged=len(entries.returned),
        found=len(found),
        lost=lost,
        never_tracked=never_tracked,
        lost_from_memory=len(entries.kept - found - set(entries.returned)),
        sent_again=sum(evidence.at_server.values()) - len(evidence.at_server),
        problems=(
            *_lost(lost),
            *_never_tracked(never_tracked),
            *_collided(entries),
            *_not_settled(evidence, settled),
            *_books(evidence.books, len(found)),
        ),
    )


def _lost(lost: Sequence[str]) -> list[str]:
    return [f"{len(lost)} acknowledged events are LOST: {_some(lost)}"] if lost else []


def _never_tracked(count: int) -> list[str]:
    return [f"{count} events were found that nobody tracked"] if count else []


def _collided(entries: Entries) -> list[str]:
    collided = sorted(entries.collided())
    return [f"{len(collided)} ids were returned by more than one call: {_some(collided)}"] if collided else []


def _not_settled(evidence: Evidence, settled: Collection[str]) -> list[str]:
    problems = []
    left = sorted(set(evidence.pending) - set(settled))
    if evidence.not_drained is not None:
        problems.append(f"the queue could not be drained: {evidence.not_drained}")
    if left or evidence.books.pending:
        problems.append(f"{evidence.books.pending} events are still pending after the drain: {_some(left)}")
    return problems


def _books(books: Books, found: int) -> list[str]:
    problems = []
    if books.gap:
        problems.append(f"conservation does not hold: {books.gap} events are missing from the books: {books}")
    # Every frame was one event with an id of its own, so this is exact, whoever was killed when.
    if books.accepted != found:
        problems.append(f"the queue says that it accepted {books.accepted} events, and {found} are found")
    if books.discarded:
        problems.append(f"{books.discarded} events were discarded, and nobody asked for that")
    return problems


def _some(ids: Sequence[str]) -> str:
    return ", ".join(ids[:_SHOWN]) + (", …" if len(ids) > _SHOWN else "")
