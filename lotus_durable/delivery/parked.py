"""Retrying parked events: slowly, after new events, and one event for all that wait for the same thing.

Most wait for a customer to be created. So of a customer's parked events only the first is tried. When the server knows
the customer (or says something else about that event) the others are tried too. An event that is parked for another
reason is tried by itself. Between two tries there is a minute at first, later an hour.

A *sweep* goes through all parked events, page by page. It notes which customers it has met in a table of bits, so its
memory does not grow with their number. Two customers may share a bit; then the second one waits for the next sweep,
which assigns the bits differently. All times are those of the queue's own clock.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import inf

from lotus_durable.clock import monotonic
from lotus_durable.config import Constants
from lotus_durable.event.record import RecordError, unpack_record
from lotus_durable.queue.protocol import StoredEvent
from lotus_durable.values import NamedTuple

from .place import Source
from .verdict import UNKNOWN_CUSTOMER

_PAGE = 100
"""Rows that are read at once: one may have 32 KB."""
_PAGES_AT_ONCE = 50
_ROWS_OF_A_PAGE = 8
"""Rows of the books that lie in one page of the disk, at the least where they are small."""
_PAUSE = 0.5
"""Seconds between two requests with parked events while there are new ones."""
_AT_ONCE = 0.25
"""Seconds for which parked events are seen to while there are none."""
_SLOWEST = 60
"""The longest pause between two tries, in first pauses."""
_LONG = 1.0
"""Seconds from which on it is a long try that finds what the server fails on. The next one is of a single event, and
new ones go before it: hundreds of such events would have them wait for as many seconds, or hours."""
_REST = 4.0
"""After a long one there is none for so many times as long,"""
_LONGEST_REST = 300.0
"""or for so many seconds: it was an outage, perhaps."""
_FIRST = 16
"""Events that are tried at once at first; twice as many after each try that was not long."""
_IDLE_SHARE = 200
"""A sweep comes no sooner than this many times as long as the last one took: half a percent of a processor."""
_BITS = 1 << 23

_Customer = tuple[bytes, object]
"""The fingerprint of an API key, and the id of a customer."""


class Tried(NamedTuple):
    """What a try came to: for rows, by their ids."""

    reasons: Mapping[int, str]
    """Why they were refused; those that are missing were delivered."""
    gone: set[int]
    """Those that are parked no more."""
    is_proven: bool = True
    """What became of each is Lotus' own word."""


class _Rules(NamedTuple):
    """What decides over rows, in every sweep."""

    source: Source
    first_pause: float
    max_age: float
    most: int
    may_send: Callable[[bytes], bool]

    def pause(self, attempts: int) -> float:
        """Return for how long an event is not tried again that was tried so often."""
        return self.first_pause * min(_SLOWEST, 1 << min(max(0, attempts - 1), 30))


class ParkedEvents:
    """Decides when to try which of them, ``most`` at once.

    ``try_again`` sends rows and settles what comes of it; ``give_up`` makes dead letters of rows, unsent: what they
    wait for was given up in another one.
    """

    def __init__(
        self,
        source: Source,
        constants: Constants,
        most: int,
        *,
        may_send: Callable[[bytes], bool],
        try_again: Callable[[Sequence[StoredEvent]], Tried],
        give_up: Callable[[Sequence[StoredEvent]], None],
    ) -> None:
        self._source = source
        self._first_pause = constants.parked_retry_interval
        self._rules = _Rules(source, self._first_pause, constants.parked_max_age, most, may_send)
        self._try_again = try_again
        self._give_up = give_up
        self._sweep: _Sweep | None = None
        self._next_step = self._rests_until = -inf
        self._at_once = min(_FIRST, most)
        self._next_sweep = self._remembered()
        self._not_before = -inf

    def has_parked(self) -> None:
        """Note that something was parked now."""
        self._next_sweep = min(self._next_sweep, self._source.elapsed() + self._first_pause)

    def step(self) -> None:
        """Do one thing that is due, now and then: while there are new events, these are never far behind."""
        if monotonic() >= self._next_step:
            self._next_step = monotonic() + min(_PAUSE, self._first_pause)
            self._go_on()

    def steps(self) -> Iterator[None]:
        """Do what is due, for a moment; yields between two things."""
        ends = monotonic() + _AT_ONCE
        while monotonic() < ends and self._go_on():
            yield

    def try_all(self, through: int) -> Iterator[None]:
        """Do what is to be done where all up to this row are due; yields between two things."""
        self._sweep = None
        sweep = _Sweep(self._rules, through, all_are_due=True)
        while self._is_left(sweep):
            yield

    def _go_on(self) -> bool:
        """Do one thing; return whether there is more to do now."""
        if monotonic() < self._rests_until:
            return False
        now = self._source.elapsed()
        if self._sweep is None and now >= max(self._next_sweep, self._not_before):
            self._sweep = _Sweep(self._rules, self._source.last_parked(), all_are_due=False)
        sweep = self._sweep
        if sweep is None:
            return False
        if self._is_left(sweep):
            return True
        self._sweep = None
        self._not_before = self._source.elapsed() + max(self._first_pause, _IDLE_SHARE * sweep.seconds)
        self._next_sweep = sweep.next_due
        self._source.learn("parked", f"{sweep.through} {sweep.next_due}")
        return False

    def _is_left(self, sweep: _Sweep) -> bool:
        """Do one thing of a sweep, unless it is over."""
        found = sweep.next_rows(self._at_once)
        if found is None:
            return False
        due, late = found
        if due:
            began = monotonic()
            tried = self._try_again(due)
            took = monotonic() - began
            is_long = took >= _LONG and not tried.is_proven
            self._at_once = 1 if is_long else min(2 * self._at_once, self._rules.most)
            self._rests_until = monotonic() + (min(_REST * took, _LONGEST_REST) if is_long else 0.0)
            sweep.learn(due, tried)
        if late:
            self._give_up(late)
        return True

    def _remembered(self) -> float:
        """Return when the next sweep is due, by what the last flusher has noted."""
        try:
            through, due = (self._source.learned("parked") or "").split(" ")
            is_all = int(through) == self._source.last_parked()
            pause = self._first_pause * (_SLOWEST if is_all else 1)
            return min(float(due), self._source.elapsed() + pause)
        except ValueError:
            return -inf


class _Sweep:
    """One way through the rows.

    Attributes:
        through: the last row.
        next_due: when the first of those that were not due will be.
        seconds: that it has taken, of the processor, without the tries.
    """

    def __init__(self, rules: _Rules, through: int, *, all_are_due: bool) -> None:
        self._rules = rules
        self._source = rules.source
        self.through = through
        self._all_are_due = all_are_due
        self.next_due = inf
        self.seconds = 0.0
        self._began = rules.source.elapsed()
        self._position = 0
        self._bits = bytearray(_BITS >> 3)
        self._mix = int.from_bytes(os.urandom(8), "little")
        self._released: set[_Customer] = set()
        self._given_up: set[_Customer] = set()

    def next_rows(self, most: int) -> tuple[list[StoredEvent], list[StoredEvent]] | None:
        """Return rows to try, at most so many, and rows to give up, perhaps none of either; None at the end."""
        began = time.thread_time()
        due: list[StoredEvent] = []
        late: list[StoredEvent] = []
        pages: set[int] = set()
        found: tuple[list[StoredEvent], list[StoredEvent]] | None = due, late
        for number in range(_PAGES_AT_ONCE):
            rows = self._source.page("parked", self._position, _PAGE)
            now = self._source.elapsed()
            for row in rows:
                if row.id > self.through:
                    rows = []
                    break
                if len(due) == most or len(pages) >= self._source.rows_at_once:
                    break
                self._position = row.id
                chosen = self._choose(row, now)
                if chosen is not None:
                    (due if chosen else late).append(row)
                    pages.add(row.id // _ROWS_OF_A_PAGE)
            if not rows and not number:
                found = None
            if not rows or len(due) == most or len(pages) >= self._source.rows_at_once:
                break
        self.seconds += time.thread_time() - began
        return found

    def learn(self, rows: Sequence[StoredEvent], tried: Tried) -> None:
        """Take note of what became of rows, and go back to the first whose customer's others are to be seen to now."""
        stay = tried.reasons.keys() - tried.gone
        for row in rows:
            if row.id in stay:
                self.next_due = min(self.next_due, self._source.elapsed() + self._rules.pause(row.attempts + 1))
            customer = _customer(row)
            if customer is None:
                continue
            if tried.reasons.get(row.id) != UNKNOWN_CUSTOMER:
                decided = self._released
            elif row.id in tried.gone:
                decided = self._given_up
            else:
                self._released.discard(customer)
                continue
            if customer not in decided:
                decided.add(customer)
                self._position = min(self._position, row.id)

    def _choose(self, row: StoredEvent, now: float) -> bool | None:
        """Return whether to try a row (True) or to give it up (False); None for neither."""
        if not self._rules.may_send(row.key) or self._began < row.tried_at <= now:
            return None
        customer = _customer(row)
        if customer is not None:
            if customer in self._released:
                return True
            if self._is_met(customer):
                is_late = customer in self._given_up and 0.0 < row.parked_at <= now - self._rules.max_age
                return False if is_late else None
        due = row.tried_at + self._rules.pause(row.attempts)
        # A try in the future is of another clock: of books from elsewhere.
        if self._all_are_due or not row.tried_at or not row.tried_at <= now < due:
            return True
        self.next_due = min(self.next_due, due)
        return None

    def _is_met(self, customer: _Customer) -> bool:
        """Whether it was met; from now on it was."""
        number = hash(customer) ^ self._mix
        bits, is_met = self._bits, True
        for place in (number % _BITS, number // _BITS % _BITS):
            mask = 1 << (place & 7)
            is_met = is_met and bool(bits[place >> 3] & mask)
            bits[place >> 3] |= mask
        return is_met


def _customer(row: StoredEvent) -> _Customer | None:
    """Return the customer whose state keeps this event; None where it is parked for itself."""
    if row.reason != UNKNOWN_CUSTOMER:
        return None
    try:
        return row.key, unpack_record(row.record)[1]
    except RecordError:
        return None
