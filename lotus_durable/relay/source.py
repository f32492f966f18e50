"""A broker's queue as the source of a relay's loop.

The relay has a queue directory of its own, with nothing in its journal but what a person has put there. Its books keep
what became of the events that came by the broker: counters, parked events, dead letters, ids. A message is acknowledged
when all its events are settled there.

A cursor of a message stands in the books while a part of it is settled, or where one of its events was parked or is a
dead letter: so none is stored twice when a relay is killed before it could acknowledge.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from lotus_durable.errors import DeliveryBlocked
from lotus_durable.log import counted
from lotus_durable.queue.consumer import Consumer
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.heartbeat import Progress
from lotus_durable.queue.protocol import Chunk, Cursor, Report, Settlement, StoredEvent
from lotus_durable.queue.quarantine import keep_aside
from lotus_durable.queue.reader import Damage

from .message import Events, LaterVersion, Mark, NotOurs, decode
from .session import Received, Session

logger: logging.Logger = logging.getLogger("lotus_durable")

_MESSAGES_OF_A_PASS = 1_000
"""After which the loop sees to parked events and to what is asked, however many more come."""


@dataclass(slots=True)
class _Held:
    """A message of which not every event is settled."""

    events: Events
    read: int
    """How many of its events were read,"""
    settled: int
    """and are settled."""
    is_stored: bool = False
    """Its cursor stands in the books."""
    has_left_something: bool = False
    """One of its events was parked or is a dead letter."""

    def __len__(self) -> int:
        return len(self.events.records)


class FromBroker:
    """What comes by a session, after what lies in the relay's own directory; see :class:`.delivery.place.Source`.

    Args:
        own: of that directory.
        session: with the broker.
        directory: the same.
        report: told of messages that cannot be read.
        answer: answers who waits for a mark to be reached; raises nothing.
    """

    def __init__(
        self,
        own: Consumer,
        session: Session,
        directory: QueueDirectory,
        report: Report,
        answer: Callable[[Received, Mark], None],
    ) -> None:
        self._own = own
        self._session = session
        self._directory = directory
        self._report = report
        self._answer = answer
        self._reads_own = True
        self._left_in_pass = _MESSAGES_OF_A_PASS
        self._current: tuple[bytes, _Held] | None = None
        self._held: dict[bytes, _Held] = {}
        self._marks: list[tuple[Received, Mark, set[bytes]]] = []
        self._later: set[bytes] = set()
        self._to_forget: dict[bytes, int] = {}
        self._not_safe: list[bytes] = []
        self.elapsed: Callable[[], float] = own.elapsed
        self.was_delivered: Callable[[Sequence[str]], set[str]] = own.was_delivered
        self.parked: Callable[[int, int], list[StoredEvent]] = own.parked
        self.last_parked: Callable[[], int] = own.last_parked
        self.learned: Callable[[str], str | None] = own.learned
        self.learn: Callable[[str, str], None] = own.learn

    @property
    def in_doubt_since(self) -> float | None:
        """When the relay that was active before may have begun its last request."""
        return self._session.in_doubt_since

    @property
    def is_short(self) -> bool:
        """Whether its own queue has something to read that had to wait for others, some of which are settled by now."""
        return self._own.is_short

    @property
    def rows_at_once(self) -> int:
        """How many pages of the books one settlement of parked events may change."""
        return self._own.rows_at_once

    def read(self, limit: int) -> Chunk | None:
        """Return the next records of one message; None where none has come, or after many."""
        if self._reads_own:
            if (chunk := self._own.read(limit)) is not None:
                return chunk
            self._reads_own = False
        chunk = self._damage_or_next(limit)
        if chunk is None:
            self._reads_own, self._left_in_pass = True, _MESSAGES_OF_A_PASS
        return chunk

    def settle(self, settlement: Settlement) -> None:
        """Commit, and then have the broker forget what is settled to its end.

        Raises:
            OSError: the disk refuses; nothing of it counts.
        """
        through = {bytes.fromhex(source): position for source, position in settlement.through.items()}
        mine = {key: position for key, position in through.items() if key in self._held}
        keeps = bool(settlement.parked or settlement.dead)
        cursors = {}
        for key, position in mine.items():
            held = self._held[key]
            if keeps or position < len(held) or held.is_stored:
                cursors[key] = Cursor(f"message-{key.hex()}", 0, position)
        others = {key.hex(): position for key, position in through.items() if key not in mine}
        accepted = sum(position - self._held[key].settled for key, position in mine.items())
        self._own.settle(settlement._replace(through=others, cursors=cursors, accepted=accepted))
        done: list[bytes] = []
        for key, position in mine.items():
            held = self._held[key]
            held.settled = position
            held.is_stored = held.is_stored or key in cursors
            held.has_left_something = held.has_left_something or keeps
            if position == len(held):
                (self._not_safe if held.has_left_something else done).append(key)
                del self._held[key]
                if held.is_stored:
                    self._to_forget[key] = position
        self._acknowledge(done)
        self._make_safe()

    def progress(self) -> Progress:
        """Return how far it is; what is held and not settled is pending."""
        found = self._own.progress()
        held = sum(len(each) - each.settled for each in self._held.values())
        counts = found.counts
        return found._replace(counts=counts._replace(accepted=counts.accepted + held, pending=counts.pending + held))

    def left_alone(self) -> tuple[int, str | None]:
        """Return how many events lie in what cannot be read, at the least, and why they are not done."""
        events, reason = self._own.left_alone()
        if self._later:
            reason = f"{counted(len(self._later), 'message')} of a later version of lotus-durable: update the relay"
        return events + len(self._later), reason

    def retire(self) -> None:
        """Delete what is no longer needed."""
        self._own.retire()
        self._make_safe()
        if self._to_forget:
            self._own.forget(self._to_forget)
            self._to_forget = {}

    def _make_safe(self) -> None:
        """Acknowledge what has left something here: the broker has it until then, and afterwards only this disk."""
        if self._not_safe:
            try:
                self._own.make_safe()
            except OSError as error:
                logger.warning("the disk refuses to sync; messages stay in the broker's queue until it does: %s", error)
                return
            done, self._not_safe = self._not_safe, []
            self._acknowledge(done)

    def _damage_or_next(self, limit: int) -> Chunk | None:
        while self._current is None:
            received = self._session.take() if self._left_in_pass else None
            if received is None:
                return None
            self._left_in_pass -= 1
            try:
                message = decode(received.body)
            except LaterVersion as error:
                self._leave_alone(received, str(error))
            except NotOurs as error:
                if self._own.reached(received.key):
                    self._is_settled(received.key)
                else:
                    return self._put_aside(received, str(error))
            else:
                self._begin(received, message)
        key, held = self._current
        records = held.events.records[held.read : held.read + limit]
        positions = range(held.read + 1, held.read + len(records) + 1)
        held.read += len(records)
        if held.read == len(held):
            self._current = None
        # in_rows: what was tracked under a key that is not ours is parked, for nothing passes it in a queue.
        return Chunk(key.hex(), records, positions, key=held.events.key, in_rows=True)

    def _begin(self, received: Received, message: Events | Mark) -> None:
        if isinstance(message, Mark):
            if received.reply_to is None:
                self._acknowledge([received.key])
            else:
                self._marks.append((received, message, {*self._held, *self._later}))
                self._acknowledge([])
            return
        settled = self._own.reached(received.key)
        if settled >= len(message.records):
            self._is_settled(received.key)
        else:
            held = _Held(message, settled, settled, is_stored=settled > 0)
            self._held[received.key] = held
            self._current = received.key, held

    def _is_settled(self, key: bytes) -> None:
        """Acknowledge what an earlier relay of this directory has settled, and perhaps not made safe."""
        self._not_safe.append(key)
        self._make_safe()

    def _acknowledge(self, keys: Iterable[bytes]) -> None:
        """Acknowledge messages, and the marks that wait for no more than these."""
        done = [*keys]
        if done:
            self._session.acknowledge(done)
        for _, _, waits_for in self._marks:
            waits_for.difference_update(done)
        while self._marks and not self._marks[0][2]:
            received, mark, _ = self._marks.pop(0)
            self._answer(received, mark)
            self._session.acknowledge([received.key])

    def _leave_alone(self, received: Received, why: str) -> None:
        self._later.add(received.key)
        self._report(DeliveryBlocked(f"a message is left in the broker's queue: {why}; update the relay"))

    def _put_aside(self, received: Received, why: str) -> Chunk:
        """Return what makes a dead letter of it; its bytes go into the quarantine."""
        name = f"message-{received.key.hex()}"
        words = f"a message of the broker's queue cannot be read: {why}"
        damage = Damage(name, 0, received.body, 1, words)
        keep_aside(self._directory, damage, self._report)
        self._held[received.key] = _Held(Events(b"", b"", {}, (b"",)), 1, 0)
        return Chunk(received.key.hex(), (), (1,), damage)
