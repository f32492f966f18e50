"""What can become of a batch, and of each event in it."""

from __future__ import annotations

from typing import TypeAlias

from lotus_durable.values import NamedTuple


class Delivered(NamedTuple):
    """The server has this event, or had it before."""


class HandedOver(NamedTuple):
    """A broker has confirmed this event; the server does not have it yet."""


class Parked(NamedTuple):
    """Refused for now: try again slowly, out of the way of other events."""

    reason: str
    unlisted: bool = False
    """The reason is none we know: warn."""
    unproven: bool = False
    """It is not Lotus' word about this event: the request with it came to nothing while an empty one passed. One bad
    node of two looks like this, so the event is not given up before others were delivered between its tries."""
    is_ahead: bool = False
    """Its time will come: it is never given up."""


class Dead(NamedTuple):
    """Refused for good."""

    reason: str


class Retry(NamedTuple):
    """Not accepted, and not this event's fault: send it again, after a backoff."""

    reason: str


class Failing(NamedTuple):
    """The server fails on this one event while it serves others: park it, and count its attempts.

    Those between which others were delivered count; after many of them, and a day, it is a dead letter.
    """

    reason: str


Verdict: TypeAlias = Delivered | HandedOver | Parked | Dead | Retry | Failing


class Settled(NamedTuple):
    """Each event has its verdict."""

    verdicts: tuple[Verdict, ...]
    """In the order of the ids that were sent."""


class Split(NamedTuple):
    """Nothing was accepted, or we cannot tell what: send the halves, one after the other. Never for a single event."""

    reason: str


class RetryBatch(NamedTuple):
    """The outcome is unknown: send the same ids again, after a backoff."""

    reason: str
    retry_after: float | None = None
    """Seconds the server asked us to wait."""
    after_timeout: bool = False
    """The server may still be working on the request: leave it several seconds."""
    suspect: bool = False
    """A 500: when it comes back for this batch while a probe passes, something in the batch causes it."""
    needs_person: bool = False
    """A person has to mend it, most likely: who waits for it to be over is told so at once."""


class Blocked(NamedTuple):
    """Nothing can be sent: hold everything, probe at the slow pace, and tell."""

    reason: str
    """One sentence for an operator: what is wrong and what to do."""
    by_key: bool = False
    """It is the API key: a process with another one may do better."""
    like_probe: bool = False
    """It is what an empty batch is answered: if another batch gets it, the server has not seen the events in it."""


Outcome: TypeAlias = Settled | Split | RetryBatch | Blocked
