"""The two ends of the flusher's loop: a source that events come from, and a place to send them to.

The loop (:mod:`.loop`) makes batches of what the source reads, has the place deliver each, and has the source settle
what became of it. What a position is only the source knows. Lock, heartbeat, requests and the books are outside of
both ends: the place hears and tells what lies between two requests through its :class:`~.control.Control`.

On most hosts the source is the queue on disk, and the place is Lotus over HTTP (:class:`~.lotus.Lotus`). With a relay
a host's place is a broker, and the relay's source is that broker's queue (:mod:`lotus_durable.relay`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, TypeAlias

from lotus_durable.config import Config
from lotus_durable.queue.consumer import Consumer
from lotus_durable.values import NamedTuple

from .batch import Batch
from .control import Control
from .outcome import Verdict


class Place(Protocol):
    """Somewhere to send to. For one thread, one batch after the other; several are used in turn.

    Attributes:
        max_events: that one batch may hold here, and
        max_bytes: what :meth:`encode` returns for them together.
        takes_repeats: an id that it has taken lately may come again; else it must not, and is settled without.
    """

    max_events: int
    max_bytes: int
    takes_repeats: bool

    def encode(self, records: Sequence[bytes]) -> tuple[Sequence[str], Sequence[str], Sequence[bytes]]:
        """Return of one record or more ``(ids, times, events)``: the last ones as they travel.

        The first two are empty texts where the place asks for neither; then a batch may hold the same id twice.

        Raises:
            ValueError: one of them can never be sent; the message says why and quotes no value.
        """

    def deliver(self, batch: Batch) -> Generator[None, None, Sequence[Verdict]]:
        """Return the verdict of each event, in their order: retries, waits and finds out until all have one.

        It yields when it has sent something and would wait for the answer. Whoever takes its steps does something else
        before the next one, which then waits: reads on, or has other places send. So one thread does it all, and what
        is in flight needs no thread of its own, which could not be started, or be left behind.

        Raises:
            Stopped: before all have one; Renewed (a Stopped) where those without one are to be read again.
        """

    def may_be_in_flight(self, since: float) -> None:
        """Take it that somebody else's request with such events began then, seconds since boot, and may not be over."""

    def close(self) -> None: ...


Source: TypeAlias = Consumer
"""Where events come from, and what became of them goes to: the queue on disk, or what has the same methods."""


class Way(NamedTuple):
    """A destination that is open."""

    places: Sequence[Place]
    """All the same one, as many as batches may be on their way at once."""
    may_send: Callable[[bytes], bool]
    """Whether events that were tracked under the API key with this fingerprint may go there."""
    source: Source | None = None
    """What is sent there, where that is not the queue itself."""


class Destination(Protocol):
    """What a flusher opens a place by, each time that it begins anew."""

    def opened(self, config: Config, source: Source, control: Control) -> AbstractContextManager[Way]:
        """Wait until events may be sent there, and open it; close it at the end.

        Raises:
            Stopped: it is time to end.
        """
