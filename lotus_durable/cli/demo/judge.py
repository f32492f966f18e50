"""The judgement: from the workers' records and the server's list to what was lost. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from lotus_durable.queue.stats import QueueStats

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was found at the end. Events are named by their idempotency ids."""

    expected: int
    """How many events were to be tracked."""
    accepted: Sequence[str]
    """Recorded by the workers, each after ``track_event`` had returned."""
    received: Mapping[str, int]
    """Stored by the server, and how often each came."""
    parked: Sequence[str]
    dead: Sequence[str]
    pending: Sequence[str]
    """Still in the journal."""
    kills: int
    """SIGKILLs of workers. Each may have struck between the return of ``track_event`` and the record."""
    missing_takeovers: int
    """Kills of a leader after which nobody took over."""
    not_drained: str | None
    """Why the drain was not complete; None when it was."""
    books: QueueStats
    """What the queue says about itself; only compared."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What became of the accepted events."""

    accepted: int
    delivered: int
    """Found at the server."""
    parked: int
    dead_lettered: int
    pending: int
    """Not at the server, and still in the queue."""
    lost: tuple[str, ...]
    """Found nowhere."""
    duplicates: int
    """How many events the server got once more and dropped."""
    unrecorded: int
    """Events that were accepted (and kept) though their worker was killed before it could write that down."""
    problems: tuple[str, ...]
    """Everything that is not as promised, a sentence each."""

    @property
    def is_good(self) -> bool:
        """Whether nothing was lost, and all of it could be shown."""
        return not self.problems


def judge(evidence: Evidence) -> Judgement:
    """Compare what was accepted with what is found."""
    accepted = set(evidence.accepted)
    received, parked, dead = set(evidence.received), set(evidence.parked), set(evidence.dead)
    pending = set(evidence.pending) - received
    found = received | parked | dead | pending
    lost = tuple(sorted(accepted - found))
    unrecorded = found - accepted
    return Judgement(
        accepted=len(accepted),
        delivered=len(accepted & received),
        parked=len(accepted & parked),
        dead_lettered=len(accepted & dead),
        pending=len(accepted & pending),
        lost=lost,
        duplicates=sum(times - 1 for times in evidence.received.values()),
        unrecorded=len(unrecorded),
        problems=(
            *_lost(lost),
            *_not_drained(evidence, pending),
            *_accepted_wrongly(evidence, accepted, unrecorded),
            *_in_two_places(received, parked, dead),
            *_nobody_led(evidence),
            *_books_disagree(evidence),
        ),
    )


def _lost(lost: Sequence[str]) -> list[str]:
    return [f"{len(lost)} accepted events are LOST: {_some(lost)}"] if lost else []


def _not_drained(evidence: Evidence, pending: Collection[str]) -> list[str]:
    if evidence.not_drained is None and not pending:
        return []
    return [f"{len(pending)} events are still in the queue: {evidence.not_drained or 'the drain did not see them'}"]


def _accepted_wrongly(evidence: Evidence, accepted: Collection[str], unrecorded: Collection[str]) -> list[str]:
    problems = []
    if len(evidence.accepted) != len(accepted):
        problems.append(f"{len(evidence.accepted) - len(accepted)} ids were given to two events")
    if len(evidence.accepted) < evidence.expected:
        problems.append(f"only {len(evidence.accepted)} of {evidence.expected} events were tracked in time")
    if len(unrecorded) > evidence.kills:
        problems.append(
            f"{len(unrecorded)} events were found that no worker recorded, more than {evidence.kills} kills explain: "
            + _some(sorted(unrecorded))
        )
    return problems


def _in_two_places(received: set[str], parked: set[str], dead: set[str]) -> list[str]:
    twice = (received & parked) | (received & dead) | (parked & dead)
    return [f"{len(twice)} events are in two places: {_some(sorted(twice))}"] if twice else []


def _nobody_led(evidence: Evidence) -> list[str]:
    missing = evidence.missing_takeovers
    return [f"{missing} times nobody took over from a leader that was killed"] if missing else []


def _books_disagree(evidence: Evidence) -> list[str]:
    books = evidence.books
    settled = books.delivered + books.parked + books.dead_lettered + books.discarded
    problems = []
    if books.accepted != settled + books.pending:
        problems.append(
            f"the queue's books do not balance: accepted {books.accepted}, settled {settled}, pending {books.pending}"
        )
    if evidence.not_drained is None:
        figures = (books.delivered, books.parked, books.dead_lettered)
        facts = (len(evidence.received), len(evidence.parked), len(evidence.dead))
        if figures != facts:
            problems.append(f"the queue's books say delivered, parked, dead-lettered {figures}, but there are {facts}")
    return problems


def _some(ids: Sequence[str]) -> str:
    return ", ".join(ids[:_SHOWN]) + (", …" if len(ids) > _SHOWN else "")
