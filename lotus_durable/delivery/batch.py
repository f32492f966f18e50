"""Events that travel together."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from lotus_durable.queue.identity import NO_KEY
from lotus_durable.queue.protocol import Position, StoredEvent
from lotus_durable.queue.reader import Chunk

_AT_ONCE = 50
"""Events that are encoded together, and after which whoever waits for this processor has it: 0.1 ms. Linux would take
it away after some milliseconds, and a request that tracks would wait for that long."""
_let_others_run = getattr(os, "sched_yield", lambda: None)


@dataclass(slots=True)
class Batch:
    """Events that travel together, as columns, and what must be settled with them."""

    ids: list[str] = field(default_factory=list)
    times: list[str] = field(default_factory=list)
    records: list[bytes] = field(default_factory=list)
    rows: list[StoredEvent] = field(default_factory=list)
    """Of parked events: where they come from. Empty for those that come from the journal."""
    through: dict[str, Position] = field(default_factory=dict)
    """For each source, how far this batch goes."""
    key: bytes = NO_KEY
    """The fingerprint of the API key under which all of them were tracked."""
    unsent: list[StoredEvent] = field(default_factory=list)
    """Events of another key, to be parked: ``queue.db`` is read in order, so they cannot be left where they are."""
    dead: list[StoredEvent] = field(default_factory=list)
    """Events that cannot be sent at all: damaged or unreadable."""
    may_repeat: bool = False
    """The server may have some of them, and nobody knows which."""
    repeats: int = 0
    """Events that are delivered without being sent: the server has taken their ids lately."""
    resolved: list[StoredEvent] = field(default_factory=list)
    """The parked rows that this batch settles: ``rows``, and those that cannot be sent."""
    full: bool = False
    """A limit ended it; there may be more."""
    _events: bytearray = field(default_factory=bytearray)
    """The encoded events, each followed by a comma. One buffer on purpose: with an object for each event the heap grows
    and shrinks with each batch, and the page faults took as long as all of the encoding."""
    _sizes: list[int] = field(default_factory=list)
    """Of each event there, with its comma."""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def size(self) -> int:
        """Bytes of all events, with a comma behind each."""
        return len(self._events)

    def size_of(self, index: int) -> int:
        """Return the bytes of one event, with its comma."""
        return self._sizes[index]

    def extend(self, encoded: Encoded, start: int, stop: int) -> None:
        """Append a range of the events of a chunk."""
        self.ids += encoded.ids[start:stop]
        self.times += encoded.times[start:stop]
        self.records += encoded.chunk.records[start:stop]
        self._events += memoryview(encoded.events)[encoded.end(start - 1) : encoded.end(stop - 1)]
        self._sizes += encoded.sizes[start:stop]

    def body(self) -> bytes:
        """Return the body of the request that sends it, where its events are JSON."""
        return b"".join((b'{"batch":[', memoryview(self._events)[:-1], b"]}"))

    def part(self, indices: Sequence[int]) -> Batch:
        """Return a batch of some of the events, for sending; it settles nothing by itself."""
        ends = [0, *accumulate(self._sizes)]
        return Batch(
            [self.ids[index] for index in indices],
            [self.times[index] for index in indices],
            [self.records[index] for index in indices],
            _events=bytearray().join(self._events[ends[index] : ends[index + 1]] for index in indices),
            _sizes=[self._sizes[index] for index in indices],
        )


Encode = Callable[[Sequence[bytes]], tuple[Sequence[str], Sequence[str], Sequence[bytes]]]
"""What :meth:`.Place.encode` is."""


class Encoded:
    """A chunk that was read, with its events as they travel.

    Attributes:
        index: of the first record that no batch has taken.
        events: each followed by a comma.
        sizes: of each event there, with its comma; 1 for a record that cannot be sent, and
        failed: why not, by its index.
    """

    __slots__ = ("_encode", "_ends", "chunk", "events", "failed", "ids", "index", "sizes", "times")

    def __init__(self, chunk: Chunk, encode: Encode) -> None:
        self.chunk = chunk
        self.index = 0
        self.failed: dict[int, str] = {}
        self.ids: list[str] = []
        self.times: list[str] = []
        self.events = bytearray()  # one buffer, as in a batch
        self.sizes: list[int] = []
        self._encode = encode
        for start in range(0, len(chunk.records), _AT_ONCE):
            _let_others_run()
            records = chunk.records[start : start + _AT_ONCE]
            try:
                self._add(records)
            except ValueError:
                for number, record in enumerate(records, start):
                    self._add_single(number, record)
        self._ends = [*accumulate(self.sizes)]

    def _add(self, records: Sequence[bytes]) -> None:
        ids, times, events = self._encode(records)
        self.ids += ids
        self.times += times
        self.events += b",".join(events)
        self.events += b","
        self.sizes += [len(event) + 1 for event in events]

    def _add_single(self, number: int, record: bytes) -> None:
        try:
            self._add((record,))
        except ValueError as error:
            self.failed[number] = str(error)
            self.ids.append("")
            self.times.append("")
            self.events += b","
            self.sizes.append(1)

    @property
    def left(self) -> int:
        """How many records no batch has taken."""
        return len(self.chunk.records) - self.index

    @property
    def size_left(self) -> int:
        """Bytes of the events that no batch has taken."""
        return len(self.events) - self.end(self.index - 1)

    def end(self, index: int) -> int:
        """Return where an event ends among ``events``, after its comma; of the one before the first, 0."""
        return self._ends[index] if index >= 0 else 0

    def fitting(self, start: int, size: int) -> int:
        """Return the index of the first event from ``start`` on that has no room in so many bytes."""
        return bisect_right(self._ends, self.end(start - 1) + size, start)
