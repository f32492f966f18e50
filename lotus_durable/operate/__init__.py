"""What operators do to a queue, as calls: look at events, put them back, purge, check, repair, export, import.

The commands and the adapters for frameworks are thin above it. Looking takes no lock and changes nothing. What changes
the queue does so in one way, :mod:`.holding`: it has the flusher's lock meanwhile.

Of all of them: ``config`` and ``directory`` name the queue, which may be in use. ``report`` is told of what cannot be
read, and nothing raises for it; ``watch`` is told how much is done; ``waiting`` is for a flusher in the middle of a
request. Each may raise ``OSError`` (the disk refuses; what was done before is done) and ``QueueDamaged`` (a later
version made the queue), and what changes the queue ``QueueInUse`` (the flusher does not let go of it).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator
from typing import Literal, NoReturn, TypeAlias, TypedDict

from lotus_durable.errors import LotusError
from lotus_durable.values import NamedTuple


class Waiting(NamedTuple):
    """How a change waits for a flusher that is in the middle of a request."""

    seconds: float = 60.0
    """At the most: a request is over by then, but where the server hangs."""
    tell: Callable[[str], None] = lambda _: None
    """Told, once, who is waited for."""


WAITING = Waiting()

Watch: TypeAlias = Callable[[int], None]
"""Told how much is done."""


def unwatched(_: int) -> None:
    """Be told how much is done, and tell nobody."""


@contextlib.contextmanager
def named(path: str) -> Iterator[None]:
    """Have an error of the disk name this file, or it is taken for the queue's disk, or names one that nobody knows."""
    try:
        yield
    except OSError as error:
        raise type(error)(error.errno, error.strerror, path) from None


def refuse(error: LotusError) -> NoReturn:
    """Be told of what cannot be read, and raise it: what is counted without it would be less than there is."""
    raise error


class Given(TypedDict, total=False):
    """The filter, as arguments."""

    reason: str
    customer_id: str
    event_name: str
    older_than: float
    newer_than: float
    ids: Collection[str]


class Where(NamedTuple):
    """Which events are meant: those to which all of it applies; all events if nothing is given.

    What is given and empty takes none, so that a variable that nobody has set does not mean everything. An event that
    cannot be read has only a reason, and its customer's id where that is found in its bytes.
    """

    reason: str | None = None
    """A part of why it was refused, in any case of letters."""
    customer_id: str | None = None
    event_name: str | None = None
    older_than: float | None = None
    """Seconds since it was accepted, at least."""
    newer_than: float | None = None
    """Seconds since it was accepted, at most."""
    ids: Collection[str] | None = None
    """Idempotency ids."""
    up_to: int | None = None
    """The last row of the books that is meant; what was refused later is not."""


ANY = Where()

Mark: TypeAlias = Literal["ok", "warning", "wrong"]


class Answer(NamedTuple):
    """What was found about one thing."""

    about: str
    mark: Mark
    text: str
    """What is; never the key."""
    remedy: str = ""
    """What to do."""
